"""Recommendation: splits, metrics and models, as pure functions on frames and arrays."""
