"""Find groups of pages that live for one page: closed ones, funnels into one page, and exchanges of links.

None of these looks at how a group is built inside. A group is closed if nobody in it leads, however indirectly, to the
rest of the web: it takes rank and gives none. Sites of people link out, if only here and there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from lakerank.graph.spam.web import Mask, Web

CLOSED = 0.02  # a group is closed if at most so many of its pages link to others outside of it,
OPEN = 0.5  # and wide open if so great a part of their links does; sites lie between
_SINGLE = 5  # so many pages that link to one page only are a funnel,
_FUNNELLED = 2 / 3  # if they make so much of what it receives along links
_CORE = 20  # members of an exchange link both ways with so many others,
_MUTUAL = 0.5  # and with so great a part of those they could
_CHANCE = 3.0  # pages that so many times as many others link to together as by chance are about one thing


def links_matrix(web: Web, chosen: Mask | None = None) -> sparse.csr_array:
    """Return the links (those chosen, bool[e]) as a matrix, int32[n, n], source by target."""
    src, dst = (web.src, web.dst) if chosen is None else (web.src[chosen], web.dst[chosen])
    return sparse.csr_array((np.ones(len(src), np.int32), (src, dst)), shape=(web.nodes, web.nodes))


def cores(web: Web, smallest: int, most: int = 50) -> list[Mask]:
    """Find the largest parts of at least `smallest` pages, bool[n] each, in which every page leads to every other."""
    _, part = csgraph.connected_components(links_matrix(web), directed=True, connection="strong")
    sizes = np.bincount(part)
    large = np.argsort(-sizes, kind="stable")[:most]
    return [part == number for number in large.tolist() if sizes[number] >= smallest]


def leads_to(web: Web, pages: Mask) -> Mask:
    """Find the pages, bool[n], from which one of `pages` can be reached, themselves included."""
    backwards = sparse.vstack([links_matrix(web).T, sparse.csr_array(pages[None].astype(np.int32))]).tocsr()
    backwards.resize((web.nodes + 1, web.nodes + 1))
    reached = np.zeros(web.nodes + 1, dtype=bool)
    reached[csgraph.breadth_first_order(backwards, web.nodes, return_predecessors=False)] = True
    return reached[:-1]


def closed_groups(web: Web, good: Mask, smallest: int) -> Iterator[Mask]:
    """Yield groups, bool[n], of at least `smallest` connected pages from which none of `good` can be reached."""
    outside = ~leads_to(web, good)
    if not outside.any():
        return
    inner = outside[web.src] & outside[web.dst]
    _, part = csgraph.connected_components(links_matrix(web, inner), directed=True, connection="weak")
    sizes = np.bincount(part[outside], minlength=int(part.max()) + 1)
    for number in np.flatnonzero(sizes >= smallest).tolist():
        yield outside & (part == number)


def links_like_a_site(web: Web, pages: Mask, target: int) -> bool:
    """Test whether some of `pages` link to others than `target` and themselves, but not most of their links do so.

    Pages of sites do. Where hosts are known only links to other hosts count as most: a part of a site links to the
    rest of it.
    """
    others = pages.copy()
    others[target] = False
    count = max(int(others.sum()), 1)
    leaving = others[web.src] & ~pages[web.dst] & (web.dst != target)
    away = leaving if web.host is None else leaving & ~web.same_host
    return len(np.unique(web.src[leaving])) > CLOSED * count and float(web.share[away].sum()) < OPEN * count


def funnels(web: Web) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield pages that owe what they receive to pages which link to nothing else, and these: expired domains.

    Only pages that others link to count, and none that the page itself, or a page of its host, links to: leaves of a
    site's tree link to their parent only, too. Where many pages have but one link, that tells nothing.
    """
    speaks = (web.links_in > 0) & (web.links_out > 0)
    single = speaks[web.src] & (web.links_out[web.src] == 1) & ~web.same_host & ~web.mutual
    if not single.any():
        return
    usual = float((speaks & (web.links_out == 1)).sum()) / float(speaks.sum())
    count = np.bincount(web.dst[single], minlength=web.nodes)
    many = (count >= _SINGLE) & (count > _CHANCE * usual * web.links_in)
    given = np.bincount(web.dst[single], weights=web.pagerank[web.src[single]], minlength=web.nodes)
    for target in np.flatnonzero(many & (given >= _FUNNELLED * web.received)).tolist():
        yield target, web.src[single & (web.dst == target)].astype(np.int64)


def exchanges(web: Web) -> Iterator[Mask]:
    """Yield groups, bool[n], of pages that link to one another but that nobody else mentions together.

    People link to one another, too, but about something, and then others link to several of them: menus and topics
    do not count, nor do links inside a host. Where no hosts are known there is none.
    """
    if web.host is None:
        return  # a site whose pages all link to one another would be one
    mutual = web.mutual
    both = _core(links_matrix(web, mutual & ~web.same_host), _CORE)
    if not both.nnz:
        return
    one_way = links_matrix(web, ~mutual).tocsc()
    src, dst = both.nonzero()
    together = np.zeros(len(src))
    for at in range(0, len(src), 1 << 14):
        some = slice(at, at + (1 << 14))
        together[some] = (one_way[:, src[some]].multiply(one_way[:, dst[some]])).sum(axis=0)
    links_in = np.diff(one_way.indptr)
    links_out = np.bincount(web.src[~mutual], minlength=web.nodes).astype(np.float64)
    # Of pages with k links, k (k − 1) / n (n − 1) link to two given ones by chance; popular ones get more of them.
    pairs = float((links_out * (links_out - 1)).sum()) / max(float(links_out.sum()) ** 2, 1.0)
    unrelated = together <= 1 + _CHANCE * links_in[src] * links_in[dst] * pairs
    left = _core(
        sparse.csr_array((np.ones(int(unrelated.sum()), np.int32), (src[unrelated], dst[unrelated])), both.shape), _CORE
    )
    if not left.nnz:
        return
    _, part = csgraph.connected_components(left, directed=False)
    degree = np.diff(left.indptr)
    for number in np.unique(part[degree > 0]).tolist():
        members = (part == number) & (degree > 0)
        possible = int(members.sum()) - np.bincount(web.hosts[members], minlength=int(web.hosts.max()) + 1)
        if float(degree[members].sum()) >= _MUTUAL * float(possible[web.hosts[members]].sum()):
            yield members


def _core(links: sparse.csr_array, least: int) -> sparse.csr_array:
    """Remove pages with fewer than `least` links until none is left."""
    links = links.tocsr()
    while True:
        keep = np.diff(links.indptr) >= least
        if keep[links.indices].all() and keep[np.diff(links.indptr) > 0].all():
            return links
        rows = np.repeat(keep, np.diff(links.indptr))
        src = np.repeat(np.arange(links.shape[0]), np.diff(links.indptr))
        chosen = rows & keep[links.indices]
        links = sparse.csr_array((links.data[chosen], (src[chosen], links.indices[chosen])), shape=links.shape)
