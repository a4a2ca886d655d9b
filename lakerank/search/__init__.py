"""Search: pages in, an inverted index, ranked answers out. Pure: frames and arrays in, frames and arrays out."""
