"""Information retrieval on one Delta lake: search, recommendation and super-resolution on Apache Spark."""
