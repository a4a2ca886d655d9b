"""The fields of a page that are searched, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TITLE, HEADINGS, ANCHOR, BODY, PARTS = range(5)
# Numbered so in postings; positions keep the number in 4 bits. Parts are what stands within the words of all others:
# the words of an identifier, pairs of signs where no space divides words.
FIELDS = ("title", "headings", "anchor", "body", "parts")


@dataclass(frozen=True)
class Weighting:
    """BM25F (Robertson, Zaragoza and Taylor 2004; Zaragoza et al. 2004).

    A term's frequency in a page is Σ_f w_f · tf_f / (1 − b_f + b_f · len_f / mean len_f), and its share of the score
    idf · x / (k1 + x) with Lucene's idf = ln(1 + (N − df + ½) / (df + ½)), which is never negative. With one field
    this is BM25 as Lucene has it.

    Attributes:
        k1: how soon repetitions stop counting, > 0.
        weights: w_f, ≥ 0, in the order of `FIELDS`.
        bs: b_f, 0 (length does not matter) to 1.
    """

    k1: float = 1.2
    weights: tuple[float, ...] = field(default=(8.0, 5.0, 8.0, 1.0, 0.5))
    bs: tuple[float, ...] = field(default=(0.75, 0.1, 0.75, 0.65, 0.65))

    def key(self) -> dict[str, Any]:
        """Return an identifier of a weighting, for caches and stamps."""
        return {"k1": self.k1, "weights": list(self.weights), "bs": list(self.bs)}


PLAIN = Weighting(1.2, (0.0, 0.0, 0.0, 1.0, 0.0), (0.75,) * 5)  # BM25 of the body alone, Lucene's settings
