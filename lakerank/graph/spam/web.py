"""A graph of links as arrays, and how much of every page's rank began at given pages.

Ranks here leak: what a page without links holds is lost, so that contributions add up (Gyöngyi, Berkhin,
Garcia-Molina and Pedersen 2006, "Link spam detection based on mass estimation", section 3.1): the ranks begun at
two sets of pages are the sum of those begun at each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.csr_block import Block, Floats

Mask = NDArray[np.bool_]
MAX_STEPS = 500


@dataclass(frozen=True)
class Web:
    """Links in one block (n pages, e links), each link once.

    Attributes:
        block: all links, with B = 1 (`blocks.pack`).
        damping: d, in [0, 1).
    """

    block: Block
    damping: float = 0.85

    @property
    def nodes(self) -> int:
        """Number of pages, n."""
        return len(self.block.scale)

    @cached_property
    def src(self) -> NDArray[Any]:
        """uint32[e]: where each link stands."""
        return self.block.src

    @cached_property
    def dst(self) -> NDArray[Any]:
        """uint32[e]: where each link leads, ascending."""
        return np.repeat(self.block.dst, np.diff(self.block.ptr))

    @cached_property
    def share(self) -> Floats:
        """float64[e]: the part of its page's rank that each link carries, (0, 1]."""
        share: Floats = self.block.scale[self.src]
        if len(self.block.weight):
            share = share * self.block.weight
        return share

    @cached_property
    def links_in(self) -> NDArray[np.int64]:
        """int64[n]: links to each page."""
        return np.bincount(self.dst, minlength=self.nodes)

    @cached_property
    def links_out(self) -> NDArray[np.int64]:
        """int64[n]: links on each page."""
        return np.bincount(self.src, minlength=self.nodes)

    def inflow(self, x: Floats) -> Floats:
        """float64[n]: what each page receives along links when the pages hold `x` float64[n]."""
        sums = np.zeros(self.nodes)
        sums[self.block.dst] = self.block.spread(x)
        return sums

    def begun_at(self, start: Floats, tol: float = 1e-6) -> Floats:
        """float64[n]: the rank that begins at `start` (float64[n], ≥ 0, probabilities) and has not leaked.

        Args:
            start: share of the fresh starts at each page.
            tol: stop when the ranks change by less than this part of `start`, L1.
        """
        x = start.astype(np.float64)
        for _ in range(MAX_STEPS):
            new = self.inflow(x)
            new *= self.damping
            new += (1.0 - self.damping) * start
            moved = float(np.abs(new - x).sum())
            x = new
            if moved <= tol * float(start.sum()):
                break
        return x

    def begun_in(self, pages: Mask, tol: float = 1e-6) -> Floats:
        """float64[n]: the part of `pagerank` that begins in `pages`; between 0 and `pagerank`."""
        return self.begun_at(pages / self.nodes, tol)

    @cached_property
    def pagerank(self) -> Floats:
        """float64[n] > 0: leaky PageRank from even starts; sums to 1 where no page dangles, else to less."""
        return self.begun_in(np.ones(self.nodes, dtype=bool), 1e-8)

    @cached_property
    def received(self) -> Floats:
        """float64[n]: what each page receives of `pagerank` along links, before damping."""
        return self.inflow(self.pagerank)

    @cached_property
    def log_rank(self) -> Floats:
        """float64[n]: natural logarithm of `pagerank`."""
        return np.log(self.pagerank)

    @cached_property
    def variety(self) -> NDArray[np.int64]:
        """int64[n]: how many kinds of pages link to each page.

        Pages with the same numbers of links in and out are of one kind: machine-made pages come in few kinds
        (Fetterly, Manasse and Najork 2004, "Spam, damn spam, and statistics", section 4).
        """
        kind = self.links_in * np.int64(self.links_out.max(initial=0) + 1) + self.links_out
        kinds, kind = np.unique(kind, return_inverse=True)
        pairs = self.dst.astype(np.int64) * len(kinds) + kind[self.src]
        pairs.sort()
        first = np.ones(len(pairs), dtype=bool)
        np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
        return np.bincount(self.dst[first], minlength=self.nodes)
