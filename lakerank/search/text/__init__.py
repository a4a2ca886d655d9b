"""Text to terms: tokens, stems, stop words, and the language a text is in."""
