"""Find the most similar others of every item (or user), exactly, block by block.

Shape suffixes: P ratings, R things compared (items, or users), C what they are compared by (users, or items).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from scipy import sparse

from lakerank.cli.errors import UserError
from lakerank.cli.settings import NOT_NEGATIVE, POSITIVE, PROBABILITY, CheckedSettings, flag
from lakerank.recommend.models.training_matrix import counted_order
from lakerank.recommend.neighbors.kernels import nearest_rows
from lakerank.spark.array_store import Block, BlockStore, in_process, on_workers

# The kernel sums over common raters only what the measure needs (`kernels.py`).
MEASURES = {"jaccard": 0, "cosine": 1, "adjusted-cosine": 2, "pearson": 3}
WEIGHTINGS = ("none", "tf-idf", "bm25")
BM25_K1, BM25_B = 100.0, 0.8  # long documents and counts that saturate late: what fits ratings (implicit's defaults)


@dataclass(frozen=True)
class Similarity(CheckedSettings):
    """How two things are compared.

    Attributes:
        measure: `jaccard`: common raters over all raters; `cosine`: of the vectors of values;
            `adjusted-cosine`: of deviations from the mean of each column, over common columns (Sarwar et al. 2001);
            `pearson`: correlation over common columns.
        weighting: of cosine's values: `none`, `tf-idf` (columns with few ratings say more), `bm25` (also long rows
            count for less; similarity is then the plain product, without bound).
        values: for cosine, `ones` (that there is a rating) or `ratings`.
        shrink: n common columns count n / (n + shrink) (Koren 2010).
        min_support: fewer common columns: not alike at all.
        top: how many are kept for each, the most alike first; similarity up to 0 is never kept.
        popularity: cosine's denominator is |i|^2p · |j|^2(1−p) for a neighbour j of i; 0.5 is the plain cosine, more
            favours neighbours with many ratings (Aiolli 2013).
    """

    measure: str = flag("cosine", "of similarity", choices=list(MEASURES))
    weighting: str = flag("none", "of cosine's values", choices=WEIGHTINGS)
    values: str = flag("ones", "what cosine compares", choices=["ones", "ratings"])
    shrink: float = flag(10.0, "n common raters count n / (n + shrink)", within=NOT_NEGATIVE)
    min_support: int = flag(2, "fewer common raters: not alike", within=POSITIVE)
    top: int = flag(100, "neighbours kept for each", within=POSITIVE)
    popularity: float = flag(
        0.5,
        "cosine: share of the item's own length in the denominator; above 0.5 favours much rated neighbours",
        within=PROBABILITY,
    )

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UserError: one is out of its range, or they contradict each other.
        """
        super().__post_init__()
        if self.measure != "cosine":
            for name, plain in (("weighting", "none"), ("popularity", 0.5)):
                if getattr(self, name) != plain:
                    raise UserError(f"--{name} {getattr(self, name)} goes with --measure cosine, not {self.measure}")

    def lengths(self, x_RC: sparse.csr_matrix) -> NDArray[np.float64]:
        """Return the lengths of weighed rows, which cosine divides by, (R)."""
        if self.weighting == "bm25":
            return np.ones(x_RC.shape[0])
        return np.asarray(np.sqrt(x_RC.multiply(x_RC).sum(axis=1)), np.float64).ravel()

    def weigh(self, x_RC: sparse.csr_matrix) -> sparse.csr_matrix:
        """Return the values that the kernel adds up, float64, in place of the ratings."""
        x = sparse.csr_matrix(x_RC, dtype=np.float64, copy=True)
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        if self.measure == "adjusted-cosine":
            x.data -= _means(x.data, x.indices, x.shape[1])[x.indices]
        elif self.measure == "pearson":  # the same for any constant taken off a row; small numbers lose less
            x.data -= _means(x.data, rows, x.shape[0])[rows]
        elif self.values == "ones" or self.measure == "jaccard":
            x.data[:] = 1.0
        if self.weighting != "none":
            x.data *= self._importance(x, rows)
        return x

    def _importance(self, x: sparse.csr_matrix, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return factors of the values, (P), by the formulas of text retrieval: rows are documents, columns terms."""
        per_column = np.bincount(x.indices, minlength=x.shape[1])
        idf = np.log(x.shape[0] / (1.0 + per_column))
        idf = np.maximum(idf, 0.0)[x.indices]
        if self.weighting == "tf-idf":
            return np.asarray(np.sqrt(x.data) * idf / np.where(x.data == 0, 1.0, x.data))
        length = np.bincount(rows, x.data, x.shape[0])
        norm = (1.0 - BM25_B) + BM25_B * length / max(length.mean(), 1e-12)
        return np.asarray((BM25_K1 + 1.0) / (BM25_K1 * norm[rows] + x.data) * idf)


def _means(values: NDArray[np.float64], groups: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(groups, values, n) / np.maximum(np.bincount(groups, minlength=n), 1))


SMALL = 200_000_000  # additions up to which one process is quicker than Spark's tasks
STEPS_AT_ONCE = 200_000_000  # additions of a task, about a second


@dataclass(frozen=True)
class Nearest:
    """The nearest rows that were found.

    Attributes:
        store: `found/B` has `rows` (the first and the one after the last), `positions` int32 (R, N), `similar` float64
            (R, N), `support` int32 (R, N), where position −1 fills the end of a list.
        blocks: their number.
        n: how many rows there are.
    """

    store: BlockStore
    blocks: int
    n: int

    def matrix(self) -> sparse.csr_matrix:
        """Return the similarities as a sparse matrix, (R, R): row j, column i has that of j in the list of i."""
        columns, rows, values = [], [], []
        for b in range(self.blocks):
            found = self.store.get(f"found/{b}")
            kept = found["positions"] >= 0
            first = int(found["rows"][0])
            columns.append((first + np.nonzero(kept)[0]).astype(np.int32))
            rows.append(found["positions"][kept])
            values.append(found["similar"][kept])
        shape = (self.n, self.n)
        if not columns:
            return sparse.csr_matrix(shape, dtype=np.float32)
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sparse.coo_matrix(entries, shape=shape).tocsr()

    def table(self, spark: SparkSession, ids: pa.Array, name: str) -> DataFrame:
        """Return frame (`name`_id, rank, other_id, similarity, support): the relation `similar_items` or
        `similar_users`."""
        kind = "bigint" if pa.types.is_integer(ids.type) else "string"
        schema = f"{name}_id {kind}, rank int, other_id {kind}, similarity double, support bigint"
        return spark.range(0, self.blocks, 1, max(1, min(self.blocks, 64))).mapInArrow(
            _teller(self.store, ids, f"{name}_id"), schema
        )


def nearest(spark: SparkSession, x_RC: sparse.csr_matrix, how: Similarity, store: BlockStore) -> Nearest:
    """Return the `how.top` most alike others of each row, exactly.

    Args:
        spark: for the tasks.
        x_RC: ratings; explicit zeros count as ratings.
        how: see `Similarity`.
        store: an empty store that all workers see; it must stay while the result is used.
    """
    n_rows, n_columns = x_RC.shape
    weighed = how.weigh(x_RC)
    by_row: Block = {
        "starts": weighed.indptr.astype(np.int64),
        "columns": weighed.indices.astype(np.int32),
        "values": weighed.data,
    }
    rows_P = np.repeat(np.arange(n_rows, dtype=np.int32), np.diff(by_row["starts"]))
    order, starts_C = np.arange(len(rows_P)), np.empty(n_columns + 1, np.int64)
    counted_order(by_row["columns"], n_columns, order, starts_C)
    steps_R = np.bincount(rows_P, np.diff(starts_C)[by_row["columns"]], n_rows)
    column: Block = {"starts": starts_C, "rows": rows_P[order], "values": by_row["values"][order]}
    column["norms"] = how.lengths(weighed)
    store.put("by-row", by_row)
    store.put("by-column", column)
    edges = _edges(steps_R, STEPS_AT_ONCE)

    def work(b: int) -> list[tuple[str, float, int]]:
        _block(store, b, int(edges[b]), int(edges[b + 1]), how)
        return [("rows", 0.0, int(edges[b + 1] - edges[b]))]

    blocks = len(edges) - 1
    if steps_R.sum() <= SMALL:
        in_process(blocks, work)
    else:
        on_workers(spark, blocks, work)
    return Nearest(store, blocks, n_rows)


def all_similarities(x_RC: sparse.csr_matrix, how: Similarity) -> NDArray[np.float64]:
    """Return the similarities of all pairs of few rows, (R, R), by cosine (`popularity` 0.5) or Jaccard; 0 for a row
    itself and for pairs that are not alike. What `nearest` lists are the largest of these."""
    weighed, ones = how.weigh(x_RC), sparse.csr_matrix(x_RC, dtype=np.float64, copy=True)
    ones.data[:] = 1.0
    common = (ones @ ones.T).toarray()
    if how.measure == "jaccard":
        raters = common.diagonal()
        like = common / np.maximum(raters[:, None] + raters[None, :] - common, 1.0)
    else:
        lengths = how.lengths(weighed)
        like = (weighed @ weighed.T).toarray() / np.maximum(np.outer(lengths, lengths), 1e-12)
    like *= common / np.maximum(common + how.shrink, 1e-12)
    like[common < how.min_support] = 0.0
    np.fill_diagonal(like, 0.0)
    return np.asarray(like, np.float64)


def _edges(steps_R: NDArray[np.number[Any]], aim: int) -> NDArray[np.int64]:
    """Return the bounds of runs of rows with about `aim` additions each."""
    if not len(steps_R):
        return np.zeros(1, np.int64)
    done = np.cumsum(steps_R)
    cuts = np.searchsorted(done, np.arange(aim, done[-1], aim)) + 1
    return np.unique(np.concatenate([[0], cuts, [len(steps_R)]])).astype(np.int64)


def _block(store: BlockStore, b: int, lo: int, hi: int, how: Similarity) -> None:
    row, column = _frozen(store.get("by-row")), _frozen(store.get("by-column"))
    kept = min(how.top, max(len(row["starts"]) - 2, 1))
    positions = np.empty((hi - lo, kept), np.int32)
    similar, support = np.empty((hi - lo, kept)), np.empty((hi - lo, kept), np.int32)
    nearest_rows(
        lo,
        row["starts"],
        row["columns"],
        row["values"],
        column["starts"],
        column["rows"],
        column["values"],
        column["norms"],
        MEASURES[how.measure],
        how.popularity,
        how.shrink,
        how.min_support,
        positions,
        similar,
        support,
    )
    found: Block = {"rows": np.array([lo, hi]), "positions": positions, "similar": similar, "support": support}
    store.put(f"found/{b}", found)


def _frozen(block: Block) -> Block:
    """Return read-only plain arrays, small ones too: the kernel is compiled once, not for each mixture."""
    plain = {name: array.view(np.ndarray) for name, array in block.items()}
    for array in plain.values():
        array.flags.writeable = False
    return plain


def _teller(
    store: BlockStore, ids: pa.Array, name: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for b in batch.column(0).to_pylist():
                found = store.get(f"found/{b}")
                rows, ranks = np.nonzero(found["positions"] >= 0)
                first = int(found["rows"][0])
                yield pa.RecordBatch.from_pydict(
                    {
                        name: ids.take(pa.array(first + rows)),
                        "rank": pa.array(ranks.astype(np.int32) + 1),
                        "other_id": ids.take(pa.array(found["positions"][rows, ranks])),
                        "similarity": pa.array(found["similar"][rows, ranks].astype(np.float64)),
                        "support": pa.array(found["support"][rows, ranks].astype(np.int64)),
                    }
                )

    return work
