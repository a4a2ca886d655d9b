"""Ratings and their random train / validation / test folds as arrays that every contestant reads alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.schemas import RATINGS
from lakerank.recommend.data.splits import Split, split_ratings
from lakerank.spark.session import get_spark
from spark_jobs import ingest_ratings

TRAIN, VALID, TEST = 0, 1, 2
_SHARE = 0.1  # of all ratings for test, and of the rest for validation


@dataclass(frozen=True)
class Part:
    """Ratings to train on, or to predict: users and items as dense indexes from 0, in the order of the table."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    rating: NDArray[np.float32]
    second: NDArray[np.int64]  # since 1970; -1 without times


@dataclass(frozen=True)
class Folds:
    """All ratings (N), sorted by user and item id, and what each of F folds does with them.

    Attributes:
        part_FN: TRAIN, VALID or TEST.
        name: a short hash of all of it.
    """

    ratings: Part
    part_FN: NDArray[np.uint8]
    name: str

    def rows(self, fold: int, stage: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows to train on and rows to predict: `valid` is for tuning and never sees the test rows."""
        part = self.part_FN[fold]
        if stage == "valid":
            return np.flatnonzero(part == TRAIN), np.flatnonzero(part == VALID)
        return np.flatnonzero(part != TEST), np.flatnonzero(part == TEST)

    def take(self, rows: NDArray[np.intp]) -> Part:
        """Return some of the ratings."""
        a = self.ratings
        return Part(a.user[rows], a.item[rows], a.rating[rows], a.second[rows])

    def known(self, train: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of `rows` have both their user and their item among the rows `train`: those ALS can predict."""
        a = self.ratings
        users, items = np.unique(a.user[train]), np.unique(a.item[train])
        return np.isin(a.user[rows], users) & np.isin(a.item[rows], items)


def local_spark() -> SparkSession:
    """Return the Spark session, started on first use: most peers can do without."""
    return get_spark("bench-lfm-quality", "local[2]")


def folds_of(ratings: str, folds: int, work: Path) -> Folds:
    """Return the folds of a `ratings` table or of MovieLens files, kept in `work` until the files change."""
    files = sorted(path for path in Path(ratings).rglob("*") if path.is_file())
    stamps = [f"{path.absolute()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    digest = hashlib.sha1("\n".join(stamps).encode(), usedforsecurity=False).hexdigest()[:8]
    kept = work / f"folds-{folds}-{digest}.npz"
    if not (files and kept.exists()):
        made = make_folds(_read_table(local_spark(), ratings, work / "lake"), folds)
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, **vars(made.ratings), part_FN=made.part_FN)
        partial.rename(kept)
    found = dict(np.load(kept))
    part_FN = found.pop("part_FN")
    parts = Part(**found)
    return Folds(parts, part_FN, _name(parts, part_FN[0]))


def _read_table(spark: SparkSession, ratings: str, lake: Path) -> DataFrame:
    """Read a Delta table of ratings, or the files of a MovieLens edition, which are ingested into `lake` first."""
    if is_catalog_name(ratings) or "://" in ratings or (Path(ratings) / "_delta_log").exists():
        return TableRef(ratings).read(spark, RATINGS)
    ingest_ratings.run(spark, ingest_ratings.Args(source=ratings, lake=str(lake)))
    return TableRef.find("", RATINGS, str(lake)).read(spark, RATINGS)


def make_folds(table: DataFrame, folds: int) -> Folds:
    """Split by `random:0.1` with the seeds 0, 1, …, and a tenth of each rest for validation."""
    table = table.withColumn("second", F.coalesce(F.unix_timestamp("rated_at"), F.lit(-1)))
    columns = [f"part_{seed}" for seed in range(folds)]
    for seed, column in enumerate(columns):
        parted = split_ratings(table, table, Split("random", (_SHARE,)), seed, _SHARE)
        code = F.when(F.col("part") == "test", TEST).when(F.col("part") == "valid", VALID).otherwise(TRAIN)
        table = parted.withColumn(column, code.cast("byte")).drop("part")
    arrow = table.select("user_id", "item_id", "rating", "second", *columns).sort("user_id", "item_id").toArrow()
    found = {name: arrow.column(name).to_numpy() for name in arrow.column_names}
    user, item = (np.unique(found[name], return_inverse=True)[1].astype(np.int32) for name in ("user_id", "item_id"))
    ratings = Part(user, item, found["rating"].astype(np.float32), found["second"].astype(np.int64))
    part_FN = np.stack([found[column] for column in columns]).astype(np.uint8)
    return Folds(ratings, part_FN, _name(ratings, part_FN[0]))


def _name(ratings: Part, first_fold: NDArray[np.uint8]) -> str:
    """Name the folds by their ratings and split, not by their number: more folds go on from fewer."""
    digest = hashlib.sha1(usedforsecurity=False)
    for array in (ratings.user, ratings.item, ratings.rating, ratings.second, first_fold):
        digest.update(array.tobytes())
    return f"{len(first_fold)}-{digest.hexdigest()[:8]}"


def as_frame(part: Part) -> DataFrame:
    """Return a part as the `ratings` relation, with the row's number."""
    columns = {
        "user_id": part.user.astype(np.int64),
        "item_id": part.item.astype(np.int64),
        "rating": part.rating,
        "second": part.second,
        "row": np.arange(len(part.user)),
    }
    frame = local_spark().createDataFrame(pa.table(columns))
    rated_at = F.when(F.col("second") >= 0, F.timestamp_seconds("second"))
    return frame.withColumn("rated_at", rated_at).drop("second")


def as_array(frame: DataFrame, train_on: Part) -> NDArray[np.float32]:
    """Return the column `prediction` in the order of `row`, clipped, the training mean where there is none."""
    found = frame.select("row", F.col("prediction").cast("double").alias("prediction")).sort("row").toArrow()
    guess = found.column("prediction").to_numpy()
    guess = np.where(np.isnan(guess), train_on.rating.mean(dtype=np.float64), guess)
    return np.clip(guess, train_on.rating.min(), train_on.rating.max()).astype(np.float32)
