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
from lakerank.search.index.fields import BODY, FIELDS, PARTS
from lakerank.search.text.analyzer import (
    BACK_SHIFT,
    CLASSES,
    COMPOUND,
    FIELD_END,
    GAP,
    MOST_PARTS,
    PART,
    WHOLE,
    WORD,
    Analyzer,
    count_tokens,
    number_tokens,
    tokenize,
)
from lakerank.spark.jit import compiled

# The row of a segment that lists its pages instead of a term's postings (`packed_pages`).
PAGES_TERM = ""
SCHEMA = INDEX_POSTINGS.arrow_schema()
_CHECKED_NUMBERS, _CHECKED_BYTES = ("segment", "pages", "occurrences"), ("term", "postings", "positions")
_UNCHECKED = pa.schema([field for field in SCHEMA if field.name != "checksum"])
_GAP, _COMPOUND, _BACK_SHIFT, _SHIFT, _MASK = GAP, COMPOUND, BACK_SHIFT, FIELD_SHIFT, POSITION_MASK
_WORD, _PART, _WHOLE, _PARTS = WORD, PART, WHOLE, PARTS
_STOP = 3  # kind of a term beside `WORD`, `PART`, `WHOLE`: a stop word
_RING = MOST_PARTS + 4  # beginnings of the last words
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
    kinds: NDArray[np.uint8],
    terms: NDArray[np.int32],
    docs: NDArray[np.int32],
    positions: NDArray[np.uint32],
    lengths: NDArray[np.int32],
) -> int:
    """Turn tokens into occurrences of terms: which, in which page, field and position.

    Args:
        ids, rows, fields, flags: of the tokens. begins, flat, kinds: of the vocabulary.
        terms, docs, positions: out. lengths: out, int32 (pages, fields): words that are no stop words; parts of words.

    Returns:
        How many occurrences there are.
    """
    n, position, row, field, count = 0, 0, -1, -1, 0
    ring = np.zeros(_RING, np.int64)
    part_terms, parts, within = np.empty(len(terms), np.int32), 0, 0
    part_places = np.empty(len(terms), np.uint32)
    for i in range(len(ids) + 1):
        if i == len(ids) or rows[i] != row:
            for at in range(parts):  # after all others of the page: fields come in order
                terms[n], docs[n], positions[n] = part_terms[at], row, part_places[at]
                n += 1
            parts = within = 0
            if i == len(ids):
                break
        if rows[i] != row or fields[i] != field:
            row, field, position = rows[i], fields[i], 0
        token = ids[i]
        if not flags[i] & _COMPOUND:
            position += flags[i] & _GAP
            ring[count % _RING] = position
            count += 1
        before = parts
        for at in range(begins[token], begins[token + 1]):
            kind = kinds[at]
            if kind == _PART:
                part_terms[parts] = flat[at]
                part_places[parts] = (_PARTS << _SHIFT) | min(within, _MASK)
                lengths[row, _PARTS] += 1
                parts += 1
                within += 1
                continue
            place = position
            if kind == _WHOLE:
                place = ring[(count - (flags[i] >> _BACK_SHIFT)) % _RING]
            else:
                position += 1
                lengths[row, field] += kind == _WORD
            terms[n], docs[n], positions[n] = flat[at], row, (field << _SHIFT) | min(place, _MASK)
            n += 1
        within += parts > before  # what stands in two words is no phrase
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


def split_header(packed: bytes) -> tuple[NDArray[np.int64], int, int]:
    """Split what the row of a segment's pages has as `postings`.

    Returns:
        `packed_pages`; how many rows the segment has for terms; the sum of their checksums, int64 that wraps around.

    Raises:
        ValueError: it is something else.
    """
    values = np.frombuffer(packed, np.int64)
    return values[:-2].reshape(4, -1), int(values[-2]), int(values[-1])


def unpacked_pages(packed: bytes, lengths: bytes) -> pa.RecordBatch:
    """Unpack the columns of `packed_pages` from a segment's row of pages, with `ordinal` and `lengths`."""
    ids, keys, ranks, originals = split_header(packed)[0]
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


