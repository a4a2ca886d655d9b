"""Find link farms: pages of high rank that owe it to many pages of one make which nobody else supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakerank.graph.csr_block import Floats
from lakerank.graph.spam.groups import closed_groups, cores, links_like_a_site, sites_in
from lakerank.graph.spam.web import ENOUGH, Mask, Web, grow

ALIKE = 0.8  # a cluster whose ranks spread less than so much of the trusted pages' is of one make
TOWERS = 10.0  # a target's rank is at least so many times that of the middle page of its cluster
MAX_TARGETS = 50  # candidates looked at, the highest ranks first
START_SHARE = 0.01  # part of all pages from which trust grows first
MIN_STARTS = 8
SINGLE_STARTS = 4
_REACH = 0.1  # a page supports a target if a damped walk from it, kept in the cluster, ends there so often
_STEPS = 30
MOSTLY = 2 / 3  # of what a supported page receives, for its kept pages to be a farm
NEARLY_ALL = 0.85  # of what a page receives, if its cluster is pages nobody links to: new pages are such, too
_WHOLLY = 0.9  # further pages of a farm owe it so much of their rank


@dataclass(frozen=True)
class Farm:
    """Hold one cluster of pages and the page it lifts.

    Attributes:
        target: number of the page it lifts.
        pages: bool[n], the cluster with the target.
        share: part of the rank the target receives that comes straight from the cluster, 0 to 1.
    """

    target: int
    pages: Mask
    share: float


def robust_deviation(values: Floats) -> float:
    """Estimate the standard deviation as the middle eight tenths show it; single strangers do not change it."""
    if len(values) < 2:
        return 0.0
    low, high = np.quantile(values, (0.1, 0.9))
    return float(high - low) / 2.563  # distance of the same quantiles of a normal distribution


def mask(nodes: int, numbers: NDArray[np.int64] | list[int]) -> Mask:
    """Return bool[nodes], true at `numbers`."""
    pages = np.zeros(nodes, dtype=bool)
    pages[numbers] = True
    return pages


def most_varied(web: Web, count: int, among: Mask | None = None) -> NDArray[np.int64]:
    """Return the pages with the most kinds of supporters, int64[≤ count], most first; equal ones by number."""
    pages = np.arange(web.nodes) if among is None else np.flatnonzero(among)
    return pages[np.argsort(-web.variety[pages], kind="stable")[:count]]


def trusted_part(web: Web, smallest: int) -> Mask:
    """Find a part of the web, bool[n], that supports itself and is not of one make.

    Trust grows from the pages with the most kinds of supporters: from many at once, among which there may be bad
    ones, and from single ones, whose friends may be bad. A part that lies within another is taken out of that one:
    a farm that links to good pages lifts them, but they do not lift it. Of what remains, the part with the widest
    range of ranks is taken (weighted by the logarithm of its size).
    """
    starts = most_varied(web, max(MIN_STARTS, int(START_SHARE * web.nodes)))
    parts = [grow(web, mask(web.nodes, starts), keep=False)]
    reached = np.zeros(web.nodes, dtype=bool)
    for _ in range(SINGLE_STARTS):
        left = most_varied(web, 1, ~reached)
        if not len(left) or web.variety[left[0]] < MIN_STARTS:
            break
        parts.append(grow(web, mask(web.nodes, left), keep=True))
        reached |= parts[-1]
    parts.sort(key=lambda part: int(part.sum()))
    below = np.zeros(web.nodes, dtype=bool)
    best, best_value = parts[-1], -1.0
    for part in parts:
        own = part & ~below
        below |= part
        size = int(own.sum())
        value = robust_deviation(web.log_rank[own]) * np.log(size) if size >= smallest else 0.0
        if value > best_value:
            best, best_value = part, value
    # Once more, from the pages whose supporters differ most: what only its own pages support falls out.
    varied = most_varied(web, max(MIN_STARTS, int(best.sum()) // 4), best)
    again = grow(web, mask(web.nodes, varied), keep=False)
    return again if again.any() else best


def supporters_of(web: Web, target: int, within: Mask) -> Mask:
    """Find the pages of `within`, bool[n], that link to `target`, or lead to it without leaving."""
    inside = within[web.src] & within[web.dst]
    src, dst = web.src[inside], web.dst[inside]
    links = np.maximum(np.bincount(src, minlength=web.nodes), 1)
    arrives = mask(web.nodes, [target]).astype(np.float64)
    for _ in range(_STEPS):
        new = web.damping * np.bincount(src, weights=arrives[dst], minlength=web.nodes) / links
        new[target] = 1.0
        moved = float(np.abs(new - arrives).max())
        arrives = new
        if moved < 1e-3:
            break
    direct = mask(web.nodes, web.src[web.dst == target].astype(np.int64))
    return within & (direct | (arrives >= _REACH))


def region_of(web: Web, target: int, trusted: Mask) -> Mask:
    """Find what is not trusted, bool[n], and lives on `target`, which is among it."""
    region = grow(web, mask(web.nodes, [target]), keep=True) & ~trusted
    region[target] = True
    return region


def kept_pages(web: Web) -> Mask:
    """Find links, bool[e], from a page to the one that gives it at least half of what it receives.

    Such a page is kept by the other: it cannot speak for it, even where the keeper is well supported.
    """
    there = web.dst.astype(np.int64) * web.nodes + web.src  # ascending
    back = web.src.astype(np.int64) * web.nodes + web.dst
    at = np.minimum(np.searchsorted(there, back), len(there) - 1)
    given = web.pagerank[web.dst] * web.share[at]  # by the link that leads back, if there is one
    kept: Mask = (there[at] == back) & (web.src != web.dst) & (given >= ENOUGH * web.received[web.src])
    return kept


def keepers(web: Web, smallest: int) -> Iterator[tuple[int, Mask]]:
    """Yield pages with at least `smallest` kept pages that give them most of their rank, and these."""
    kept = kept_pages(web)
    src, dst = web.src[kept], web.dst[kept]
    given = np.bincount(dst, weights=web.pagerank[src] * web.share[kept], minlength=web.nodes)
    count = np.bincount(dst, minlength=web.nodes)
    own = np.bincount(dst[web.same_host[kept]], minlength=web.nodes)
    must = np.where(2 * own > count, _WHOLLY, MOSTLY)  # a home keeps deep pages of its site, too
    for target in np.flatnonzero((count >= smallest) & (given >= must * web.received)):
        yield int(target), mask(web.nodes, src[dst == target].astype(np.int64))


def of_one_make(web: Web, target: int, pages: Mask, width: float) -> bool:
    """Test whether the ranks of `pages` are alike, and `target` towers over them."""
    alike = robust_deviation(web.log_rank[pages]) < ALIKE * width
    return bool(alike and web.pagerank[target] >= TOWERS * float(np.median(web.pagerank[pages])))


def speaks_for_itself(web: Web, target: int, pages: Mask) -> float:
    """Return the share of the target's incoming mass that `pages` must give it to be its farm.

    Half. But new pages, too, have no links to them yet; if most of `pages` are such and have other things to say,
    nearly all.
    """
    to_it = (web.dst == target) & pages[web.src]
    only = web.links_in[web.src[to_it]] == 0
    only &= web.share[to_it] < ENOUGH
    return NEARLY_ALL if 2 * int(only.sum()) > int(pages.sum()) else ENOUGH


def find_farms(web: Web, trusted: Mask, smallest: int) -> list[Farm]:
    """Find the farms, in the order they are found.

    Args:
        web: the links.
        trusted: pages known to be good, a self-supporting part (`trusted_part`, or grown from given seeds).
        smallest: clusters of fewer pages are never called farms: small sites look the same.
    """
    width = robust_deviation(web.log_rank[trusted])
    farms: list[Farm] = []
    flagged = np.zeros(web.nodes, dtype=bool)

    def judge(target: int, pages: Mask) -> bool:
        nonlocal flagged
        pages = pages & ~flagged
        pages[target] = False
        if pages.sum() + 1 < smallest or not of_one_make(web, target, pages, width):
            return False
        share = share_from(web, target, pages)
        if share < speaks_for_itself(web, target, pages) or links_like_a_site(web, pages, target):
            return False
        if is_part_of_a_site(web, pages, target, smallest):
            return False
        pages |= lifted_by(web, pages, trusted)
        pages[target] = True
        flagged = flagged | pages
        farms.append(Farm(target, pages, share))
        return True

    main, parts = main_part(web, trusted, smallest)
    closed, groups = closed_groups(web, parts, smallest)
    owed = web.rank_from(closed) if groups else web.pagerank  # groups do not lead to one another: one run serves all
    is_apart = apart_from(web, main)
    for group in groups:
        farm = None if is_apart(group) else lifting(web, group, owed, smallest)
        if farm is None:
            continue
        farms.append(farm)
        flagged[farm.pages] = True
    for target, pages in keepers(web, smallest):
        judge(target, pages)
    high = np.flatnonzero(~trusted & (web.pagerank >= TOWERS * float(web.pagerank.min())))
    looked_at = 0
    for target in high[np.argsort(-web.pagerank[high], kind="stable")].tolist():
        if flagged[target] or trusted[target] or looked_at >= MAX_TARGETS:
            continue
        looked_at += 1
        region = region_of(web, target, trusted)
        unsupported = ~trusted & (web.links_in == 0)
        if judge(target, supporters_of(web, target, region | unsupported)):
            continue
        region &= ~flagged
        if region.sum() >= smallest and robust_deviation(web.log_rank[region]) >= ALIKE * width:
            trusted = trusted | region  # a site of its own, as varied as what is known to be good
    return farms


def is_part_of_a_site(web: Web, pages: Mask, target: int, smallest: int) -> bool:
    """Test whether most of `pages` are on the target's host, and that is built like a site."""
    if web.host is None:
        return False
    host = web.host == web.host[target]
    return bool(2 * int((pages & host).sum()) > int(pages.sum()) and len(sites_in(web, np.flatnonzero(host), smallest)))


