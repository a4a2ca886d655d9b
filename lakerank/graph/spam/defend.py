"""Compute ranks in which link farms count for nothing, with the reasons. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.csr_block import Floats, pack
from lakerank.graph.iterate import StoppingRule, power_iteration
from lakerank.graph.spam.farms import Farm, find_farms, trusted_part
from lakerank.graph.spam.groups import exchanges, funnels
from lakerank.graph.spam.web import Mask, Web, grow, support

WHOLLY = 0.9  # links from elsewhere to a page of a farm that owes the farm so much of its rank came with the farm
LEFT_TO_FARMS = 1e-3  # fresh starts in all farms together, in those of one good page: ranks must not be 0


@dataclass(frozen=True)
class Verdict:
    """Hold what the defence found (n pages).

    Attributes:
        pagerank: float64[n] > 0, sum 1: ranks without defence.
        trusted_rank: float64[n] > 0, sum 1: with it.
        support: float64[n], 0 to 1: of what a page receives, how much began outside of farms; 0 if nobody links to it.
        spam_mass: float64[n], 0 to 1: part of the page's rank that began in farms.
        spam_score: float64[n], 0 to 1: above 0.5 in farms, at most 0.5 elsewhere.
        farm: int32[n], number of the page's farm from 1; 0 if it is in none.
        farms: the farms, number 1 first.
        trusted: bool[n], the self-supporting part that was taken as good.
        links_cut: links from good pages into farms, left out of `trusted_rank`.
    """

    pagerank: Floats
    trusted_rank: Floats
    support: Floats
    spam_mass: Floats
    spam_score: Floats
    farm: NDArray[np.int32]
    farms: list[Farm]
    trusted: Mask
    links_cut: int


def bought_links(web: Web, flagged: Mask) -> Mask:
    """Find the links, bool[e], between honest pages that are no votes: funnels into one page, and exchanges."""
    cut = funnels(web)
    group = exchanges(web)
    cut |= (group[web.src] > 0) & (group[web.src] == group[web.dst]) & web.mutual
    cut &= ~flagged[web.src]
    return cut


def defend(web: Web, seeds: Mask | None = None, smallest: int = 50, tol: float = 1e-8, max_iter: int = 100) -> Verdict:
    """Find the farms and rank the pages as if nobody outside linked to them and nobody started there.

    Args:
        web: the links.
        seeds: bool[n], pages known to be good; without them a good part is looked for.
        smallest: a farm has at least so many pages.
        tol: stop ranking when ranks change by less, L1.
        max_iter: or after so many iterations.
    """
    trusted = trusted_part(web, smallest) if seeds is None else grow(web, seeds, keep=True)
    farms = find_farms(web, trusted, smallest)
    number = np.zeros(web.nodes, dtype=np.int32)
    for k, farm in enumerate(farms, start=1):
        number[farm.pages] = k
    flagged = number > 0
    supported = np.clip(support(web, ~flagged), 0.0, 1.0)
    made = np.clip(web.rank_from(flagged) / web.pagerank, 0.0, 1.0) if farms else np.zeros(web.nodes)
    even = np.full(web.nodes, 1.0 / web.nodes)
    rule = StoppingRule(tol)
    pagerank, _ = power_iteration(web.block, even, web.damping, rule, max_iter)
    owned = flagged & (made >= WHOLLY)
    cut = bought_links(web, flagged)
    cut |= owned[web.dst] & ~flagged[web.src]
    links_cut = int(cut.sum())
    cut |= flagged[web.src] & flagged[web.dst]
    defended = pagerank
    if cut.any():
        open_links = pack(web.src, web.dst, np.where(cut, 0.0, web.share), nodes=web.nodes)
        start = np.where(owned, LEFT_TO_FARMS / max(int(owned.sum()), 1), 1.0)
        defended, _ = power_iteration(open_links, start / start.sum(), web.damping, rule, max_iter)
    score = np.where(flagged, 0.5, 0.0) + 0.5 * (1.0 - supported)
    return Verdict(pagerank, defended, supported, made, score, number, farms, trusted, links_cut)
