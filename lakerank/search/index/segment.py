"""A segment: the postings of some pages, complete in itself and never changed afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.lake.schemas import INDEX_POSTINGS
from lakerank.search.index.coding import FIELD_SHIFT, POSITION_MASK, encode, group_by_term, mix_bytes, room
from lakerank.search.index.fields import BODY, FIELDS
from lakerank.search.text.analyzer import (
    CLASSES,
    FIELD_END,
    GAP,
    LOWER,
    PAIR,
    Analyzer,
    count_tokens,
    number_tokens,
    tokenize,
)
from lakerank.spark.jit import compiled

# The row of a segment that lists its pages instead of a term's postings (`packed_pages`).
PAGES_TERM = ""
SCHEMA = INDEX_POSTINGS.arrow_schema()
_CHECKED_NUMBERS, _CHECKED_BYTES = ("segment", "pages", "occurrences"), ("term", "word", "postings", "positions")
_UNCHECKED = pa.schema([field for field in SCHEMA if field.name != "checksum"])
_GAP, _PAIR, _SHIFT, _MASK = GAP, PAIR, FIELD_SHIFT, POSITION_MASK
_PIECE = 4 << 20  # bytes of text tokenized at a time
_ROWS = 50_000  # terms in one Arrow batch


@compiled(nogil=True)
def expand(
    ids: NDArray[np.int32],
    rows: NDArray[np.int32],
    fields: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    begins: NDArray[np.int64],
    flat: NDArray[np.int32],
    stops: NDArray[np.bool_],
    first_doc: int,
    terms: NDArray[np.int32],
    docs: NDArray[np.int32],
    positions: NDArray[np.uint32],
    lengths: NDArray[np.int32],
) -> int:
    """Turn tokens into occurrences of terms: which, in which page, field and position.

    Args:
        ids, rows, fields, flags: of the tokens. begins, flat, stops: of the vocabulary.
        first_doc: page number of row 0.
        terms, docs, positions: out. lengths: out, int32 (pages, fields): terms that are neither pairs nor stop words.

    Returns:
        How many occurrences there are.
    """
    n, position, here, before, row, field = 0, 0, 0, 0, -1, -1
    for i in range(len(ids)):
        if rows[i] != row or fields[i] != field:
            row, field, position = rows[i], fields[i], 0
        pair = flags[i] == _PAIR
        if flags[i] & _GAP:
            position += 1
        if not pair:
            before, here = here, position
        token = ids[i]
        for at in range(begins[token], begins[token + 1]):
            terms[n], docs[n] = flat[at], first_doc + row
            positions[n] = (field << _SHIFT) | min(before if pair else position, _MASK)
            n += 1
            if not pair:
                position += 1
                if not stops[token]:
                    lengths[first_doc + row, field] += 1
    return n


def join_fields(batch: pa.RecordBatch) -> pa.Array:
    """Join the fields of each page to one text, with separators between them.

    Args:
        batch: `title`, `headings` (list), `anchors` (list), `text`; a null counts as empty.
    """
    sign = chr(FIELD_END)
    lists = [pc.binary_join(batch[name].cast(pa.list_(pa.string())), "\n") for name in ("headings", "anchors")]
    short = [batch["title"], *lists]
    clean = [pc.replace_substring(pc.fill_null(column, ""), sign, " ") for column in short]
    parts = [part.cast(pa.large_string()) for part in (*clean, pc.fill_null(batch["text"], ""))]
    return pc.binary_join_element_wise(*parts, pa.scalar(sign, pa.large_string()))


def packed_pages(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Pack what a segment says of its pages: int64 (4, pages): id, key, rank (bits of a float64, NaN: none), original.

    Args:
        batch: `page_id`, `key`, `pagerank`, `duplicate_of`; a page that copies none is its own original.
    """
    ids = batch["page_id"].to_numpy(zero_copy_only=False)
    ranks = pc.fill_null(batch["pagerank"], float("nan")).to_numpy(zero_copy_only=False).astype(np.float64)
    originals = pc.coalesce(batch["duplicate_of"], batch["page_id"]).to_numpy(zero_copy_only=False)
    return np.stack([ids, batch["key"].to_numpy(zero_copy_only=False), ranks.view(np.int64), originals])