def verify_segments(rows: pa.Table) -> None:
    """Compare rows of `index_postings` with their checksums, and those of each segment with what it lists.

    Args:
        rows: all rows of their segments.

    Raises:
        UserError: a row has been altered since it was written, is missing, or is there twice.
    """
    verify_rows(rows)
    segments = np.ascontiguousarray(rows["segment"].to_numpy(zero_copy_only=False), np.int64)
    sums = np.ascontiguousarray(rows["checksum"].to_numpy(zero_copy_only=False), np.int64)
    is_header = pc.equal(rows["term"], PAGES_TERM).to_numpy(zero_copy_only=False)
    numbers, inverse = np.unique(segments, return_inverse=True)
    found = np.bincount(inverse[~is_header], minlength=len(numbers))
    total = np.zeros(len(numbers), np.int64)
    np.add.at(total, inverse[~is_header], sums[~is_header])
    headers = rows.filter(pa.array(is_header))
    listed = dict.fromkeys(numbers.tolist(), (-1, 0))
    for segment, packed in zip(headers["segment"].to_pylist(), headers["postings"].to_pylist(), strict=True):
        try:
            terms, checksum = split_header(packed)[1:]
        except (ValueError, IndexError) as error:  # of a version between releases
            raise damaged_row(segment, PAGES_TERM) from error
        listed[segment] = (terms, checksum) if listed[segment] == (-1, 0) else (-2, 0)
    for at, segment in enumerate(numbers.tolist()):
        if listed[segment] != (found[at], total[at]):
            raise UserError(
                f"{INDEX_POSTINGS.name}: rows of segment {segment} are missing, or there twice: run "
                f"{INDEX_POSTINGS.producer} --rebuild"
            )


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
    kinds: list[int] = field(default_factory=list)  # of the terms in `flat`

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
        analyzer, number = self.analyzer, self.terms.number
        for i in firsts[: self.count - known].tolist():
            token = bytes(raw[starts[i] : starts[i] + sizes[i]])
            words, parts, whole = analyzer.terms_of(token, bool(flags[i] & COMPOUND))
            for word in words:
                self.flat.append(number(word))
                self.kinds.append(_STOP if analyzer.is_stop(word) else WORD)
            for part in parts:
                self.flat.append(number(part))
                self.kinds.append(PART)
            if whole:
                self.flat.append(number(whole))
                self.kinds.append(WHOLE)
            self.ends.append(len(self.flat))
        return ids

    def tables(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """Return begins of each token's terms (tokens + 1), the terms, their kinds."""
        begins = np.zeros(len(self.ends) + 1, np.int64)
        begins[1:] = self.ends
        return begins, np.array(self.flat, np.int32), np.array(self.kinds, np.uint8)

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
        n = tokenize(data, offsets, BODY, CLASSES, tokens.analyzer.lower, hashes, starts, sizes, rows, fields, flags)
        ids = tokens.number(data, hashes[:n], starts, sizes, flags)
        begins, flat, kinds = tokens.tables()
        most = int(np.diff(begins)[ids].sum())
        terms, docs = np.empty(most, np.int32), np.empty(most, np.int32)
        positions = np.empty(most, np.uint32)
        lengths = np.zeros((len(offsets) - 1, len(FIELDS)), np.int32)
        expand(ids, rows, fields, flags, begins, flat, kinds, terms, docs, positions, lengths)
        docs += np.int32(self.count)
        self._found.append((terms, docs, positions))
        self._lengths.append(lengths)
        self.count += len(offsets) - 1
        self.occurrences += most

    def finish(self) -> Iterator[pa.RecordBatch]:
        """Return the rows of `index_postings`: the list of pages, then one row for each term, in order."""
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty((0, len(FIELDS)), np.int32)
        pages = np.concatenate(self.pages, axis=1) if self.pages else np.empty((4, 0), np.int64)
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
        sorted_names = [names[i] for i in order]
        batches, total = [], np.zeros(2, np.int64)  # of rows and of their checksums
        for first in range(0, len(names), _ROWS):
            last = min(first + _ROWS, len(names))
            rows = _checked(
                [
                    pa.array(np.full(last - first, self.segment), pa.int64()),
                    pa.array(sorted_names[first:last], pa.string()),
                    pa.array(counts[first:last]),
                    pa.array(sizes[order[first:last]].astype(np.int64)),
                    _binary(postings, posting_ends, first, last),
                    _binary(position_bytes, position_ends, first, last),
                ]
            )
            total += last - first, rows["checksum"].to_numpy().sum()
            batches.append(rows)  # the lists themselves stay where they are
        listed = [[self.segment], [PAGES_TERM], [self.count], [0]]
        yield _checked([*listed, [pages.tobytes() + total.tobytes()], [lengths.tobytes()]])
        yield from batches


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
