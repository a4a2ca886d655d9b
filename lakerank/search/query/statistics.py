"""Statistics of a collection and what is computed from them: idf, length norms, link priors, impacts of postings.

A collection that is too large for one machine is searched in shards. Each shard is scored with the statistics of all,
so that its scores are those of one whole index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakerank.search.index.fields import FIELDS, PARTS, Weighting
from lakerank.search.query.kernels import BLOCK
from lakerank.search.query.word_classes import CLASS_SIGN, classes_of
from lakerank.search.text.analyzer import PAIR_SIGN
from lakerank.search.text.languages import NONE, stop_words
from lakerank.search.text.words import has_class
from lakerank.spark.array_store import Block
from lakerank.spark.jit import compiled

_BLOCK = BLOCK

STATISTICS_SCHEMA = (
    "pages bigint, lengths array<bigint>, ranked bigint, rank double, languages array<string>, "
    "language_pages array<bigint>, terms array<string>, frequencies array<bigint>"
)


@dataclass(frozen=True)
class Statistics:
    """The parameters of scoring besides the pages themselves.

    Attributes:
        pages: N.
        lengths: int64 (fields), words of all pages by field.
        ranked: pages with a rank. rank: the sum of their ranks.
        languages: that pages are in, most frequent first, and how many are.
        terms: sorted by their bytes.
        frequencies: pages that have each term, int64.
    """

    pages: int
    lengths: NDArray[np.int64]
    ranked: int
    rank: float
    languages: Mapping[str, int]
    terms: pa.Array
    frequencies: NDArray[np.int64]

    def to_batch(self) -> pa.RecordBatch:
        """Return the statistics as one row of `STATISTICS_SCHEMA`."""
        row = {
            "pages": pa.array([self.pages], pa.int64()),
            "lengths": pa.array([self.lengths], pa.list_(pa.int64())),
            "ranked": pa.array([self.ranked], pa.int64()),
            "rank": pa.array([self.rank], pa.float64()),
            "languages": pa.array([list(self.languages)], pa.list_(pa.string())),
            "language_pages": pa.array([list(self.languages.values())], pa.list_(pa.int64())),
            "terms": pa.array([self.terms], pa.list_(pa.string())),
            "frequencies": pa.array([self.frequencies], pa.list_(pa.int64())),
        }
        return pa.record_batch(row)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Statistics:
        """Read the statistics from a row of `STATISTICS_SCHEMA`."""
        lengths, frequencies = np.array(row["lengths"], np.int64), np.array(row["frequencies"], np.int64)
        languages = dict(zip(row["languages"], row["language_pages"], strict=True))
        terms = pa.array(row["terms"], pa.string())
        return cls(row["pages"], lengths, row["ranked"], row["rank"], languages, terms, frequencies)

    def idf_of(self) -> Callable[[str], float]:
        """Return a function from a term to its idf; 0 of one that no page has."""
        idfs = inverse_frequencies(self.pages, self.frequencies)
        numbers = {term: number for number, term in enumerate(self.terms.to_pylist())}
        return lambda term: float(idfs[numbers[term]]) if term in numbers else 0.0

    def of(self, terms: pa.Array) -> NDArray[np.int64]:
        """Return the frequencies of some terms, all of which must be known."""
        found: NDArray[np.int64] = self.frequencies[pc.index_in(terms, self.terms).to_numpy(zero_copy_only=False)]
        return found


def merge_statistics(shards: Sequence[Statistics]) -> Statistics:
    """Add up the statistics of several shards of a collection together."""
    rows = pa.table(
        {
            "term": pa.chunked_array([shard.terms for shard in shards], pa.string()),
            "n": pa.chunked_array([pa.array(shard.frequencies) for shard in shards], pa.int64()),
        }
    )
    summed = rows.group_by("term").aggregate([("n", "sum")]).sort_by("term").combine_chunks()
    lengths = np.asarray(np.sum([shard.lengths for shard in shards], axis=0, dtype=np.int64))
    terms = summed["term"].combine_chunks()
    terms = pa.concat_arrays(terms.chunks) if isinstance(terms, pa.ChunkedArray) else terms
    ranked, rank = sum(shard.ranked for shard in shards), sum(shard.rank for shard in shards)
    spoken: dict[str, int] = {}
    for shard in shards:
        for code, count in shard.languages.items():
            spoken[code] = spoken.get(code, 0) + count
    languages = dict(sorted(spoken.items(), key=lambda item: (-item[1], item[0])))
    pages = sum(shard.pages for shard in shards)
    return Statistics(pages, lengths, ranked, rank, languages, terms, summed["n_sum"].to_numpy())


def collection_statistics(block: Block, weighting: Weighting) -> Statistics:
    """Compute the statistics of the pages of `decode_arrays`."""
    lengths, ranks = block["lengths"], block["pageranks"]
    sums = np.asarray(lengths.sum(axis=0, dtype=np.int64)) if len(lengths) else np.zeros(len(FIELDS), np.int64)
    frequencies = _frequencies(block, weighting)
    ranked, rank = int(np.count_nonzero(ranks)), float(ranks.sum())
    codes = text_list(block, "languages").to_pylist()
    languages = dict(zip(codes, block["language_pages"].tolist(), strict=True))
    return Statistics(len(lengths), sums, ranked, rank, languages, text_list(block, "term"), frequencies)


def field_norms(lengths: NDArray[np.int32], means: NDArray[np.float64], weighting: Weighting) -> NDArray[np.float64]:
    """Compute w_f / (1 − b_f + b_f · len_f / mean len_f) of each page and field, float64 (pages, fields)."""
    relative = lengths / np.where(means > 0, means, 1.0)
    b = np.array(weighting.bs)
    return np.ascontiguousarray(np.array(weighting.weights) / np.maximum(1 - b + b * relative, 1e-9))


def inverse_frequencies(pages: int, frequencies: NDArray[Any]) -> NDArray[np.float64]:
    """Compute Lucene's idf, ln(1 + (N − df + ½) / (df + ½)); 0 where no page has the term."""
    idf = np.log1p((pages - frequencies + 0.5) / (frequencies + 0.5))
    return np.where(frequencies > 0, idf, 0.0)


