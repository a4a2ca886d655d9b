"""Start from a model that is there: what it knows of users and items goes on, newcomers start from scratch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from lakerank.recommend.latent_factors.build_blocks import pack_ids, unpack_ids
from lakerank.recommend.latent_factors.run_state import SIDES, Run, gather
from lakerank.spark.array_store import Block, BlockStore


@dataclass(frozen=True)
class BaseStats:
    """The model that training goes on from, as workers need it besides its factors.

    Attributes:
        mean: its μ.
        epochs: how many passes it was trained for.
        error: its training RMSE, in rating units.
    """

    mean: float
    epochs: int
    error: float


@dataclass(frozen=True)
class WarmStart:
    """A trained model to go on from: its frames (id, bias, factors), and the rest."""

    users: DataFrame
    items: DataFrame
    stats: BaseStats

    def save(self, store: BlockStore) -> None:
        """Write the factors where workers can read them: `warm/SIDE-…`."""
        for side, frame in zip(SIDES, (self.users, self.items), strict=True):
            name = f"{side}_id"

            def write(batches: Iterator[pa.RecordBatch], side: str = side) -> Iterator[pa.RecordBatch]:
                rows = [batch for batch in batches if batch.num_rows]
                if rows:
                    table = pa.Table.from_batches(rows).combine_chunks()
                    factors = np.stack(table.column("factors").combine_chunks().to_numpy(zero_copy_only=False))
                    store.put(
                        f"warm/{side}-{table.column('_part')[0].as_py()}",
                        pack_ids(table.column(0).combine_chunks())
                        | {"bias": table.column("bias").to_numpy(), "factors": factors.astype(np.float32)},
                    )
                yield pa.RecordBatch.from_pydict({"n": [len(rows)]})

            ordered = frame.select(name, "bias", "factors").selectExpr("*", "spark_partition_id() AS _part")
            ordered.mapInArrow(write, "n bigint").agg({"n": "sum"}).collect()


def warm_rows(run: Run, base_stats: BaseStats, side: str, p: int, fresh: Block) -> Block:
    """Return a fresh state of row block p with the rows that the model knows in it.

    AdaGrad's accumulators are what the model's own training must have left, to first order: 1 + (passes) ×
    (ratings) × (mean squared gradient). Without them the first steps would undo what was learned.
    """
    ids = unpack_ids(run.data.store.get(f"ids/{side}-{p}"))
    state = {name: np.array(values) for name, values in fresh.items()}
    counts = np.bincount(
        gather(run.data, side, p, "rows" if side == "user" else "cols").astype(np.int64), minlength=len(ids)
    )
    square = base_stats.error**2
    for key in run.store.keys("warm"):
        if not key.startswith(side):
            continue
        piece = run.store.get(f"warm/{key}")
        at = pc.index_in(ids, value_set=unpack_ids(piece)).fill_null(-1).to_numpy(zero_copy_only=False)
        mine = np.flatnonzero(at >= 0)
        theirs = at[mine]
        state["factors"][mine] = piece["factors"][theirs]
        state["bias"][mine] = piece["bias"][theirs] + (np.float32(base_stats.mean - run.mean) if side == "user" else 0)
        if run.config.optimizer == "adagrad" and "slots" in state and len(mine):
            visits = base_stats.epochs * counts[mine]
            # Of e·q the mean square is e²·q²; q's own size is about p's.
            of_factors = square * float(np.mean(np.square(piece["factors"])))
            state["slots"][mine, 0, 0] = 1 + visits * of_factors
            state["slots"][mine, 0, 1] = 1 + visits * square
    return state
