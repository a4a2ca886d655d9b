"""The tables of the lake, and the readers of files: schemas, Delta tables, text, Parquet, archives, pictures."""
