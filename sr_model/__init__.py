"""Super-resolution ×4 in PyTorch. Imports no pyspark: it also runs where Spark is not installed."""
