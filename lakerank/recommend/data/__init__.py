"""Ratings in: readers of MovieLens and delimited files, cleaning, splits, filters and synthetic ratings."""
