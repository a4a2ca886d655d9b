"""Find groups of pages that live for one page: closed ones, funnels into one page, and exchanges of links.

None of these looks at how a group is built inside. A group is closed if nobody in it leads, however indirectly, to the
rest of the web: it takes rank and gives none. Sites of people link out, if only here and there.
"""

from __future__ import annotations

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
_HIGH = 10.0  # as `farms.TOWERS`
_AHEAD = 4.0  # a site's first page ranks at most so many times its second,
_HOME = 0.2  # with at most so great a part of the site's rank;
_KINDS = 20  # and its pages are of so many kinds (a third of the pages in small sites), told by entropy
_AT_ONCE = 1 << 24  # links looked at together in search of exchanges: about 0.3 GB
_CHANCE = 3.0  # pages that so many times as many others link to together as by chance are about one thing

Pages = NDArray[np.int64]  # numbers of pages, ascending


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


def closed_groups(web: Web, good: Mask, smallest: int) -> tuple[Mask, list[Pages]]:
    """Find the pages, bool[n], from which none of `good` can be reached, and those of them that are connected.

    Groups of at least `smallest` pages, ascending. A crawl ends somewhere: where hosts are known, a site leads to the
    rest of the web, too, if enough of its pages link to several pages of other hosts that have no links themselves
    (`leave_the_crawl`). Such a page belongs to the group that makes most of what it receives, if one does, and does
    not join hosts that are groups by themselves.
    """
    ends = web.links_out[web.dst] == 0
    ends &= ~web.same_host
    if web.host is None:
        ends[:] = False
    outside = ~leads_to(web, good | leave_the_crawl(web, ends))
    inner = outside[web.src] & outside[web.dst]
    loose = inner & ends & (web.share < OPEN)
    loose &= np.bincount(web.hosts)[web.hosts[web.src]] >= smallest
    _, part = csgraph.connected_components(links_matrix(web, inner & ~loose), directed=True, connection="weak")
    last = np.unique(web.dst[loose])
    into = inner & np.isin(web.dst, last)
    pairs, code = np.unique(web.dst[into] * np.int64(web.nodes) + part[web.src[into]], return_inverse=True)
    given = np.bincount(code, weights=web.pagerank[web.src[into]] * web.share[into])
    page = pairs // web.nodes
    owes = given >= _FUNNELLED * web.received[page]
    part[page[owes]] = pairs[owes] % web.nodes
    pages = np.flatnonzero(outside)
    pages = pages[np.argsort(part[pages], kind="stable")]
    starts = np.flatnonzero(np.diff(part[pages], prepend=-1))
    return outside, [group for group in np.split(pages, starts[1:]) if len(group) >= smallest]


