"""Pages to postings: segments of an inverted index, coded in bytes."""
