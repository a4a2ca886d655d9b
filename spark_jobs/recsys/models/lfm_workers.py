"""What the workers of the latent-factor model do: start, train and score blocks. They see names, never frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.lake.blocks import Block, BlockStore
from spark_jobs.recsys.models import kernels
from spark_jobs.recsys.models.lfm_config import LfmConfig, parse_init
from spark_jobs.recsys.models.rating_blocks import Data

Work = Callable[[int], list[tuple[str, float, int]]]  # block number → (what, sum, count)


def initial_state(rows: int, config: LfmConfig, rng: np.random.Generator) -> Block:
    """Factors (rows, K) float32, biases (rows) and optimiser state at the start of training."""
    kind, numbers = parse_init(config.init)
    k = config.factors
    if kind == "normal":
        factors = rng.standard_normal((rows, k), dtype=np.float32) * np.float32(numbers[0] / np.sqrt(k))
    else:
        low, high = numbers
        factors = rng.random((rows, k), dtype=np.float32) * np.float32(high - low) + np.float32(low)
    slots = {
        "sgd": lambda: np.zeros((1, 1, 1), np.float32),
        # 1, not 0: the first steps are not divided by almost nothing (LIBMF's choice too)
        "adagrad": lambda: np.ones((rows, 1, 2), np.float32),
        "adam": lambda: np.zeros((2, rows, k + 1), np.float32),
    }[config.optimizer]()
    return {
        "factors": factors,
        "bias": np.zeros(rows, np.float32),
        "slots": slots,
        "steps": np.zeros(rows if config.optimizer == "adam" else 0, np.int32),
    }


def train_in_place(
    users: Block, items: Block, ratings: Block, config: LfmConfig, mean: float, lr: float, rng: np.random.Generator
) -> float:
    """One pass over one block, tiles in random order; returns the sum of squared errors before each update."""
    return float(
        kernels.train_block(
            ratings["rows"],
            ratings["cols"],
            ratings["ratings"],
            ratings["tiles"],
            rng.permutation(len(ratings["tiles"]) - 1),
            users["factors"],
            users["bias"],
            items["factors"],
            items["bias"],
            users["slots"],
            items["slots"],
            users["steps"],
            items["steps"],
            np.float32(mean),
            np.float32(lr),
            np.float32(config.reg),
            np.float32(config.reg_bias),
            config.bias,
            kernels.OPTIMIZERS[config.optimizer],
        )
    )


@dataclass(frozen=True)
class Step:
    """Names of the blocks one stratum reads and writes."""

    store: BlockStore
    config: LfmConfig
    blocks: int
    mean: float
    before: str
    after: str
    epoch: int
    shift: int
    lr: float

    def run(self, p: int) -> list[tuple[str, float, int]]:
        """Train user block p with the item block that is its turn."""
        q = (p + self.shift) % self.blocks
        users = {name: np.array(values) for name, values in self.store.get(f"{self.before}/user-{p}").items()}
        items = {name: np.array(values) for name, values in self.store.get(f"{self.before}/item-{q}").items()}
        error, count = 0.0, 0
        key = f"ratings/train-{p}-{q}"
        if self.store.has(key):
            ratings = self.store.get(key)
            rng = np.random.default_rng([self.config.seed, 2, self.epoch, p, q])
            error = train_in_place(users, items, ratings, self.config, self.mean, self.lr, rng)
            count = len(ratings["rows"])
        self.store.put(f"{self.after}/user-{p}", users)
        self.store.put(f"{self.after}/item-{q}", items)
        return [("train", error, count)]


def on_workers(spark: SparkSession, blocks: int, work: Work) -> dict[str, tuple[float, int]]:
    """Run `work(p)` for p < blocks, one task each; add up the sums and counts it returns by name."""

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                names, sums, counts = zip(*work(p), strict=True)
                yield pa.RecordBatch.from_pydict(
                    {
                        "p": pa.array([p] * len(names), pa.int64()),
                        "name": pa.array(names, pa.string()),
                        "total": pa.array(sums, pa.float64()),
                        "n": pa.array(counts, pa.int64()),
                    }
                )

    rows = spark.range(0, blocks, 1, blocks).mapInArrow(task, "p bigint, name string, total double, n bigint").collect()
    result: dict[str, tuple[float, int]] = {}
    for row in sorted(rows, key=lambda row: (row["p"], row["name"])):  # a fixed order of addition
        total, n = result.get(row["name"], (0.0, 0))
        result[row["name"]] = (total + row["total"], n + row["n"])
    return result


def initialise(store: BlockStore, config: LfmConfig, data: Data) -> Work:
    """Write user block p and item block p as they are before the first epoch."""
    blocks, sizes = data.blocks, (data.n_users, data.n_items)

    def work(p: int) -> list[tuple[str, float, int]]:
        for side, (name, n) in enumerate(zip(("user", "item"), sizes, strict=True)):
            rows = len(range(p, n, blocks))
            rng = np.random.default_rng([config.seed, side, p])
            store.put(f"epoch-0/{name}-{p}", initial_state(rows, config, rng))
        return [("start", 0.0, 0)]

    return work


def scorer(
    store: BlockStore, state: str, blocks: int, mean: float, low: float, high: float, parts: tuple[str, ...]
) -> Work:
    """Squared error of user block p on each part, item block by item block."""

    def work(p: int) -> list[tuple[str, float, int]]:
        users = store.get(f"{state}/user-{p}")
        sums = dict.fromkeys(parts, (0.0, 0))
        for q in range(blocks):
            items = store.get(f"{state}/item-{q}")
            for part in parts:
                key = f"ratings/{part}-{p}-{q}"
                if store.has(key):
                    held = store.get(key)
                    error = kernels.squared_error(
                        held["rows"],
                        held["cols"],
                        held["ratings"],
                        users["factors"],
                        users["bias"],
                        items["factors"],
                        items["bias"],
                        np.float32(mean),
                        np.float32(low),
                        np.float32(high),
                    )
                    total, n = sums[part]
                    sums[part] = (total + error, n + len(held["rows"]))
        return [(part, total, n) for part, (total, n) in sums.items()]

    return work


def factor_frame(
    spark: SparkSession, store: BlockStore, state: str, side: str, blocks: int, index: DataFrame
) -> DataFrame:
    """Frame (id, bias, factors) of one side, read by the workers, joined with the ids."""

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                block = store.get(f"{state}/{side}-{p}")
                rows, k = block["factors"].shape
                for lo in range(0, rows, 8192):
                    factors = np.ascontiguousarray(block["factors"][lo : lo + 8192])
                    lists = pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), k)
                    yield pa.RecordBatch.from_arrays(
                        [
                            pa.array(np.arange(lo, lo + len(factors), dtype=np.int64) * blocks + p),
                            pa.array(np.asarray(block["bias"][lo : lo + 8192])),
                            lists.cast(pa.list_(pa.float32())),
                        ],
                        names=["ix", "bias", "factors"],
                    )

    factors = spark.range(0, blocks, 1, blocks).mapInArrow(read, "ix bigint, bias float, factors array<float>")
    return index.join(factors, "ix").drop("ix")
