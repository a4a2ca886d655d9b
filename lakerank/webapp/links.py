"""Links between the pages of an index, in both directions, as arrays: what a page's own view shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.cli.errors import UserError

COLUMNS = ("src", "dst", "anchor", "nofollow", "zone", "weight")
_ANCHORS_LOOKED_AT = 50  # of the links from one page to another; a menu may have them a hundred times
_ANCHORS_SHOWN = 3


@dataclass(frozen=True)
class Link:
    """All links from one page to another, as one.

    Attributes:
        number: of the page at the other end, in the index.
        anchors: different texts of the links, those in the main content first; at most three.
        main: whether one of them stands in the main content.
        nofollow: whether all of them say so.
    """

    number: int
    anchors: tuple[str, ...]
    main: bool
    nofollow: bool


@dataclass(frozen=True)
class Links:
    """n pages, m pairs of pages with links, r links; 21 bytes for each pair and 4 for each link, and the texts.

    Attributes:
        targets: int32 (m), sorted by source, then as they are shown.
        out_ends: int64 (n), where each source's pairs end.
        sources: int32 (m), of the same pairs.
        inward: int32 (m), positions of pairs, sorted by target, then as they are shown.
        in_ends: int64 (n), where each target's positions end.
        flags: uint8 (m), 1: main content; 2: nofollow.
        text_ends: int64 (m), where each pair's texts end.
        texts: int32 (r), positions in `anchors`.
        anchors: the different texts.
    """

    targets: NDArray[np.int32]
    out_ends: NDArray[np.int64]
    sources: NDArray[np.int32]
    inward: NDArray[np.int32]
    in_ends: NDArray[np.int64]
    flags: NDArray[np.uint8]
    text_ends: NDArray[np.int64]
    texts: NDArray[np.int32]
    anchors: pa.Array

    def outgoing(self, number: int, most: int) -> tuple[list[Link], int]:
        """Return the first links from a page, and how many pages there are at their other ends.

        Links in the main content come first, then those to pages of higher rank.
        """
        begin, end = _between(self.out_ends, number)
        pairs = range(begin, min(end, begin + most))
        return [self._link(int(self.targets[pair]), pair) for pair in pairs], end - begin

    def incoming(self, number: int, most: int) -> tuple[list[Link], int]:
        """Return the first links to a page, those first that pass on most rank, and how many pages they come from."""
        begin, end = _between(self.in_ends, number)
        pairs = self.inward[begin : min(end, begin + most)].tolist()
        return [self._link(int(self.sources[pair]), pair) for pair in pairs], end - begin

    def _link(self, number: int, pair: int) -> Link:
        begin, end = _between(self.text_ends, pair)
        texts = (self.anchors[at].as_py() for at in self.texts[begin : min(end, begin + _ANCHORS_LOOKED_AT)].tolist())
        shown = tuple(dict.fromkeys(text for text in texts if text))[:_ANCHORS_SHOWN]
        return Link(number, shown, bool(self.flags[pair] & 1), bool(self.flags[pair] & 2))


def _between(ends: NDArray[np.int64], at: int) -> tuple[int, int]:
    return int(ends[at - 1]) if at else 0, int(ends[at])


def gather_links(table: pa.Table, page_ids: NDArray[np.int64], pageranks: NDArray[np.float64]) -> Links:
    """Gather the links between pages of the index; those that lead elsewhere, or from a page to itself, are left out.

    A link passes on its share, by weight, of its page's rank: in-links are ordered by it. Without ranks all pages
    count the same.

    Args:
        table: `links`, the columns in `COLUMNS`.
        page_ids: int64 (n), of the index.
        pageranks: float64 (n), 0 where unknown.

    Raises:
        UserError: ids of the links are not whole numbers.
    """
    n = len(page_ids)
    src, dst = _numbers(table, "src", page_ids), _numbers(table, "dst", page_ids)
    weight = np.nan_to_num(pc.fill_null(table["weight"], 0.0).to_numpy()).astype(np.float64)
    ranks = pageranks if pageranks.any() else np.ones(n)
    total = np.bincount(src[src >= 0], weights=weight[src >= 0], minlength=n)
    kept = np.flatnonzero((src >= 0) & (dst >= 0) & (src != dst))
    src, dst, weight = src[kept], dst[kept], weight[kept]
    few = table.take(pa.array(kept))
    main = pc.fill_null(pc.equal(few["zone"], "main"), False).to_numpy().astype(np.bool_)
    nofollow = pc.fill_null(few["nofollow"], False).to_numpy().astype(np.bool_)
    words = _encoded(few["anchor"])
    order = np.lexsort((~main, dst, src))
    src, dst, weight, main, nofollow = src[order], dst[order], weight[order], main[order], nofollow[order]
    first = np.ones(len(src), np.bool_)
    first[1:] = (src[1:] != src[:-1]) | (dst[1:] != dst[:-1])
    begins = np.flatnonzero(first)
    flow = np.add.reduceat(weight, begins) if len(begins) else np.empty(0)
    nofollow = np.logical_and.reduceat(nofollow, begins) if len(begins) else np.empty(0, np.bool_)
    src, dst, main = src[begins], dst[begins], main[begins]
    flow = ranks[src] * flow / np.where(total[src] > 0, total[src], 1.0)
    shown = np.lexsort((dst, -ranks[dst], ~main, src))
    sizes = np.diff(begins, append=len(order))[shown]
    src, dst, flow = src[shown], dst[shown], flow[shown]
    text_ends = np.cumsum(sizes, dtype=np.int64)
    rows = np.repeat(begins[shown] - (text_ends - sizes), sizes) + np.arange(len(order))
    return Links(
        targets=dst.astype(np.int32),
        out_ends=np.cumsum(np.bincount(src, minlength=n), dtype=np.int64),
        sources=src.astype(np.int32),
        inward=np.lexsort((src, -flow, dst)).astype(np.int32),
        in_ends=np.cumsum(np.bincount(dst, minlength=n), dtype=np.int64),
        flags=main[shown].astype(np.uint8) | (nofollow[shown].astype(np.uint8) << 1),
        text_ends=text_ends,
        texts=words.indices.to_numpy(zero_copy_only=False).astype(np.int32)[order][rows],
        anchors=words.dictionary,
    )


def _numbers(table: pa.Table, name: str, page_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number in the index of each link's page, -1 for pages that are not in it."""
    column = table[name]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise UserError(f"links: `{name}` must be whole numbers, as ingest_pages writes them; run it anew")
    if not len(page_ids):
        return np.full(len(column), -1, np.int64)
    wanted: NDArray[Any] = column.to_numpy()
    order = np.argsort(page_ids, kind="stable")
    at = order[np.minimum(np.searchsorted(page_ids, wanted, sorter=order), len(order) - 1)]
    return np.where(page_ids[at] == wanted, at, -1)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    whole = pc.fill_null(column, "").combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    return whole.dictionary_encode()
