"""Near-duplicate texts: pairs whose word shingles overlap, and for each copy the page it copies."""

from lakerank.search.near_duplicates.duplicates import mark_duplicates
from lakerank.search.near_duplicates.pairs import near_pairs

__all__ = ["mark_duplicates", "near_pairs"]
