"""Latent factors by distributed SGD: R ≈ μ + b_u + b_i + P·Qᵀ over the observed ratings only.

Ratings are divided into B × B blocks, by user and by item. A stratum is B blocks that share no user and no
item, so B workers can train it at the same time without seeing each other's rows; B strata make an epoch and
the item factors move on between them (DSGD; Gemulla, Nijkamp, Haas and Sismanis 2011, "Large-scale matrix
factorization with distributed stochastic gradient descent"). The rating blocks stay in a `BlockStore`; Spark
ships only their names, one small job per stratum.

Every step is determined by the settings and the data: order within a block is a hash of user, item and seed,
strata and tiles are visited in seeded order, and each step writes new files. So a run that was killed goes on
from its last finished epoch to bitwise the same factors (same block count, same machine type).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.blocks import Block, BlockStore
from spark_jobs.lake.errors import UserError
from spark_jobs.lake.index import dense_index
from spark_jobs.lake.progress import progress
from spark_jobs.recsys.models import kernels

PARTS = ("train", "valid", "test")
# Users × items of one tile: with 64 float32 factors their rows are 1 MiB each side, which a core's cache holds.
TILE_ROWS = 4096
# A worker sorts the ratings of its user block in memory when blocks are built: 20 million take about 1 GB.
MOST_RATINGS_PER_USER_BLOCK = 20_000_000
# Below this a worker finishes sooner (10 ms) than Spark starts the next one (100 ms).
FEWEST_RATINGS_PER_USER_BLOCK = 250_000

Work = Callable[[int], list[tuple[str, float, int]]]  # block number → (what, sum, count)


@dataclass(frozen=True)
class LfmConfig:
    """How to train.

    Attributes:
        factors: K, length of a factor vector.
        epochs: passes over the training ratings.
        optimizer: `sgd`, `adagrad` or `adam`.
        lr: learning rate η of the first epoch.
        reg: L2 weight λ of the factors, per rating.
        reg_bias: L2 weight of the biases, per rating.
        init: `normal:SIGMA` (divided by √K) or `uniform:LOW,HIGH`.
        seed: of initial factors and visiting order.
        lr_schedule: `constant`; `exponential` (η·decay^(epoch/steps)); `bold-driver` (×1.05 after an epoch
            that lowered the training error, ×0.5 after one that did not).
        lr_decay, lr_decay_steps: of `exponential`; steps in epochs.
        early_stop: stop after this many epochs without a better validation RMSE; 0 never stops early.
        bias: learn μ, b_u and b_i.
        blocks: B; 0 takes one per core, or more where the ratings ask for it.
    """

    factors: int = 64
    epochs: int = 20
    optimizer: str = "adagrad"
    lr: float = 0.05
    reg: float = 0.1
    reg_bias: float = 0.01
    init: str = "normal:0.1"
    seed: int = 0
    lr_schedule: str = "constant"
    lr_decay: float = 0.98
    lr_decay_steps: float = 1.0
    early_stop: int = 0
    bias: bool = True
    blocks: int = 0


@dataclass(frozen=True)
class Epoch:
    """What one pass did. RMSEs are in rating units; None where that part is empty."""

    epoch: int
    lr: float
    train_rmse: float
    valid_rmse: float | None
    test_rmse: float | None
    seconds: float
    updates_per_second: float


@dataclass(frozen=True)
class Data:
    """Indexed ratings: frames (user_id, ix) and (item_id, ix), sizes, and the training ratings' statistics."""

    users: DataFrame
    items: DataFrame
    n_users: int
    n_items: int
    counts: dict[str, int]
    mean: float
    low: float
    high: float
    blocks: int


@dataclass(frozen=True)
class Trained:
    """Factors of the kept epoch, with the curve that led there.

    Attributes:
        user_factors: frame (user_id, bias float, factors array<float>).
        item_factors: frame (item_id, bias float, factors array<float>).
        mean: μ, 0 without biases.
        train_rmse, valid_rmse, test_rmse: of the kept factors.
    """

    user_factors: DataFrame
    item_factors: DataFrame
    mean: float
    low: float
    high: float
    epoch: int
    history: list[Epoch]
    train_rmse: float
    valid_rmse: float | None
    test_rmse: float | None
    resumed_from: int


