"""PageRank and its engines: pure functions from DataFrames to DataFrames, no storage touched."""
