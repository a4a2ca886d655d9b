"""The only room with input and output: session, tables, contracts, arguments, lineage, progress."""
