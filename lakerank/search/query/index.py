"""An open index: its arrays, decoded from the tables and mapped from disk, and look-ups in them.

Needs no Spark; any number of threads may use it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.lake.schemas import INDEX_DOCUMENTS, PAGES
from lakerank.search.index.coding import decode
from lakerank.search.index.fields import FIELDS, Weighting
from lakerank.search.index.segment import PAGES_TERM, bytes_and_offsets, damaged_row, verify_rows
from lakerank.search.query.kernels import find_term
from lakerank.search.query.statistics import collection_statistics, score_arrays
from lakerank.search.query.word_classes import page_languages, with_classes
from lakerank.spark.array_store import Block

FORMAT = 6  # of the arrays; those of another one are decoded anew
SHOWN = {column.name: column.shown for column in PAGES.columns if column.shown}  # stored field → its label
_TEXTS = tuple(dict.fromkeys(("url", "doc_id", "title", "description", "text", *SHOWN)))
PAGE_COLUMNS = ("page_id", "language", "fetched_at", *_TEXTS)  # of `pages`, that an index stores
NO_DAY = np.iinfo(np.int32).min  # of pages of which nobody knows when they were fetched
_HOST = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#@]*@)?(?P<host>\[[^\]/?#]*\]|[^/?#:]*)"
_MOST_REMEMBERED = 50_000  # terms whose numbers are remembered


class ShownField(NamedTuple):
    """A stored field of a page as an answer shows it: column, label, text."""

    name: str
    label: str
    value: str


@dataclass(frozen=True)
class Page:
    """The fields of a page that a result shows.

    Attributes:
        page_id: number of the page in the lake.
        url, doc_id: its address, and its id in a collection of documents; either may be empty.
        title, description: may be empty.
        fields: the columns of `pages` with a label (`schemas.Column.shown`), those that are null or empty left out.
    """

    page_id: int
    url: str
    doc_id: str
    title: str
    description: str
    fields: tuple[ShownField, ...] = ()


@dataclass(frozen=True)
class Index:
    """Arrays of `build_arrays`; n pages, t terms, p postings, F fields.

    Attributes:
        block: `page_ids`, `groups` (page's original, if it is a copy), `pageranks`, `prior`, `tiebreak_rank` (n: order
            among equal scores); `lengths`, `norms` (n, F); `ends` (t), where each term's postings end; `docs`,
            `values`, `position_ends` (p), `tfs` (p, F); `positions` (field and position of each occurrence);
            `block_firsts`, `maxima`; `page_begins` (n + 1), `page_terms`, `page_values`: the terms by page; texts as
            `…_data` and `…_ends`; `language_pages` and texts `languages`: which languages pages are in, most first;
            `id_order`, `day_order` (n): pages by id and by `days` (n, since 1970, when they were fetched); texts
            `hosts`, labels in reverse order (`org.example.`), sorted, of which each page has the number `page_hosts`;
            `host_docs`: the pages by host, of which each one's end at `host_docs_ends`.
        weighting: that `values` are computed for.
    """

    block: Block
    weighting: Weighting

    def __post_init__(self) -> None:
        """Take arrays as plain views of what is mapped: slices of `np.memmap` cost ten times as much."""
        object.__setattr__(self, "block", {name: np.asarray(array) for name, array in self.block.items()})

    def __len__(self) -> int:
        return len(self.block["page_ids"])

    @property
    def terms(self) -> int:
        """Number of distinct terms."""
        return len(self.block["ends"])

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {}

    def term_number(self, term: str) -> int:
        """Return a term's number, or -1 if no page has it."""
        known = self._numbers.get(term)
        if known is not None:
            return known
        wanted = np.frombuffer(term.encode("utf-8"), np.uint8)
        number = int(find_term(self.block["term_data"], self.block["term_ends"], wanted))
        number = number if number >= 0 and self.frequency(number) else -1
        if len(self._numbers) >= _MOST_REMEMBERED:
            self._numbers.clear()
        self._numbers[term] = number
        return number

    @functools.cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages that its pages are analysed in, those of most pages first; empty: unknown."""
        return tuple(self.strings("languages"))

    def idf(self, term: str) -> float:
        """Return a term's inverse document frequency in the whole collection; 0 if no page has it."""
        number = self.term_number(term)
        return float(self.block["idfs"][number]) if number >= 0 else 0.0

    def frequency(self, number: int) -> int:
        """Return the document frequency of a term: the number of pages that have it."""
        ends = self.block["ends"]
        return int(ends[number] - (ends[number - 1] if number else 0))

    def postings(self, number: int) -> slice:
        """Return the range of a term's postings in the arrays."""
        ends = self.block["ends"]
        return slice(int(ends[number - 1]) if number else 0, int(ends[number]))

    def string(self, name: str, number: int) -> str:
        """Return a page's `url`, `host`, `text` or other stored field, or a term's `term` or `word`."""
        return self.bytes_of(name, number).tobytes().decode("utf-8", "replace")

    def bytes_of(self, name: str, number: int) -> NDArray[np.uint8]:
        """Return the text in UTF-8, as it lies in the index."""
        begin, end = self.span(name, number)
        return self.block[f"{name}_data"][begin:end]

    def span(self, name: str, number: int) -> tuple[int, int]:
        """Return where a text begins and ends among all of its name."""
        ends = self.block[f"{name}_ends"]
        return int(ends[number - 1]) if number else 0, int(ends[number])

    def name(self, number: int) -> str:
        """Return the name of a page in a TREC run: its id in a collection, or its address."""
        return self.string("doc_id", number) or self.string("url", number)

    def strings(self, name: str) -> list[str]:
        """Return all texts of one name, in order."""
        data, begin, out = self.block[f"{name}_data"].tobytes(), 0, []
        for end in self.block[f"{name}_ends"].tolist():
            out.append(data[begin:end].decode("utf-8", "replace"))
            begin = end
        return out

    def page(self, number: int) -> Page:
        """Return the fields of a page that a result shows."""
        url, doc_id, title, description = (self.string(n, number) for n in ("url", "doc_id", "title", "description"))
        fields = (ShownField(name, label, self.string(name, number)) for name, label in SHOWN.items())
        filled = tuple(field for field in fields if field.value)
        return Page(int(self.block["page_ids"][number]), url, doc_id, title, description, filled)

    def number_of(self, page_id: int) -> int | None:
        """Return a page's number from its id, or None."""
        ids, order = self.block["page_ids"], self.block["id_order"]
        if not -(2**63) <= page_id < 2**63:
            return None
        at = int(np.searchsorted(ids, page_id, sorter=order))
        number = int(order[at]) if at < len(order) else -1
        return number if number >= 0 and int(ids[number]) == page_id else None

    @functools.cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of the pages, in the order of `page_hosts`; one is empty if pages have no address."""
        return tuple(".".join(reversed(host.removesuffix(".").split("."))) for host in self.strings("hosts"))

    def on_sites(self, sites: Sequence[str]) -> NDArray[np.int32]:
        """Return the pages on one of the hosts or below it, ascending."""
        parts = []
        for site in sites:
            first, last = self.hosts_below(site)
            ends = self.block["host_docs_ends"]
            begin, end = (int(ends[at - 1]) if at else 0 for at in (first, last))
            parts.append(self.block["host_docs"][begin:end])
            if last - first > 1 or len(sites) > 1:
                parts[-1] = np.unique(parts[-1])
        return np.unique(np.concatenate(parts)) if len(parts) > 1 else parts[0]

    def hosts_below(self, site: str) -> tuple[int, int]:
        """Return the numbers of the first host that is a site or below it, and of the first behind them."""
        key = reversed_host(site).encode(errors="replace")
        return self.first_from("hosts", key), self.first_from("hosts", key[:-1] + bytes([key[-1] + 1]))

    def first_from(self, name: str, wanted: bytes) -> int:
        """Return the number of the first of some sorted texts (`hosts`, `term`) that is not before `wanted`."""
        low, high = 0, len(self.block[f"{name}_ends"])
        while low < high:
            middle = (low + high) // 2
            if self.bytes_of(name, middle).tobytes() < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def day_of(self, number: int) -> str:
        """Return the day on which a page was fetched, `2024-05-01`; empty: unknown."""
        day = int(self.block["days"][number])
        return "" if day == NO_DAY else str(np.datetime64(day, "D"))

    def fetched_between(self, first: int, end: int) -> NDArray[np.int32]:
        """Return the pages fetched from day `first` to before day `end` (since 1970), ascending."""
        days, order = self.block["days"], self.block["day_order"]
        begin, stop = (int(np.searchsorted(days, day, sorter=order)) for day in (max(first, NO_DAY + 1), end))
        return np.sort(order[begin:stop])


def reversed_host(host: str) -> str:
    """Return a host's labels in reverse order, each followed by a dot: what is below it begins like it."""
    return "".join(f"{label}." for label in reversed(host.split(".")))