def _frequencies(block: Block, weighting: Weighting) -> NDArray[np.int64]:
    """Count the pages that have each term in a field that counts."""
    counting = np.array(weighting.weights) > 0
    ends: NDArray[np.int64] = block["ends"]
    if counting.all():
        return np.asarray(np.diff(ends, prepend=0))
    total = np.zeros(len(block["docs"]) + 1, np.int64)
    np.cumsum((block["tfs"][:, counting] > 0).any(axis=1), out=total[1:])
    return np.asarray(np.diff(total[ends], prepend=0))


def text_list(block: Block, name: str) -> pa.Array:
    """Return the terms, or the languages, of `decode_arrays`, in order."""
    ends = np.r_[np.int64(0), block[f"{name}_ends"]]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(block[f"{name}_data"]))]
    return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers).cast(pa.string())


def score_arrays(block: Block, statistics: Statistics, weighting: Weighting) -> Block:
    """Compute everything that depends on the whole collection: idf, norms, impacts, their maxima, terms by page.

    Args:
        block: `decode_arrays`; of the whole collection or of a shard of it.
        statistics: of the whole collection.
        weighting: BM25F's settings; the impacts of all postings are computed for them.
    """
    ends, pages = block["ends"], len(block["lengths"])
    prior = link_prior(block["pageranks"], statistics.ranked, statistics.rank)
    idfs = inverse_frequencies(statistics.pages, statistics.of(text_list(block, "term")))
    means = statistics.lengths / max(statistics.pages, 1)
    norms = field_norms(block["lengths"], means, weighting)
    values = np.empty(len(block["docs"]), np.float32)
    impacts(ends, block["docs"], block["tfs"], norms, idfs, weighting.k1, values)
    firsts = np.zeros(len(ends) + 1, np.int64)
    maxima = block_maxima(ends, values, firsts)
    wanted = expandable(block)
    size = int(np.diff(ends, prepend=0)[wanted].sum())
    begins = np.zeros(pages + 1, np.int64)
    page_terms, page_values = np.empty(size, np.int32), np.empty(size, np.float32)
    transpose(ends, block["docs"], values, wanted, begins, page_terms, page_values)
    return {
        "prior": prior, "means": means, "idfs": idfs, "norms": norms, "values": values,
        "block_firsts": firsts, "maxima": maxima, "page_begins": begins,
        "page_terms": page_terms, "page_values": page_values,
    }  # fmt: skip


def expandable(block: Block) -> NDArray[np.bool_]:
    """Return a mask of the terms that may expand a query: classes of words, and words that are in none.

    Stop words and bare numbers, compounds and parts of words may not.
    """
    languages = text_list(block, "languages").to_pylist()
    stops = {name for code in languages for word in stop_words(code) for name in classes_of(word, [code])}
    unstemmed = {word for code in languages for word in stop_words(code)} if languages == [NONE] else set()
    terms = text_list(block, "term").to_pylist()
    classes = bool(terms) and terms[0].startswith(CLASS_SIGN)
    wanted = np.fromiter(
        (
            term not in stops
            if term.startswith(CLASS_SIGN)
            else not (PAIR_SIGN in term or term.isdecimal() or (classes and has_class(term)) or term in unstemmed)
            for term in terms
        ),
        np.bool_,
        len(terms),
    )
    return wanted & stand_alone(block["ends"], block["tfs"], PARTS)


