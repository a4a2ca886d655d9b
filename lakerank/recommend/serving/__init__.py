"""Recommend outside of Spark: to one user at a time from mapped arrays, and vectors for other programs."""
