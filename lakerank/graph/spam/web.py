"""The web as arrays: how much of every page's rank began at given pages, and how far trust reaches from them.

Ranks here leak: what a page without links holds is lost, so that contributions add up (Gyöngyi, Berkhin,
Garcia-Molina and Pedersen 2006, "Link spam detection based on mass estimation", section 3.1): the ranks begun at
two sets of pages are the sum of those begun at each.

TrustRank lets trust begin at good pages and follow links, because good pages seldom link to bad ones (Gyöngyi,
Garcia-Molina and Pedersen 2004, "Combating Web Spam with TrustRank"). A page here is supported if, of what it
receives along links, enough began at trusted pages: compared with the trusted pages themselves, not with a fixed
number. Supported pages then are starting points, too, and so on. What a farm receives from outside is little
beside what its own pages give it, so the growth stops at its border, whatever the farm looks like inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.csr_block import Block, Floats
from lakerank.graph.iterate import Convergence, StoppingRule

Mask = NDArray[np.bool_]
MAX_STEPS = 500
ENOUGH = 0.5  # "mostly": half of what the trusted pages have on average
ROUNDS = 20
_STABLE = 0.001  # part of all pages that may still change sides in the last round
_COARSE = 1e-4  # support is compared with a half; fine digits would not change it


@dataclass(frozen=True)
class Web:
    """Hold links in one block (n pages, e links), each link once.

    Attributes:
        block: all links, with B = 1 (`csr_block.pack`).
        damping: d, in [0, 1).
        host: int64[n], the number of each page's host; None if nothing is known of hosts: each page is its own.
    """

    block: Block
    damping: float = 0.85
    host: NDArray[np.int64] | None = None

    @property
    def nodes(self) -> int:
        """Number of pages, n."""
        return len(self.block.scale)

    @cached_property
    def src(self) -> NDArray[Any]:
        """The source page of each link, int64[e]."""
        return self.block.src.astype(np.int64)

    @cached_property
    def dst(self) -> NDArray[Any]:
        """The target page of each link, int64[e], ascending."""
        return np.repeat(self.block.dst.astype(np.int64), np.diff(self.block.ptr))

    @cached_property
    def share(self) -> Floats:
        """The share of its page's rank that each link carries, float64[e], (0, 1]."""
        share: Floats = self.block.scale[self.src]
        if len(self.block.weight):
            share = share * self.block.weight
        return share

    @cached_property
    def hosts(self) -> NDArray[np.int64]:
        """The number of each page's host, int64[n]; where no hosts are known, of the page itself."""
        return np.arange(self.nodes) if self.host is None else self.host

    @cached_property
    def same_host(self) -> Mask:
        """Whether each link stays inside its host, bool[e]."""
        same: Mask = self.hosts[self.src] == self.hosts[self.dst]
        return same

    @cached_property
    def mutual(self) -> Mask:
        """Whether there is a link back, bool[e]; not for links of a page to itself."""
        n = np.int64(self.nodes)
        back: Mask = np.isin(self.src * n + self.dst, self.dst * n + self.src)
        back &= self.src != self.dst
        return back

    @cached_property
    def links_in(self) -> NDArray[np.int64]:
        """The number of links to each page, int64[n]."""
        return np.bincount(self.dst, minlength=self.nodes)

    @cached_property
    def links_out(self) -> NDArray[np.int64]:
        """The number of links on each page, int64[n]."""
        return np.bincount(self.src, minlength=self.nodes)

    def inflow(self, x: Floats) -> Floats:
        """Return the mass that each page receives along links when the pages hold `x`, float64[n]."""
        sums = np.zeros(self.nodes)
        sums[self.block.dst] = self.block.propagate(x)
        return sums

    def leaky_rank(self, start: Floats, tol: float = 1e-6) -> Floats:
        """Compute the rank that begins at `start` (float64[n], ≥ 0, probabilities) and has not leaked: float64[n].

        Args:
            start: share of the fresh starts at each page.
            tol: stop when the ranks change by less than this part of `start`, L1.
        """
        x = start.astype(np.float64)
        if not x.any():
            return x
        convergence = Convergence(StoppingRule(tol * float(start.sum())), MAX_STEPS)
        while True:
            new = self.inflow(x)
            new *= self.damping
            new += (1.0 - self.damping) * start
            moved = float(np.abs(new - x).sum())
            x = new
            if convergence.stops(moved, moved):
                return x

    def rank_from(self, pages: Mask, tol: float = 1e-6) -> Floats:
        """Compute the part of `pagerank` that begins in `pages`: float64[n], between 0 and `pagerank`."""
        return self.leaky_rank(pages / self.nodes, tol)

    @cached_property
    def pagerank(self) -> Floats:
        """Leaky PageRank from even starts, float64[n] > 0; sums to 1 where no page dangles, else to less."""
        return self.rank_from(np.ones(self.nodes, dtype=bool), 1e-8)

    @cached_property
    def received(self) -> Floats:
        """The mass of `pagerank` that each page receives along links, float64[n], before damping."""
        return self.inflow(self.pagerank)

    @cached_property
    def log_rank(self) -> Floats:
        """The natural logarithm of `pagerank`, float64[n]."""
        return np.log(self.pagerank)

    @cached_property
    def variety(self) -> NDArray[np.int64]:
        """The number of kinds of pages that link to each page, int64[n].

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


def support(web: Web, trusted: Mask, tol: float = _COARSE) -> Floats:
    """Compute of what each page receives how much began at `trusted`: float64[n]; 1 is the trusted pages' average.

    A page that nobody links to has 0. The average is taken as at least 1, what it is when trust stays where it
    began: a single starting page has little support of its own.
    """
    trusted_rank = web.leaky_rank(trusted / max(int(trusted.sum()), 1), tol)
    total = trusted_rank.sum()
    given = web.inflow(trusted_rank / total if total > 0 else trusted_rank)
    every = web.received / web.pagerank.sum()
    ratio: Floats = np.divide(given, every, out=np.zeros(web.nodes), where=every > 0)
    average = float(given[trusted].sum()) / max(float(every[trusted].sum()), 1e-300)
    ratio /= max(average, 1.0)
    return ratio


def grow(web: Web, start: Mask, keep: bool) -> Mask:
    """Find the pages that `start` supports, bool[n], directly or through other supported pages.

    Args:
        web: the links.
        start: where trust begins.
        keep: `start` belongs to the answer even if it is not supported itself.
    """
    trusted = start
    for _ in range(ROUNDS):
        new = support(web, trusted) >= ENOUGH
        if keep:
            new |= start
        if not new.any():
            break
        moved = int((new != trusted).sum())
        trusted = new
        if moved <= _STABLE * web.nodes:
            break
    return trusted
