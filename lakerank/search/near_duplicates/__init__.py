"""Near-duplicate texts: pairs whose word shingles overlap, and for each copy the page it copies."""

from lakerank.search.near_duplicates.mark import copies_among, mark_duplicates
from lakerank.search.near_duplicates.pairs import near_pairs

__all__ = ["copies_among", "mark_duplicates", "near_pairs"]