def unpacked_pages(packed: bytes, lengths: bytes) -> pa.RecordBatch:
    """Unpack the columns of `packed_pages`, with `ordinal` and `lengths`."""
    ids, keys, ranks, originals = np.frombuffer(packed, np.int64).reshape(4, -1)
    flat = pa.array(np.frombuffer(lengths, np.int32))
    ends = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * len(FIELDS))
    return pa.record_batch(
        {
            "page_id": ids,
            "ordinal": np.arange(len(ids), dtype=np.int32),
            "lengths": pa.ListArray.from_arrays(ends, flat),
            "key": keys,
            "pagerank": pa.array(ranks.view(np.float64), from_pandas=True),
            "duplicate_of": pa.array(originals, mask=originals == ids),
        }
    )


def row_checksums(rows: pa.Table | pa.RecordBatch) -> NDArray[np.int64]:
    """Compute the checksums of rows of `index_postings` from their other columns."""
    sums = np.zeros(len(rows), np.uint64)
    for name in _CHECKED_NUMBERS:
        # As bytes of eight each: the same mixing for all columns.
        values = np.ascontiguousarray(rows[name].to_numpy(zero_copy_only=False), np.int64)
        mix_bytes(values.view(np.uint8), np.arange(len(rows) + 1, dtype=np.int64) * 8, sums)
    for name in _CHECKED_BYTES:
        mix_bytes(*bytes_and_offsets(rows[name]), sums)
    return sums.view(np.int64)


def verify_rows(rows: pa.Table | pa.RecordBatch) -> None:
    """Compare rows of `index_postings` with their checksums.

    Raises:
        UserError: one has been altered since it was written.
    """
    wrong = np.flatnonzero(row_checksums(rows) != rows["checksum"].to_numpy(zero_copy_only=False))
    if len(wrong):
        row = int(wrong[0])
        raise damaged_row(rows["segment"][row].as_py(), rows["term"][row].as_py())


def damaged_row(segment: int, term: str) -> UserError:
    """Return the error that a row of `index_postings` is not what was written."""
    what = f"the list of `{term}`" if term else "the list of pages"
    return UserError(
        f"{INDEX_POSTINGS.name}: {what} in segment {segment} has been damaged since it was written: run "
        f"{INDEX_POSTINGS.producer} --rebuild"
    )


