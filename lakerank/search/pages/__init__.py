"""Pages: from HTML and WARC files to what a page says, whom it links to, and where addresses lead."""
