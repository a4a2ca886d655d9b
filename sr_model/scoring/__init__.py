"""Evaluation: pairs of pictures, scores, comparisons, and the search for leaks."""