def build_arrays(
    documents: pa.Table, postings: pa.Table, pages: pa.Table, weighting: Weighting, language: str = ""
) -> Block:
    """Decode an index and score its postings: `decode_arrays`, then `score_arrays` with its own statistics."""
    block = decode_arrays(documents, postings, pages, language)
    return block | score_arrays(block, collection_statistics(block, weighting), weighting)


def decode_arrays(
    documents: pa.Table, postings: pa.Table, pages: pa.Table, language: str = "", snippets: bool = True
) -> Block:
    """Decode an index, or a shard of one.

    Args:
        documents: `index_documents`.
        postings: `index_postings`.
        pages: `PAGE_COLUMNS` of at least the indexed pages; `text` may be missing without snippets.
        language: that all pages are analysed in, or empty: each in its own.
        snippets: whether to keep the pages' texts.

    Returns:
        Arrays by name; `Index` says what they are.

    Raises:
        UserError: a row of the index has been damaged since it was written.
    """
    verify_rows(postings)
    documents = documents.sort_by([("segment", "ascending"), ("ordinal", "ascending")])
    headers = postings.filter(pc.equal(postings["term"], PAGES_TERM)).sort_by("segment")
    rows = postings.filter(pc.not_equal(postings["term"], PAGES_TERM))
    _verify_documents(documents, headers)
    chosen = _chosen_pages(documents, pages)
    block = _pages(documents, chosen, snippets)
    numbers, bases = _numbers(documents, headers)
    block |= {"lengths": _flat(documents["lengths"]).reshape(len(documents), len(FIELDS))}
    spoken, languages, counts = page_languages(chosen["language"], language)
    words, names = _words(rows, numbers, bases)
    terms, names = with_classes(words, names, spoken, languages)
    block |= _strings("languages", languages) | {"language_pages": np.array(counts, np.int64)}
    return block | terms | _strings("term", pa.chunked_array([names]))


