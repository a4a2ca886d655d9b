"""The engines of the speed benchmark, each one run: seconds by stage and the test RMSE that they bought."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lfm_speed_data import read
from memory import PeakMemory
from peers import run_peer
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.train import train
from lakerank.spark.array_store import BlockStore

# ALS cuts its lineage this often; a checkpoint directory must be set.
CHECKPOINT_INTERVAL = 5


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        engine: als, libmf or ours.
        settings: what it was trained with, `factors` always among it.
        seconds: from reading Delta to the written factors (LIBMF: training alone, from arrays in memory).
        rmse: test RMSE at the end.
        stages: seconds by stage.
        curve: (seconds, test RMSE) after each epoch, as if training had ended there and factors had been written.
        facts: further measurements.
    """

    engine: str
    settings: dict[str, Any]
    seconds: float
    rmse: float
    stages: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[float, float]] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    def seconds_to(self, rmse: float) -> float | None:
        """Return the seconds until the test RMSE was first as low as this, or None if it never was."""
        return next((seconds for seconds, reached in self.curve if reached <= rmse), None)

    def shown(self) -> dict[str, Any]:
        """Return the figures for JSON, rounded."""
        rounded = {name: {k: round(v, 3) for k, v in getattr(self, name).items()} for name in ("stages", "facts")}
        curve = [(round(s, 2), round(r, 5)) for s, r in self.curve]
        return asdict(self) | rounded | {"seconds": round(self.seconds, 2), "rmse": round(self.rmse, 5), "curve": curve}


def ours(
    spark: SparkSession, table: Path, config: LfmConfig, work: Path, on_epoch: Callable[[], None] = lambda: None
) -> Run:
    """Train DSGD on the table, factors written to Delta; taking the test RMSE after each epoch counts as time."""
    shutil.rmtree(work / "ours", ignore_errors=True)
    told: list[float] = []
    with PeakMemory() as memory:
        begun = time.perf_counter()

        def note(_: object) -> None:
            told.append(time.perf_counter() - begun)
            on_epoch()

        trained = train(read(spark, table), config, BlockStore.open(str(work / "ours" / "scratch"), "scratch"), note)
        writing = time.perf_counter()
        for name, frame in (("user_factors", trained.user_factors), ("item_factors", trained.item_factors)):
            frame.write.format("delta").mode("overwrite").save(str(work / "ours" / name))
        write, total = time.perf_counter() - writing, time.perf_counter() - begun
    shutil.rmtree(work / "ours")
    ends = _ends(told, [line.seconds for line in trained.history])
    prepare, after = ends[0] - trained.history[0].seconds, total - ends[-1]
    speeds = [line.updates_per_second for line in trained.history]
    return Run(
        "ours",
        {name: getattr(config, name) for name in ("factors", "epochs", "optimizer", "lr", "reg", "blocks")},
        total,
        float(trained.test_rmse or np.nan),
        {"prepare": prepare, "epochs": ends[-1] - prepare, "final_score": after - write, "write": write},
        [(end + after, float(line.test_rmse or np.nan)) for end, line in zip(ends, trained.history, strict=True)],
        {
            "seconds_per_epoch_with_scoring": (ends[-1] - prepare) / len(ends),
            "updates_per_second_median": statistics.median(speeds),
            "updates_per_second_best": max(speeds),
            "peak_rss_mib": memory.mib,
        },
    )


def _ends(told: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Return the time each epoch ended.

    We are told at once, or of several together: then their own seconds tell them apart.
    """
    ends = [told[-1]]
    for moment, later in zip(told[-2::-1], seconds[:0:-1], strict=True):
        ends.append(min(moment, ends[-1] - later))
    return ends[::-1]


def als(spark: SparkSession, table: Path, factors: int, epochs: int, reg: float, blocks: int, work: Path) -> Run:
    """Train MLlib's ALS on the table, factors written to Delta; taking its test RMSE afterwards costs it nothing."""
    shutil.rmtree(work / "als", ignore_errors=True)
    parts = read(spark, table).withColumns({c: F.col(c).cast("int") for c in ("user_id", "item_id")})
    fit = ALS(
        rank=factors, maxIter=epochs, regParam=reg, seed=0, userCol="user_id", itemCol="item_id", ratingCol="rating",
        nonnegative=False, numUserBlocks=blocks, numItemBlocks=blocks, checkpointInterval=CHECKPOINT_INTERVAL,
    )  # fmt: skip
    with PeakMemory() as memory:
        begun = time.perf_counter()
        model = fit.fit(parts.where("part = 'train'"))
        trained = time.perf_counter() - begun
        model.userFactors.write.format("delta").save(str(work / "als" / "user_factors"))
        model.itemFactors.write.format("delta").save(str(work / "als" / "item_factors"))
        total = time.perf_counter() - begun
    bounds = parts.where("part = 'train'").agg(F.min("rating"), F.max("rating")).first()
    assert bounds is not None
    guess = F.greatest(F.lit(bounds[0]), F.least(F.lit(bounds[1]), F.col("prediction"))).cast("double")
    scored = model.transform(parts.where("part = 'test'")).where(~F.isnan("prediction"))
    row = scored.agg(F.sqrt(F.avg((guess - F.col("rating")) ** 2))).first()
    assert row is not None
    shutil.rmtree(work / "als")
    return Run(
        "als",
        {"factors": factors, "epochs": epochs, "reg": reg, "blocks": blocks},
        total,
        float(row[0]),
        {"fit": trained, "write": total - trained},
        [(total, float(row[0]))],
        {"peak_rss_mib": memory.mib},
    )


def libmf(arrays: Path, factors: int, epochs: int, l2: float) -> Run:
    """Train LIBMF in a process of its own, two threads: neither Python's start nor loading is counted."""
    said = run_peer("libmf", arrays, {"k": factors, "epochs": epochs, "l2": l2, "threads": 2})
    return Run(
        "libmf",
        {"factors": factors, "epochs": epochs, "l2": l2},
        said["seconds"],
        said["rmse"],
        {"train": said["seconds"], "load_not_counted": said["load_seconds"]},
        [(said["seconds"], said["rmse"])],
        {"peak_rss_mib": said["peak_rss_mib"]},
    )