def leave_the_crawl(web: Web, ends: Mask) -> Mask:
    """Find the pages, bool[n], whose links `ends` (bool[e]) to pages that were not crawled open their host.

    As with clusters (`links_like_a_site`): more than a fiftieth of the host's pages have such links, but most links
    are others. And not most of them lead to one page, for that may be what a farm lifts.
    """
    src, dst, hosts = web.src[ends], web.dst[ends], web.hosts
    top = int(hosts.max(initial=0)) + 1
    count = np.bincount(hosts[web.links_out > 0], minlength=top)
    leaving = np.unique(src)
    away = np.bincount(hosts[src], weights=web.share[ends], minlength=top)
    number = np.bincount(hosts[src], minlength=top)
    pairs, each = np.unique(hosts[src] * np.int64(web.nodes) + dst, return_counts=True)
    most = np.zeros(top, np.int64)
    np.maximum.at(most, pairs // web.nodes, each)
    opened = (
        (np.bincount(hosts[leaving], minlength=top) > CLOSED * count) & (away < OPEN * count) & (2 * most <= number)
    )
    pages = np.zeros(web.nodes, dtype=bool)
    pages[leaving] = opened[hosts[leaving]]
    return pages


def built_like_a_site(web: Web, pages: Pages) -> bool:
    """Test whether `pages` (ascending), all of one host, link to one another as those of a site do.

    The rank of a farm ends in its target. In a site other pages rank nearly as high as the first; and either it is
    varied (pages of many kinds, as `Web.variety` counts them), or most pages link to the first, as by a menu, and those
    of high rank link on.
    """
    rank = web.pagerank[pages]
    second, first = np.partition(rank, len(rank) - 2)[-2:]
    if first > _AHEAD * second or first > _HOME * rank.sum():
        return False
    ptr = np.searchsorted(web.dst, np.array([pages, pages + 1]))
    at = _ranges(ptr[0], ptr[1] - ptr[0])
    src, dst = web.src[at], np.repeat(np.arange(len(pages)), ptr[1] - ptr[0])
    place = np.minimum(np.searchsorted(pages, src), len(pages) - 1)
    inside = pages[place] == src
    src, dst = place[inside], dst[inside]
    links_in, links_out = (np.bincount(ends, minlength=len(pages)) for ends in (dst, src))
    part = np.unique(links_in * np.int64(len(pages) + 1) + links_out, return_counts=True)[1] / len(pages)
    if float(np.exp(-(part * np.log(part)).sum())) >= min(_KINDS, len(pages) / 3):
        return True
    high = rank >= np.median(rank) * _HIGH
    high[np.argmax(rank)] = True
    to_first = int(links_in[np.argmax(rank)])
    return bool(2 * to_first >= len(pages) and 2 * int((links_out[high] > 0).sum()) > int(high.sum()))


def sites_in(web: Web, pages: Pages, smallest: int) -> Pages:
    """Return those of `pages` on hosts that are built like sites, each of at least `smallest` of them."""
    none = np.empty(0, np.int64)
    if web.host is None:
        return none
    ordered = pages[np.argsort(web.hosts[pages], kind="stable")]
    starts = np.flatnonzero(np.diff(web.hosts[ordered], prepend=-1))
    large = [np.sort(one) for one in np.split(ordered, starts[1:]) if len(one) >= max(smallest, 2)]
    return np.concatenate([none, *(one for one in large if built_like_a_site(web, one))])


def _ranges(first: Pages, length: Pages) -> Pages:
    """Return the numbers from each of `first` on, `length` of each, one after the other: int64[sum of length]."""
    ends = np.cumsum(length)
    return np.arange(int(length.sum())) + np.repeat(first - ends + length, length)


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


def funnels(web: Web) -> Mask:
    """Find the links, bool[e], of pages that link to nothing else and make most of what the other receives.

    Expired domains are such. Only pages that others link to count, and none that the page itself, or a page of its
    host, links to: leaves of a site's tree link to their parent only, too. Where many pages have but one link, that
    tells nothing.
    """
    speaks = (web.links_in > 0) & (web.links_out > 0)
    single: Mask = speaks[web.src] & (web.links_out[web.src] == 1) & ~web.same_host & ~web.mutual
    if not single.any():
        return single
    usual = float((speaks & (web.links_out == 1)).sum()) / float(speaks.sum())
    count = np.bincount(web.dst[single], minlength=web.nodes)
    many = (count >= _SINGLE) & (count > _CHANCE * usual * web.links_in)
    given = np.bincount(web.dst[single], weights=web.pagerank[web.src[single]], minlength=web.nodes)
    single &= (many & (given >= _FUNNELLED * web.received))[web.dst]
    return single


def exchanges(web: Web) -> NDArray[np.int64]:
    """Find groups of pages that link to one another but that nobody else mentions together: int64[n], 0 is none.

    People link to one another, too, but about something, and then others link to several of them: menus and topics
    do not count, nor do links inside a host. Where no hosts are known there is none.
    """
    group = np.zeros(web.nodes, np.int64)
    if web.host is None:
        return group  # a site whose pages all link to one another would be one
    mutual = web.mutual
    both = _core(links_matrix(web, mutual & ~web.same_host), _CORE)
    if not both.nnz:
        return group
    src, dst = both.nonzero()
    one_way = links_matrix(web, ~mutual).tocsc()
    links_in = np.diff(one_way.indptr).astype(np.int64)
    together = _mentions(one_way, links_in, src, dst)
    links_out = np.bincount(web.src[~mutual], minlength=web.nodes).astype(np.float64)
    # Of pages with k links, k (k − 1) / n (n − 1) link to two given ones by chance; popular ones get more of them.
    pairs = float((links_out * (links_out - 1)).sum()) / max(float(links_out.sum()) ** 2, 1.0)
    unrelated = together <= 1 + _CHANCE * links_in[src] * links_in[dst] * pairs
    left = _core(
        sparse.csr_array((np.ones(int(unrelated.sum()), np.int32), (src[unrelated], dst[unrelated])), both.shape), _CORE
    )
    degree = np.diff(left.indptr)
    pages = np.flatnonzero(degree)
    if not len(pages):
        return group
    _, part = csgraph.connected_components(left, directed=False)
    pages = pages[np.argsort(part[pages], kind="stable")]
    starts = np.flatnonzero(np.diff(part[pages], prepend=-1))
    for number, members in enumerate(np.split(pages, starts[1:]), start=1):
        same = np.unique(web.hosts[members], return_counts=True)[1]
        possible = len(members) ** 2 - int((same**2).sum())
        if float(degree[members].sum()) >= _MUTUAL * possible:
            group[members] = number
    return group


def _mentions(one_way: sparse.csc_array, links_in: Pages, src: Pages, dst: Pages) -> NDArray[np.float64]:
    """Count the pages that link to both of each pair, float64[pairs]; a bounded number of links at a time."""
    together = np.zeros(len(src))
    cost = np.cumsum(links_in[src] + links_in[dst]) // _AT_ONCE
    starts = np.flatnonzero(np.diff(cost, prepend=-1))
    for at, end in zip(starts.tolist(), [*starts[1:].tolist(), len(src)], strict=True):
        some = slice(at, end)
        together[some] = (one_way[:, src[some]].multiply(one_way[:, dst[some]])).sum(axis=0)
    return together


def _core(links: sparse.csr_array, least: int) -> sparse.csr_array:
    """Remove pages with fewer than `least` links until none is left; every link goes both ways."""
    links = links.tocsr()
    first, degree = links.indptr.astype(np.int64), np.diff(links.indptr).astype(np.int64)
    left, gone = degree.copy(), degree == 0
    leaving = np.flatnonzero(~gone & (left < least))
    while len(leaving):  # each link is looked at once, when its page leaves
        gone[leaving] = True
        partners, lost = np.unique(links.indices[_ranges(first[leaving], degree[leaving])], return_counts=True)
        left[partners] -= lost
        leaving = partners[~gone[partners] & (left[partners] < least)]
    src = np.repeat(np.arange(len(degree)), degree)
    chosen = ~gone[src] & ~gone[links.indices]
    return sparse.csr_array((links.data[chosen], (src[chosen], links.indices[chosen])), shape=links.shape)