def _verify_documents(documents: pa.Table, headers: pa.Table) -> None:
    """Compare documents with the lists of pages of their segments.

    Args:
        documents: sorted by segment and ordinal.
        headers: rows of `index_postings` that list pages, verified.

    Raises:
        UserError: one is not the page, or not as long, that its segment says.
    """
    listed = {
        segment: (np.frombuffer(packed, np.int64).reshape(4, -1)[0], np.frombuffer(lengths, np.int32))
        for segment, packed, lengths in zip(
            *(headers[name].to_pylist() for name in ("segment", "postings", "positions")), strict=True
        )
    }
    segments, ordinals, ids = (_column(documents, name) for name in ("segment", "ordinal", "page_id"))
    lengths = _flat(documents["lengths"])
    whole = len(lengths) == len(ids) * len(FIELDS) and len(segments) == len(ordinals) == len(ids)
    begins = np.flatnonzero(np.diff(segments, prepend=segments[0] - 1)) if len(segments) else np.empty(0, np.int64)
    ends = np.append(begins[1:], len(segments))[: len(begins)]  # none of an index without pages
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        segment, at = int(segments[begin]), ordinals[begin:end]
        pages, long = listed.get(segment, (np.empty(0, np.int64), np.empty(0, np.int32)))
        if (
            not whole
            or at[0] < 0
            or at[-1] >= len(pages)
            or np.any(np.diff(at) <= 0)
            or np.any(pages[at] != ids[begin:end])
            or np.any(long.reshape(-1, len(FIELDS))[at] != lengths.reshape(-1, len(FIELDS))[begin:end])
        ):
            raise UserError(
                f"{INDEX_DOCUMENTS.name}: the pages of segment {segment} are not those that were indexed: run "
                f"{INDEX_DOCUMENTS.producer} --rebuild"
            )


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    return np.ascontiguousarray(table[name].to_numpy())


