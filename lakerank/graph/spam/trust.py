"""How far trust reaches from some pages: TrustRank, grown step by step until it stays within bounds.

TrustRank lets trust begin at good pages and follow links, because good pages seldom link to bad ones (Gyöngyi,
Garcia-Molina and Pedersen 2004, "Combating Web Spam with TrustRank"). A page here is supported if, of what it
receives along links, enough began at trusted pages: compared with the trusted pages themselves, not with a fixed
number. Supported pages then are starting points, too, and so on. What a farm receives from outside is little
beside what its own pages give it, so the growth stops at its border, whatever the farm looks like inside.
"""

from __future__ import annotations

import numpy as np

from lakerank.graph.csr_block import Floats
from lakerank.graph.spam.web import Mask, Web

ENOUGH = 0.5  # "mostly": half of what the trusted pages have on average
ROUNDS = 20
SETTLED = 0.001  # part of all pages that may still change sides in the last round
_COARSE = 1e-4  # support is compared with a half; fine digits would not change it


def support(web: Web, trusted: Mask, tol: float = _COARSE) -> Floats:
    """float64[n] ≥ 0: of what each page receives, how much began at `trusted`; 1 is the trusted pages' average.

    A page that nobody links to has 0. The average is taken as at least 1, what it is when trust stays where it
    began: a single starting page has little support of its own.
    """
    begun = web.begun_at(trusted / max(int(trusted.sum()), 1), tol)
    total = begun.sum()
    given = web.inflow(begun / total if total > 0 else begun)
    every = web.received / web.pagerank.sum()
    ratio: Floats = np.divide(given, every, out=np.zeros(web.nodes), where=every > 0)
    average = float(given[trusted].sum()) / max(float(every[trusted].sum()), 1e-300)
    ratio /= max(average, 1.0)
    return ratio


def grow(web: Web, start: Mask, keep: bool) -> Mask:
    """bool[n]: the pages that `start` supports, directly or through other supported pages.

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
        if moved <= SETTLED * web.nodes:
            break
    return trusted