def range_of(web: Web, pages: NDArray[np.int64]) -> float:
    """Return how widely the ranks of `pages` range, weighted by the logarithm of their number."""
    return robust_deviation(web.log_rank[pages]) * float(np.log(max(len(pages), 1)))


def apart_from(web: Web, main: Mask) -> Callable[[NDArray[np.int64]], bool]:
    """Return a test whether the ranks of pages range more widely than those of the main part: a web of its own.

    One that the main part does not link to need not range quite so widely.
    """
    heard = mask(web.nodes, web.dst[main[web.src]])
    own = np.flatnonzero(main)
    wide, deviation = range_of(web, own), robust_deviation(web.log_rank[own])

    def is_apart(group: NDArray[np.int64]) -> bool:
        if heard[group].any():
            return ALIKE * range_of(web, group) >= wide
        return robust_deviation(web.log_rank[group]) >= ALIKE * deviation

    return is_apart


def main_part(web: Web, trusted: Mask, smallest: int) -> tuple[Mask, Mask]:
    """Return the part of the web in which every page leads to every other, with the widest range of ranks, bool[n].

    Where there is none of at least `smallest` pages, `trusted`. And the same with all that are apart from it. Of parts
    that range about as widely, one that links to others goes before one that does not: farms keep what they get.
    """
    found = [np.flatnonzero(part) for part in cores(web, smallest)]
    if found:
        wide = [range_of(web, part) for part in found]
        near = [part for part, width in zip(found, wide, strict=True) if width >= ALIKE * max(wide)]
        number = np.full(web.nodes, -1)
        for k, part in enumerate(near):
            number[part] = k
        leaving = np.zeros(len(near) + 1, dtype=bool)
        leaving[number[web.src[number[web.src] != number[web.dst]]]] = True  # those of other parts: at the end
        open_ones = [part for k, part in enumerate(near) if leaving[k]]
        main = mask(web.nodes, max(open_ones or near, key=lambda part: range_of(web, part)))
    else:
        main = trusted
    every = main.copy()
    is_apart = apart_from(web, main)
    for part in found:
        if is_apart(part):
            every[part] = True
    return main, every