def parse_init(text: str) -> tuple[str, tuple[float, ...]]:
    """`normal:SIGMA` or `uniform:LOW,HIGH` (bare `normal` is 0.1).

    Raises:
        UserError: anything else.
    """
    kind, _, rest = text.strip().replace("(", ":").rstrip(")").partition(":")
    try:
        numbers = tuple(float(part) for part in rest.split(",")) if rest else ()
    except ValueError:
        numbers = (np.nan,)
    if kind == "normal" and len(numbers) <= 1 and all(n >= 0 for n in numbers):
        return kind, numbers or (0.1,)
    if kind == "uniform" and len(numbers) == 2 and numbers[0] < numbers[1]:
        return kind, numbers
    raise UserError(f"--init {text}: must be normal:SIGMA or uniform:LOW,HIGH, e.g. normal:0.1 or uniform:-5,5")


# --- preparing: index, blocks -------------------------------------------------------------------------------


def cores(spark: SparkSession) -> int:
    """How many tasks the cluster runs at once, asked through a frame (works on Connect and serverless)."""
    return spark.range(1 << 20).select(F.spark_partition_id()).distinct().count()


def _block_count(spark: SparkSession, ratings: int) -> int:
    """One user block per core, fewer where they would be tiny, more where they would not fit a worker."""
    useful = min(cores(spark), ratings // FEWEST_RATINGS_PER_USER_BLOCK)
    return max(useful, -(-ratings // MOST_RATINGS_PER_USER_BLOCK))


def prepare(ratings: DataFrame, config: LfmConfig, store: BlockStore) -> Data:
    """Index users and items, cut the ratings into blocks and store them (once: a stored set is used again).

    Args:
        ratings: the `ratings` relation with `part` (see `splits`).
        config: for `blocks` and `seed`.
        store: where blocks go.

    Raises:
        UserError: there are no training ratings.
    """
    train = ratings.where(F.col("part") == "train")
    facts = train.agg(
        F.avg(F.col("rating").cast("double")).alias("mean"),
        F.min("rating").alias("low"),
        F.max("rating").alias("high"),
        F.count("*").alias("n"),
    ).first()
    if facts is None or facts["n"] == 0:
        raise UserError("no training ratings are left after the split: choose a smaller test share")
    users, n_users = dense_index(train.select("user_id"))
    items, n_items = dense_index(train.select("item_id"))
    blocks = max(1, min(config.blocks or _block_count(ratings.sparkSession, facts["n"]), n_users, n_items))
    noted = store.noted("blocks.json")
    if noted is None or noted["blocks"] != blocks:
        store.drop("ratings")
        indexed = (
            ratings.join(users.withColumnRenamed("ix", "u"), "user_id", "left")
            .join(items.withColumnRenamed("ix", "i"), "item_id", "left")
            .select(
                F.coalesce("u", F.lit(-1)).cast("int").alias("u"),
                F.coalesce("i", F.lit(-1)).cast("int").alias("i"),
                F.col("rating").cast("float").alias("r"),
                F.array_position(F.array(*map(F.lit, PARTS)), F.col("part")).cast("tinyint").alias("part"),
            )
        )
        write = _block_writer(store, blocks, n_items, config.seed)
        parted = indexed.repartition(blocks, F.pmod(F.col("u"), F.lit(blocks)))
        rows = parted.mapInArrow(write, "part string, n bigint").groupBy("part").agg(F.sum("n").alias("n")).collect()
        noted = {"blocks": blocks, "counts": {row["part"]: row["n"] for row in rows}}
        store.note("blocks.json", noted)
    return Data(
        users=users,
        items=items,
        n_users=n_users,
        n_items=n_items,
        counts=noted["counts"],
        mean=float(facts["mean"]) if config.bias else 0.0,
        low=float(facts["low"]),
        high=float(facts["high"]),
        blocks=blocks,
    )


def scramble(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a fixed, well mixed number for each key."""
    with np.errstate(over="ignore"):
        z = keys + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def arrange(u: NDArray[Any], i: NDArray[Any], r: NDArray[Any], blocks: int, n_items: int, seed: int) -> Block:
    """Order one block's ratings: tile by tile, within a tile by a seeded hash, whatever order they came in.

    Args:
        u, i: int32 global indexes, −1 for unknown; r: float32 ratings. All of one block.
        blocks: B; a row's place within its block is index // B.
        n_items: number of items, which makes user · n_items + item unique.

    Returns:
        `rows`, `cols` (int32, within the block), `ratings` (float32), `tiles` (int64 boundaries).
    """
    key = scramble((u.astype(np.int64) * n_items + i).astype(np.uint64), seed)
    rows = np.where(u < 0, -1, u // blocks).astype(np.int32)
    cols = np.where(i < 0, -1, i // blocks).astype(np.int32)
    wide = max(1, -(-n_items // (blocks * TILE_ROWS)))
    tile = (rows // TILE_ROWS).astype(np.int64) * wide + cols // TILE_ROWS
    order = np.lexsort((key, tile))
    starts = np.flatnonzero(np.diff(tile[order], prepend=np.int64(-(1 << 40))))
    return {
        "rows": rows[order],
        "cols": cols[order],
        "ratings": r[order].astype(np.float32),
        "tiles": np.append(starts, len(order)).astype(np.int64),
    }


def _block_writer(
    store: BlockStore, blocks: int, n_items: int, seed: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Arrow batches (u, i, r, part) of whole user blocks in; blocks into the store, counts out."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns: list[list[NDArray[Any]]] = [[], [], [], []]
        for batch in batches:
            for column, values in zip(columns, batch.columns, strict=True):
                column.append(values.to_numpy(zero_copy_only=False))
        if not columns[0]:
            return
        u, i, r, part = (np.concatenate(column) for column in columns)
        cell = ((part.astype(np.int64) - 1) * blocks + u % blocks) * blocks + i % blocks
        order = np.argsort(cell, kind="stable")
        bounds = np.flatnonzero(np.diff(cell[order], prepend=-1))
        for lo, hi in zip(bounds, [*bounds[1:], len(order)], strict=True):
            chosen = order[lo:hi]
            number = int(cell[chosen[0]])
            name = PARTS[number // blocks**2]
            p, q = number // blocks % blocks, number % blocks
            store.put(f"ratings/{name}-{p}-{q}", arrange(u[chosen], i[chosen], r[chosen], blocks, n_items, seed))
            yield pa.RecordBatch.from_pydict({"part": [name], "n": [len(chosen)]})

    return write


# --- training: what runs in the workers ---------------------------------------------------------------------


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
class _Step:
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


def _on_workers(spark: SparkSession, blocks: int, work: Work) -> dict[str, tuple[float, int]]:
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


def _initialise(store: BlockStore, config: LfmConfig, data: Data) -> Work:
    blocks, sizes = data.blocks, (data.n_users, data.n_items)

    def work(p: int) -> list[tuple[str, float, int]]:
        for side, (name, n) in enumerate(zip(("user", "item"), sizes, strict=True)):
            rows = len(range(p, n, blocks))
            rng = np.random.default_rng([config.seed, side, p])
            store.put(f"epoch-0/{name}-{p}", initial_state(rows, config, rng))
        return [("start", 0.0, 0)]

    return work


def _scorer(
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


# --- training: what the driver does -------------------------------------------------------------------------


def learning_rate(config: LfmConfig, history: list[Epoch]) -> float:
    """η of the epoch after `history`."""
    if config.lr_schedule == "exponential":
        return float(config.lr * config.lr_decay ** (len(history) / config.lr_decay_steps))
    if config.lr_schedule == "bold-driver" and len(history) >= 2:
        better = history[-1].train_rmse < history[-2].train_rmse
        return history[-1].lr * (1.05 if better else 0.5)
    return history[-1].lr if config.lr_schedule == "bold-driver" and history else config.lr


def _require_convergence(history: list[Epoch], data: Data, config: LfmConfig) -> None:
    """Stop a run whose error is no number, or is growing far beyond the rating scale."""
    rmse, earlier = history[-1].train_rmse, [epoch.train_rmse for epoch in history[:-1]]
    far = rmse > 2 * (data.high - data.low + 1) and bool(earlier) and rmse > 2 * min(earlier)
    if not np.isfinite(rmse) or far:
        raise UserError(
            f"training diverged in epoch {history[-1].epoch} (train RMSE {rmse:.3g}): lower --lr (now "
            f"{history[-1].lr:g}) or raise --reg (now {config.reg:g})"
        )


def _rmse(sums: dict[str, tuple[float, int]], part: str) -> float | None:
    total, n = sums.get(part, (0.0, 0))
    return float(np.sqrt(total / n)) if n else None


def _run_epoch(
    spark: SparkSession,
    config: LfmConfig,
    data: Data,
    store: BlockStore,
    number: int,
    lr: float,
    held: tuple[str, ...],
) -> Epoch:
    """One pass: B strata in random order, then the error on what is held out."""
    blocks, before, error, count = data.blocks, f"epoch-{number - 1}", 0.0, 0
    score = _scorer(store, f"epoch-{number}", blocks, data.mean, data.low, data.high, held)
    shifts = np.random.default_rng([config.seed, 3, number]).permutation(blocks)
    begun = time.perf_counter()
    for turn, shift in enumerate(shifts, start=1):
        after = f"epoch-{number}" if turn == blocks else f"epoch-{number}-step-{turn}"
        step = _Step(store, config, blocks, data.mean, before, after, number, int(shift), lr)
        # One block is trained and scored by one task; several must all be trained before any can be scored.
        sums = _on_workers(spark, blocks, step.run if blocks > 1 else _one_after_the_other(step.run, score))
        error, count = error + sums["train"][0], count + sums["train"][1]
        before = after
    seconds = time.perf_counter() - begun
    if blocks > 1 and held:
        sums = _on_workers(spark, blocks, score)
    return Epoch(
        epoch=number,
        lr=lr,
        train_rmse=float(np.sqrt(error / count)),
        valid_rmse=_rmse(sums, "valid"),
        test_rmse=_rmse(sums, "test"),
        seconds=seconds,
        updates_per_second=count / seconds,
    )


def _one_after_the_other(first: Work, second: Work) -> Work:
    return lambda p: first(p) + second(p)


def train(
    ratings: DataFrame, config: LfmConfig, store: BlockStore, on_epoch: Callable[[Epoch], None] = lambda _: None
) -> Trained:
    """Fit the model, or go on with a fit that the store has begun.

    Args:
        ratings: the `ratings` relation with `part`: train, valid (for early stopping) or test.
        config: settings; a store belongs to one combination of settings (but for `epochs`) and ratings.
        store: empty for a new fit. After each epoch it holds what is needed to go on from there.
        on_epoch: called after each epoch of this call.

    Raises:
        UserError: no training ratings, a bad `init`, or the run diverged.
    """
    parse_init(config.init)
    spark = ratings.sparkSession
    data = prepare(ratings, config, store)
    blocks = data.blocks
    held = tuple(part for part in ("valid", "test") if data.counts.get(part))

    saved = store.noted("progress.json") or {"history": [], "best": 0}
    history = [Epoch(**line) for line in saved["history"]]
    best: int = saved["best"]
    if not history:
        store.drop("epoch-0")  # may be half there
        _on_workers(spark, blocks, _initialise(store, config, data))
    resumed_from = len(history)
    _forget_all_but(store, {0 if not history else history[-1].epoch, best})

    with progress(config.epochs, "training", "epoch") as meter:
        meter.update(min(resumed_from, config.epochs))
        for number in range(resumed_from + 1, config.epochs + 1):
            if _should_stop(config, history, best):
                break
            line = _run_epoch(spark, config, data, store, number, learning_rate(config, history), held)
            history.append(line)
            _require_convergence(history, data, config)
            best = _best_epoch(history, best, config)
            store.note("progress.json", {"history": [vars(epoch) for epoch in history], "best": best})
            _forget_all_but(store, {number, best})
            on_epoch(line)
            shown = {"train": line.train_rmse, "valid": line.valid_rmse, "test": line.test_rmse}
            text = " ".join(f"{part} {rmse:.4f}" for part, rmse in shown.items() if rmse is not None)
            meter.set_postfix_str(text, refresh=False)
            meter.update(1)

    kept = best if config.early_stop else (history[-1].epoch if history else 0)
    final = f"epoch-{kept}"
    scorer = _scorer(store, final, blocks, data.mean, data.low, data.high, ("train", *held))
    sums = _on_workers(spark, blocks, scorer)
    return Trained(
        user_factors=_factor_frame(spark, store, final, "user", blocks, data.users),
        item_factors=_factor_frame(spark, store, final, "item", blocks, data.items),
        mean=data.mean,
        low=data.low,
        high=data.high,
        epoch=kept,
        history=history,
        train_rmse=_rmse(sums, "train") or 0.0,
        valid_rmse=_rmse(sums, "valid"),
        test_rmse=_rmse(sums, "test"),
        resumed_from=resumed_from,
    )


def _best_epoch(history: list[Epoch], best: int, config: LfmConfig) -> int:
    """The epoch to keep: the lowest validation RMSE when stopping early, else the newest."""
    newest = history[-1]
    if not config.early_stop or newest.valid_rmse is None:
        return newest.epoch
    former = history[best - 1].valid_rmse if best else None
    return newest.epoch if former is None or newest.valid_rmse < former else best


def _should_stop(config: LfmConfig, history: list[Epoch], best: int) -> bool:
    return bool(config.early_stop and history and history[-1].epoch - best >= config.early_stop)


def _forget_all_but(store: BlockStore, epochs: set[int]) -> None:
    """Drop states of other epochs and of strata in between, finished or not."""
    keep = {f"epoch-{epoch}" for epoch in epochs}
    for key in store.keys():  # noqa: SIM118  (a method of ours, not a dict)
        if key.startswith("epoch-") and key not in keep:
            store.drop(key)


def _factor_frame(
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