@compiled(nogil=True)
def stand_alone(ends: NDArray[np.int64], tfs: NDArray[np.uint16], fields: int) -> NDArray[np.bool_]:
    """Tell which terms stand on some page in one of the first `fields` fields."""
    out, begin = np.zeros(len(ends), np.bool_), 0
    for term in range(len(ends)):
        for at in range(begin, ends[term]):
            for field in range(fields):
                if tfs[at, field] > 0:
                    out[term] = True
            if out[term]:
                break
        begin = ends[term]
    return out


def link_prior(pageranks: NDArray[np.float64], ranked: int, total: float) -> NDArray[np.float32]:
    """Compute the log-linear prior: log₁₀ of how many times its even share of rank a page has, 0 to 3.

    Pages with less than their share have 0 as those without a rank: a documentation's leaf pages are no worse for
    being leaves. Beyond a thousand times the prior stops, so that no rank, however it came about, replaces a match.

    Args:
        pageranks: float64, probabilities; 0 where unknown.
        ranked: how many pages of the collection have a rank. total: the sum of their ranks.
    """
    if total <= 0:
        return np.zeros(len(pageranks), np.float32)
    share = pageranks * (ranked / total)
    prior: NDArray[np.float32] = np.clip(np.log10(np.maximum(share, 1e-12)), 0.0, 3.0).astype(np.float32)
    return prior


@compiled(nogil=True)
def impacts(
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    tfs: NDArray[np.uint16],
    norms: NDArray[np.float64],
    idfs: NDArray[np.float64],
    k1: float,
    out: NDArray[np.float32],
) -> None:
    """Compute each posting's share of a score (`fields.Weighting`).

    Args:
        ends: int64, where each term's postings end. docs: int32. tfs: uint16 (n, fields).
        norms: float64 (pages, fields), w_f / (1 − b_f + b_f · len_f / mean len_f).
        idfs: float64, of the terms. k1: > 0. out: out, float32 (n).
    """
    at = 0
    for term in range(len(ends)):
        while at < ends[term]:
            x = 0.0
            for field in range(tfs.shape[1]):
                x += tfs[at, field] * norms[docs[at], field]
            out[at] = idfs[term] * (x / (k1 + x))
            at += 1


@compiled(nogil=True)
def impacts_of(
    docs: NDArray[np.int32], tfs: NDArray[Any], norms: NDArray[np.float64], idf: float, k1: float
) -> NDArray[np.float64]:
    """Compute the shares in the score of a list of pages with the given frequencies, as `impacts`."""
    out = np.zeros(len(docs), np.float64)
    for at in range(len(docs)):
        x = 0.0
        for field in range(tfs.shape[1]):
            x += tfs[at, field] * norms[docs[at], field]
        out[at] = idf * (x / (k1 + x))
    return out


@compiled(nogil=True)
def block_maxima(
    ends: NDArray[np.int64], values: NDArray[np.float32], firsts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Compute the maximum of each run of `BLOCK` postings; term t's runs begin at `firsts[t]` (out, terms + 1)."""
    begin = 0
    for term in range(len(ends)):
        firsts[term + 1] = firsts[term] + (ends[term] - begin + _BLOCK - 1) // _BLOCK
        begin = ends[term]
    out = np.zeros(firsts[-1], np.float32)
    begin = 0
    for term in range(len(ends)):
        for at in range(begin, ends[term]):
            block = firsts[term] + (at - begin) // _BLOCK
            out[block] = max(out[block], values[at])
        begin = ends[term]
    return out


@compiled(nogil=True)
def transpose(
    ends: NDArray[np.int64],
    docs: NDArray[np.int32],
    values: NDArray[np.float32],
    wanted: NDArray[np.bool_],
    doc_begins: NDArray[np.int64],
    terms_out: NDArray[np.int32],
    values_out: NDArray[np.float32],
) -> None:
    """Group postings by page: page d's terms are `doc_begins[d]:doc_begins[d + 1]` (out, pages + 1, zeros before)."""
    at = 0
    for term in range(len(ends)):
        while at < ends[term]:
            doc_begins[docs[at] + 1] += wanted[term]
            at += 1
    for doc in range(1, len(doc_begins)):
        doc_begins[doc] += doc_begins[doc - 1]
    fill = doc_begins[:-1].copy()
    at = 0
    for term in range(len(ends)):
        while at < ends[term]:
            if wanted[term]:
                free = fill[docs[at]]
                terms_out[free], values_out[free] = term, values[at]
                fill[docs[at]] = free + 1
            at += 1