def lifting(web: Web, group: NDArray[np.int64], owed: Floats, smallest: int) -> Farm | None:
    """Return the farm that a closed group is: it owes its rank to itself, and one page towers over the others.

    Pages of the group that owe most of their rank to the rest of the web (`owed` began in closed groups) are not of it,
    nor are hosts that are built like sites.
    """
    own = group[owed[group] >= ENOUGH * web.pagerank[group]]
    own = own[~np.isin(own, sites_in(web, own, smallest))]
    if len(own) < smallest:
        return None
    target = int(own[np.argmax(web.pagerank[own])])
    if web.pagerank[target] < TOWERS * float(np.median(web.pagerank[own])):
        return None
    pages = mask(web.nodes, own)
    return Farm(target, pages, share_from(web, target, pages))


def share_from(web: Web, target: int, pages: Mask) -> float:
    """Return the part of the rank `target` receives along links that comes straight from `pages`."""
    to_it = slice(*np.searchsorted(web.dst, [target, target + 1]))
    given = web.pagerank[web.src[to_it]] * web.share[to_it]
    total = float(given.sum())
    return float(given[pages[web.src[to_it]] & (web.src[to_it] != target)].sum()) / total if total > 0 else 0.0


def lifted_by(web: Web, pages: Mask, trusted: Mask) -> Mask:
    """Find further targets, bool[n]: pages of high rank, not trusted, that owe nearly all of it to `pages`."""
    owed = web.rank_from(pages, 1e-4)
    high = web.pagerank >= TOWERS * float(np.median(web.pagerank[pages]))
    straight = web.inflow(web.pagerank * pages) >= ENOUGH * web.received  # not what a target passes on to its site
    return high & ~trusted & straight & (owed >= _WHOLLY * web.pagerank)
