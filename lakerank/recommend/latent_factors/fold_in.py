"""Factors for newcomers, without training again: a ridge regression on the factors of what they rated.

For a user with n ratings: min Σ (r − μ − b_i − b − p·q_i)² + n(λ‖p‖² + λ_b b²), which is what SGD descends to with the
items held fixed; solved exactly, one (K + 1)² system a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.recommend.latent_factors.gibbs import draw_rows


def fold_in(
    ratings: DataFrame, known: DataFrame, mean: float, reg: float, rank: int = 0, has_bias: bool = True
) -> DataFrame:
    """Compute rows (id, bias float, factors array<float>) of the ids in the first column of `ratings`.

    Args:
        ratings: (id, other id, rating), the first two named as they will be; ratings of unknown others are left out,
            and who rated nothing known is not in the result.
        known: the other side's rows (other id, bias, factors), which stay as they are; a worker holds them all.
        mean: μ.
        reg: L2 weight λ, per rating.
        rank: K of one model, where several models' factors stand one after the other (`--average`); each is solved for
            by itself. 0: they are one model's.
        has_bias: whether the model has biases; without, a newcomer's is 0.
    """
    newcomer, other = ratings.columns[:2]
    table = known.select(other, "bias", "factors").sort(other).toArrow()
    ids, bias = table.column(0).combine_chunks(), table.column(1).to_numpy().astype(np.float32)
    lists = table.column(2).combine_chunks()
    q_IK = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(ids), -1)
    models = q_IK.shape[1] // rank if rank else 1
    rated = ratings.groupBy(newcomer).agg(
        F.sort_array(F.collect_list(F.struct(F.col(other), F.col("rating").cast("float").alias("rating")))).alias("own")
    )
    kind = dict(ratings.dtypes)[newcomer]
    return rated.mapInArrow(
        _folder(ids, bias, q_IK, mean, reg, models, has_bias), f"{newcomer} {kind}, bias float, factors array<float>"
    )


def _folder(
    ids: pa.Array,
    bias: NDArray[np.float32],
    q_IK: NDArray[np.float32],
    mean: float,
    reg: float,
    models: int,
    has_bias: bool,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            own = batch.column(1)
            pairs = own.flatten()
            positions = pc.index_in(pairs.field(0), value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False)
            rows = np.repeat(np.arange(len(own)), np.diff(own.offsets.to_numpy()))
            seen = positions >= 0
            r = pairs.field(1).to_numpy(zero_copy_only=False)[seen].astype(np.float32)
            factors, biases, counts = solve(
                rows[seen], positions[seen], r - mean, len(own), bias, q_IK, reg, models, has_bias
            )
            some = pa.array(counts > 0)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), factors.shape[1])
            found = [batch.column(0), pa.array(biases), lists.cast(pa.list_(pa.float32()))]
            names = [batch.schema.names[0], "bias", "factors"]
            yield pa.RecordBatch.from_arrays(found, names=names).filter(some)

    return work


def solve(
    rows: NDArray[np.int64],
    positions: NDArray[np.int32],
    targets: NDArray[np.float32],
    n_rows: int,
    bias: NDArray[np.float32],
    q_IK: NDArray[np.float32],
    reg: float,
    models: int = 1,
    has_bias: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Solve for factors (rows, K) and biases of newcomers; return their numbers of ratings, too.

    Args:
        rows: (N) ascending, who rated; positions: (N) row of `q_IK`; targets: (N) rating − μ.
        n_rows: number of newcomers.
        bias, q_IK: float32 (I) and (I, K), of what is known.
        reg: L2 weight, per rating; a tenth of it for the bias.
        models: how many models' factors stand one after the other.
        has_bias: whether newcomers have biases.
    """
    counts = np.bincount(rows, minlength=n_rows)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    k = q_IK.shape[1] // models
    factors, biases = [], np.zeros(n_rows, np.float32)
    left = (targets - bias[positions]).astype(np.float32)
    ridge = np.diag(np.append(np.full(k, reg), reg / 10) + 1e-6)
    for m in range(models):
        v = np.full((len(q_IK), k + 1), 1 if has_bias else 0, np.float32)
        v[:, :k] = q_IK[:, m * k : (m + 1) * k] * np.float32(np.sqrt(models))
        out, rest = np.empty((n_rows, k + 1), np.float32), np.empty(len(left), np.float32)
        zeros = np.zeros((n_rows, k + 1), np.float32)
        weight = np.maximum(counts, 1).astype(np.float64)
        draw_rows(
            indptr, positions.astype(np.int32), left, v, zeros, ridge, weight, 1.0, zeros.astype(np.float64), out, rest
        )
        factors.append(out[:, :k] / np.float32(np.sqrt(models)))
        biases += out[:, k] / np.float32(models)
    return np.ascontiguousarray(np.concatenate(factors, axis=1)), biases, counts
