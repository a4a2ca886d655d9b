"""Errors of a model, or of the mean of several, on the blocks; and its factors as frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from lakerank.recommend.latent_factors.arrays import unpack_ids
from lakerank.recommend.latent_factors.map_blocks import Work
from lakerank.recommend.latent_factors.rating_blocks import RatingBlocks
from lakerank.recommend.latent_factors.row_layout import lengths
from lakerank.recommend.latent_factors.run_state import Run
from lakerank.recommend.latent_factors.sgd_kernels import predict_pairs
from lakerank.recommend.latent_factors.time_effects import held_shift, of_groups, per_rating

ROWS_AT_ONCE = 8192


def predictions(run: Run, state: str, part: str, p: int, q: int) -> NDArray[np.float32]:
    """r̂ of one state for each rating of a block, time effects included, not clipped."""
    block = run.data.get(part, p, q)
    assert block is not None
    users, items = run.store.get(f"{state}/user-{p}"), run.store.get(f"{state}/item-{q}")
    guess = np.full(len(block["ratings"]), run.mean, np.float32)
    predict_pairs(block["rows"], block["cols"], users["factors"], users["bias"], items["factors"], items["bias"], guess)
    shift = _train_shift(run, state, p, q) if part == "train" else held_shift(run, state, part, p, q)
    return guess if shift is None else guess + shift


def _train_shift(run: Run, state: str, p: int, q: int) -> NDArray[np.float32] | None:
    if not run.timed or not run.store.has(f"{state}/effects-user-{p}"):
        return None
    total: NDArray[np.float32] | None = None
    for side, row, turn in (("user", p, q), ("item", q, p)):
        effects = run.store.get(f"{state}/effects-{side}-{row}")["effects"]
        starts = np.cumsum([0, *lengths(run.data, side, row)])
        mine = per_rating(run.data, side, row, effects)[starts[turn] : starts[turn + 1]]
        total = mine if total is None else total + mine
    return total


def squared_error(guess: NDArray[np.floating[Any]], ratings: NDArray[np.float32], data: RatingBlocks) -> float:
    """Σ (r − r̂)², r̂ clipped to the rating scale."""
    errors = np.asarray(ratings, np.float64) - np.clip(guess, np.float32(data.low), np.float32(data.high))
    return float(errors @ errors)


def scorer(models: Sequence[tuple[Run, str]], parts: Sequence[str]) -> Work:
    """Squared error of user block p on each part, by the mean prediction of (run, state) pairs on the same ratings."""
    data = models[0][0].data

    def work(p: int) -> list[tuple[str, float, int]]:
        found = []
        for part in parts:
            total, n = 0.0, 0
            for q in range(data.blocks):
                block = data.get(part, p, q)
                if block is not None:
                    guess = np.zeros(len(block["ratings"]), np.float32)
                    for run, state in models:
                        guess += predictions(run, state, part, p, q)
                    guess /= np.float32(len(models))
                    total += squared_error(guess, block["ratings"], data)
                    n += len(block["ratings"])
            found.append((part, total, n))
        return found or [("nothing", 0.0, 0)]

    return work


def factor_frame(spark: SparkSession, models: Sequence[tuple[Run, str]], side: str) -> DataFrame:
    """Frame (id, bias float, factors array<float>) of one side of the mean of several models.

    Their factors stand one after the other, over √(number of models): p·q is then the mean of their products. The
    bias has the time effects in it as they were on average over the row's ratings.

    Args:
        models: (run, state) pairs on the same ratings.
        side: user or item.
    """
    data = models[0][0].data

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                ids = unpack_ids(data.store.get(f"ids/{side}-{p}"))
                blocks = [run.store.get(f"{state}/{side}-{p}") for run, state in models]
                bias = np.stack([_bias(run, state, side, p) for run, state in models]).mean(axis=0)
                scale = np.float32(1 / np.sqrt(len(models)))
                for lo in range(0, len(ids), ROWS_AT_ONCE):
                    factors = np.concatenate([b["factors"][lo : lo + ROWS_AT_ONCE] for b in blocks], axis=1) * scale
                    lists = pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), factors.shape[1])
                    yield pa.RecordBatch.from_arrays(
                        [
                            ids.slice(lo, ROWS_AT_ONCE),
                            pa.array(bias[lo : lo + ROWS_AT_ONCE]),
                            lists.cast(pa.list_(pa.float32())),
                        ],
                        names=[f"{side}_id", "bias", "factors"],
                    )

    kind = "bigint" if "ids" in data.store.get(f"ids/{side}-0") else "string"
    schema = f"{side}_id {kind}, bias float, factors array<float>"
    return spark.range(0, data.blocks, 1, data.blocks).mapInArrow(read, schema)


def _bias(run: Run, state: str, side: str, p: int) -> NDArray[np.float32]:
    """A row's bias with its time effects as they were on average over its ratings."""
    bias = np.asarray(run.store.get(f"{state}/{side}-{p}")["bias"])
    if not run.timed or not run.store.has(f"{state}/effects-{side}-{p}"):
        return bias
    layout = run.data.store.get(f"rows/{side}-{p}")
    effects = run.store.get(f"{state}/effects-{side}-{p}")["effects"]
    indptr = layout["indptr"]
    each, counts = np.append(of_groups(effects, layout["groups"]), 0), np.diff(indptr)
    totals = np.where(counts > 0, np.add.reduceat(each, indptr[:-1]), 0)
    return (bias + totals / np.maximum(counts, 1)).astype(np.float32)