def _flat(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return the numbers of a column of lists, one after another."""
    flat = column.combine_chunks()
    values = flat.flatten() if isinstance(flat, pa.Array) else pa.concat_arrays([c.flatten() for c in flat.chunks])
    numbers: NDArray[np.int32] = values.to_numpy(zero_copy_only=False).astype(np.int32)
    return numbers


def _chosen_pages(documents: pa.Table, pages: pa.Table) -> pa.Table:
    """Return the rows of pages that the documents are, in their order."""
    ids = _column(documents, "page_id")
    found = _column(pages, "page_id")
    order = np.argsort(found, kind="stable")
    at = np.searchsorted(found[order], ids)
    at = np.minimum(at, max(len(order) - 1, 0))
    if len(ids) and not (len(found) and np.array_equal(found[order][at], ids)):
        raise ValueError("pages of the index are missing from `pages`")
    return pages.take(pa.array(order[at])) if len(ids) else pages.slice(0, 0)


def _pages(documents: pa.Table, chosen: pa.Table, snippets: bool) -> Block:
    """Gather what is known of each page, in the order of the documents."""
    ids = _column(documents, "page_id")
    order = np.argsort(ids, kind="stable")
    # A shard shows no snippets: its pages were read without their texts.
    texts = {name: chosen[name] if snippets or name != "text" else [""] * len(ids) for name in _TEXTS}
    copies = documents["duplicate_of"]
    group = pc.fill_null(copies, 0).to_numpy()
    rank = pc.fill_null(documents["pagerank"], 0.0).to_numpy()
    block: Block = {
        "page_ids": ids,
        "groups": np.where(pc.is_valid(copies).to_numpy(zero_copy_only=False), group, ids).astype(np.int64),
        "pageranks": rank.astype(np.float64),
        "tiebreak_rank": np.argsort(order, kind="stable").astype(np.int32),
        "id_order": order.astype(np.int32),
    }
    block |= _hosts(chosen["url"]) | _days(chosen)
    for name, values in texts.items():
        block |= _strings(name, values)
    return block


def _hosts(urls: pa.ChunkedArray) -> Block:
    """Group pages by the host of their address, hosts sorted by their labels in reverse order."""
    found = pc.struct_field(pc.extract_regex(pc.fill_null(urls.cast(pa.string()), ""), _HOST), "host")
    coded = pc.fill_null(found, "").combine_chunks()
    coded = pa.concat_arrays(coded.chunks) if isinstance(coded, pa.ChunkedArray) else coded
    coded = coded.dictionary_encode()
    names = [reversed_host(host.strip("[]").rstrip(".").lower()).encode() for host in coded.dictionary.to_pylist()]
    distinct = sorted(set(names))
    number = {name: at for at, name in enumerate(distinct)}
    numbers = np.array([number[name] for name in names], np.int32)[coded.indices.to_numpy(zero_copy_only=False)]
    return {
        "page_hosts": numbers,
        "host_docs": np.argsort(numbers, kind="stable").astype(np.int32),
        "host_docs_ends": np.cumsum(np.bincount(numbers, minlength=len(distinct)), dtype=np.int64),
        **_strings("hosts", [name.decode() for name in distinct]),
    }


def _days(chosen: pa.Table) -> Block:
    """Return the day on which each page was fetched, and the pages in its order."""
    days = np.full(len(chosen), NO_DAY, np.int32)
    if "fetched_at" in chosen.column_names and pa.types.is_temporal(chosen["fetched_at"].type):
        known = chosen["fetched_at"].cast(pa.date32(), safe=False).cast(pa.int32())
        days = pc.fill_null(known, int(NO_DAY)).to_numpy().astype(np.int32)
    return {"days": days, "day_order": np.argsort(days, kind="stable").astype(np.int32)}


def _strings(name: str, values: Any) -> Block:
    """Store a list of texts as bytes and where each ends; lists within it are joined by commas, null is empty."""
    column = values if isinstance(values, pa.ChunkedArray) else pa.array(values, pa.string())
    if pa.types.is_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), ", ")
    column = pc.fill_null(column.cast(pa.large_string()), "")
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.large_string())
    if not len(whole):
        return {f"{name}_data": np.empty(0, np.uint8), f"{name}_ends": np.empty(0, np.int64)}
    offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = np.frombuffer(whole.buffers()[2], np.uint8) if whole.buffers()[2] else np.empty(0, np.uint8)
    return {f"{name}_data": data[offsets[0] : offsets[-1]], f"{name}_ends": offsets[1:] - offsets[0]}


def _numbers(documents: pa.Table, headers: pa.Table) -> tuple[NDArray[np.int32], dict[int, int]]:
    """Map the pages of each segment to the open index (-1: no longer there); return where segments begin, too."""
    bases, total = {}, 0
    for segment, pages in zip(headers["segment"].to_pylist(), headers["pages"].to_pylist(), strict=True):
        bases[segment] = total
        total += pages
    numbers = np.full(total, -1, np.int32)
    begin = np.array([bases[segment] for segment in documents["segment"].to_pylist()], np.int64)
    if len(documents):
        numbers[begin + _column(documents, "ordinal")] = np.arange(len(documents), dtype=np.int32)
    return numbers, bases


def _words(rows: pa.Table, numbers: NDArray[np.int32], bases: dict[int, int]) -> tuple[Block, Any]:
    """Decode all posting lists, a term's segments one after another; return them and the terms."""
    order = pc.sort_indices(rows, [("term", "ascending"), ("segment", "ascending")]).to_numpy()
    names = rows["term"].take(pa.array(order)).combine_chunks() if len(rows) else pa.array([], pa.string())
    names = pa.concat_arrays(names.chunks) if isinstance(names, pa.ChunkedArray) else names
    fresh = np.ones(len(names), np.bool_)
    if len(names) > 1:
        fresh[1:] = pc.not_equal(names[1:], names[:-1]).to_numpy(zero_copy_only=False)
    lists = np.cumsum(fresh, dtype=np.int64) - 1
    terms = int(lists[-1]) + 1 if len(lists) else 0
    counts = _column(rows, "pages")[order].astype(np.int32)
    occurrences = _column(rows, "occurrences")[order]
    postings, offsets = bytes_and_offsets(rows["postings"])
    coded, coded_offsets = bytes_and_offsets(rows["positions"])
    ends_of = dict(zip(bases, [*list(bases.values())[1:], len(numbers)], strict=True))
    limits = np.array([ends_of[s] for s in rows["segment"].to_pylist()], np.int64)[order]
    base = np.array([bases[s] for s in rows["segment"].to_pylist()], np.int64)[order]
    n, m = int(counts.sum()), int(occurrences.sum())
    docs, tfs = np.empty(n, np.int32), np.zeros((n, len(FIELDS)), np.uint16)
    ends, positions, sizes = np.empty(n, np.int64), np.empty(m, np.uint32), np.zeros(terms, np.int64)
    n, m, wrong = decode(
        postings, offsets[:-1][order], offsets[1:][order], counts, base, limits, lists, numbers, sizes,
        docs, tfs, coded, coded_offsets[:-1][order], coded_offsets[1:][order], ends, positions,
    )  # fmt: skip
    if wrong >= 0:
        raise damaged_row(rows["segment"][int(order[wrong])].as_py(), names[wrong].as_py())
    unique = names.filter(pa.array(fresh)) if terms else names
    block: Block = {"ends": np.cumsum(sizes), "docs": docs[:n], "tfs": tfs[:n], "position_ends": ends[:n]}
    block["positions"] = positions[:m]
    return block, unique