def bytes_and_offsets(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes of a column of texts or bytes, and where each row begins, and the last one ends."""
    if not len(column):
        return np.zeros(1, np.uint8), np.zeros(1, np.int64)
    whole = column.cast(pa.large_binary())
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = whole.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8), offsets


@dataclass
class Terms:
    """The distinct terms of a segment, numbered as they appear."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, term: str) -> int:
        """Return a term's number, a new one if need be."""
        return self.numbers.setdefault(term, len(self.numbers))


@dataclass
class Tokens:
    """The distinct tokens of one language, each with the terms it stands for.

    Attributes:
        analyzer: how the language's tokens become terms.
        terms: the segment's terms, shared by its languages.
    """

    analyzer: Analyzer
    terms: Terms
    count: int = 0
    _keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(1 << 16, np.uint64))
    _values: NDArray[np.int32] = field(default_factory=lambda: np.full(1 << 16, -1, np.int32))
    ends: list[int] = field(default_factory=list)  # of each token's terms in `flat`
    flat: list[int] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def number(
        self,
        data: NDArray[np.uint8],
        hashes: NDArray[np.uint64],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int32],
        flags: NDArray[np.uint8],
    ) -> NDArray[np.int32]:
        """Map tokens to term numbers, analysing those that were never seen; shapes as in `tokens.tokenize`."""
        self._grow(self.count + len(hashes))
        ids, firsts = np.empty(len(hashes), np.int32), np.empty(len(hashes), np.int64)
        known = self.count
        self.count = number_tokens(hashes, self._keys, self._values, known, ids, firsts)
        raw: Any = memoryview(data)  # type: ignore[arg-type]
        for i in firsts[: self.count - known].tolist():
            token = bytes(raw[starts[i] : starts[i] + sizes[i]])
            self.flat += [self.terms.number(term) for term in self.analyzer.terms_of(token, bool(flags[i] == PAIR))]
            self.ends.append(len(self.flat))
            self.stops.append(self.analyzer.is_stop(token))
            self.written.append(token.decode("utf-8", "replace").lower())
        return ids

    def tables(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
        """Return begins of each token's terms (tokens + 1), the terms, whether the token is a stop word."""
        begins = np.zeros(len(self.ends) + 1, np.int64)
        begins[1:] = self.ends
        return begins, np.array(self.flat, np.int32), np.array(self.stops, np.bool_)

    def _grow(self, most: int) -> None:
        """Make room for so many distinct tokens; slots depend on the table's size, so all move."""
        if 2 * most <= len(self._keys):
            return
        size = 1 << int(2 * most).bit_length()
        used = self._values >= 0
        hashes, numbers = self._keys[used], self._values[used]
        self._keys, self._values = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
        order = np.argsort(numbers)  # numbers are given anew in order of appearance, so they stay the same
        scratch: Any = np.empty(len(hashes), np.int32)
        number_tokens(hashes[order], self._keys, self._values, 0, scratch, np.empty(len(hashes), np.int64))


@dataclass
class SegmentBuilder:
    """Builds a segment: takes pages, gives rows of `index_postings`.

    Attributes:
        segment: its number.
        language: the language all pages are analysed in, or empty: each in its own.
    """

    segment: int
    language: str = ""
    pages: list[NDArray[np.int64]] = field(default_factory=list)
    count: int = 0
    occurrences: int = 0
    _lengths: list[NDArray[np.int32]] = field(default_factory=list)
    _found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint32]]] = field(default_factory=list)
    _terms: Terms = field(default_factory=Terms)
    _tokens: dict[str, Tokens] = field(default_factory=dict)
    _words: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add pages: `language`, what `packed_pages` and what `join_fields` needs."""
        if self.language:
            self._add(batch, self.language)
            return
        languages = pc.fill_null(batch["language"], "")
        for language in sorted(pc.unique(languages).to_pylist()):
            self._add(batch.filter(pc.equal(languages, language)), language)

    def _add(self, batch: pa.RecordBatch, language: str) -> None:
        tokens = self._tokens.setdefault(language, Tokens(Analyzer(language), self._terms))
        texts = join_fields(batch)
        offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
        held = texts.buffers()[2]
        data = np.frombuffer(held, np.uint8) if held else np.empty(0, np.uint8)
        first = 0
        while first < len(texts):
            last = int(np.searchsorted(offsets, offsets[first] + _PIECE, "right")) - 1
            last = min(max(last, first + 1), len(texts))
            self._add_piece(tokens, data, offsets[first : last + 1])
            first = last
        self.pages.append(packed_pages(batch))

    def _add_piece(self, tokens: Tokens, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        most = count_tokens(data, offsets[0], offsets[-1], CLASSES)
        hashes, starts = np.empty(most, np.uint64), np.empty(most, np.int64)
        sizes, rows = np.empty(most, np.int32), np.empty(most, np.int32)
        fields, flags = np.empty(most, np.uint8), np.empty(most, np.uint8)
        n = tokenize(data, offsets, BODY, CLASSES, LOWER, hashes, starts, sizes, rows, fields, flags)
        ids = tokens.number(data, hashes[:n], starts, sizes, flags)
        begins, flat, stops = tokens.tables()
        widest = int(np.diff(begins).max(initial=0))
        terms, docs = np.empty(n * widest, np.int32), np.empty(n * widest, np.int32)
        positions = np.empty(n * widest, np.uint32)
        lengths = np.zeros((len(offsets) - 1, len(FIELDS)), np.int32)
        m = expand(ids, rows, fields, flags, begins, flat, stops, 0, terms, docs, positions, lengths)
        self._found.append((terms[:m].copy(), docs[:m] + np.int32(self.count), positions[:m].copy()))
        self._lengths.append(lengths)
        self.count += len(offsets) - 1
        self.occurrences += m
        self._count_words(tokens, ids)

    def _count_words(self, tokens: Tokens, ids: NDArray[np.int32]) -> None:
        """Count how often each token occurs, for the most frequent written form of a term."""
        language = tokens.analyzer.language
        counts = np.bincount(ids, minlength=tokens.count).astype(np.int64)
        before = self._words.get(language, np.zeros(0, np.int64))
        counts[: len(before)] += before
        self._words[language] = counts

    def finish(self) -> Iterator[pa.RecordBatch]:
        """Return the rows of `index_postings`: the list of pages, then one row for each term, in order."""
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty((0, len(FIELDS)), np.int32)
        pages = np.concatenate(self.pages, axis=1) if self.pages else np.empty((4, 0), np.int64)
        listed = [[self.segment], [PAGES_TERM], [""], [self.count], [0]]
        yield _checked([*listed, [pages.tobytes()], [lengths.tobytes()]])

        names = list(self._terms.numbers)
        terms = np.concatenate([found[0] for found in self._found]) if self._found else np.empty(0, np.int32)
        sizes = np.bincount(terms, minlength=len(names))
        begins = np.zeros(len(names) + 1, np.int64)
        np.cumsum(sizes, out=begins[1:])
        docs, positions = np.empty(len(terms), np.int32), np.empty(len(terms), np.uint32)
        ends = begins[:-1].copy()
        for found in self._found:
            group_by_term(*found, ends, docs, positions)
        self._found.clear()

        order = pc.sort_indices(pa.array(names, pa.string())).to_numpy() if names else np.empty(0, np.int64)
        most, most_positions = room(len(docs))
        postings, position_bytes = np.empty(most, np.uint8), np.empty(most_positions, np.uint8)
        posting_ends, position_ends = np.empty(len(names), np.int64), np.empty(len(names), np.int64)
        counts = np.empty(len(names), np.int32)
        encode(order, begins, docs, positions, postings, position_bytes, posting_ends, position_ends, counts)
        sorted_names, words = [names[i] for i in order], self._written(names)
        for first in range(0, len(names), _ROWS):
            last = min(first + _ROWS, len(names))
            yield _checked(
                [
                    pa.array(np.full(last - first, self.segment), pa.int64()),
                    pa.array(sorted_names[first:last], pa.string()),
                    pa.array([words[i] for i in order[first:last]], pa.string()),
                    pa.array(counts[first:last]),
                    pa.array(sizes[order[first:last]].astype(np.int64)),
                    _binary(postings, posting_ends, first, last),
                    _binary(position_bytes, position_ends, first, last),
                ]
            )

    def _written(self, names: list[str]) -> list[str]:
        """Return the most frequent token of each term, by number; of equals the first seen."""
        best = [""] * len(names)
        most = np.zeros(len(names), np.int64)
        for language, tokens in sorted(self._tokens.items()):
            begins, counts = 0, self._words.get(language, np.zeros(0, np.int64)).tolist()
            for token, end in enumerate(tokens.ends):
                if end == begins + 1 and counts[token] > most[tokens.flat[begins]]:
                    most[tokens.flat[begins]] = counts[token]
                    best[tokens.flat[begins]] = tokens.written[token]
                begins = end
        return [word or name for word, name in zip(best, names, strict=True)]


def _checked(columns: list[Any]) -> pa.RecordBatch:
    """Return rows of `index_postings` with their checksums."""
    rows = pa.record_batch(columns, schema=_UNCHECKED)
    return pa.record_batch([*rows.columns, pa.array(row_checksums(rows))], schema=SCHEMA)


def _binary(data: NDArray[np.uint8], ends: NDArray[np.int64], first: int, last: int) -> pa.Array:
    """Return rows first … last of a column of bytes that lie one after another."""
    begin = int(ends[first - 1]) if first else 0
    offsets = np.zeros(last - first + 1, np.int32)
    offsets[1:] = ends[first:last] - begin
    part = data[begin : int(ends[last - 1])]
    return pa.Array.from_buffers(pa.binary(), last - first, [None, pa.py_buffer(offsets), pa.py_buffer(part)])
