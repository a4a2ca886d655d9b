"""The ratings of the speed benchmark, prepared once: a Delta table with the split, and arrays for LIBMF."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import RATINGS
from lakerank.recommend.data.splits import Split, split_ratings
from spark_jobs import ingest_ratings

SPLIT, SEED = "random:0.1", 0
# Every fifth user, with all their ratings: settings are chosen on them.
SAMPLE = 5


@dataclass(frozen=True)
class Ready:
    """Where the prepared ratings are.

    Attributes:
        parts, sample: Delta tables, `ratings` with `part` (train or test); all of it, and some users'.
        arrays: folder with train.npz and test.npz, as `lfm_peers.py` wants them.
        counts: ratings by part; users and items of train; `left_out` test ratings of users and items not in train.
        oracle: RMSE of the synthetic model, where the ratings are generated.
    """

    parts: Path
    sample: Path
    arrays: Path
    counts: dict[str, int]
    oracle: float | None

    def __str__(self) -> str:
        n = self.counts
        return (
            f"{n['train']:,} training and {n['test']:,} test ratings of {n['items']:,} items by {n['users']:,} users "
            f"({n['left_out']:,} test ratings left out: user or item not in training)"
        )


def prepare(spark: SparkSession, ratings: str, work: Path) -> Ready:
    """Ingest (a folder or file that is no Delta table), split and export; what is there already is used again.

    Args:
        spark: the session.
        ratings: a `ratings` Delta table, or anything `ingest_ratings --source` takes.
        work: folder for what is prepared.
    """
    source = Path(ratings)
    oracle_file = source / "truth.json"
    if not TableRef(ratings).exists(spark):
        files = sorted(f for f in (source.rglob("*") if source.is_dir() else [source]) if f.is_file())
        lake = work / _key([[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files], source.stem)
        if not (lake / "ingested.json").exists():
            summary = ingest_ratings.run(spark, ingest_ratings.Args(source=ratings, lake=str(lake)))
            (lake / "ingested.json").write_text(json.dumps(summary), encoding="utf-8")
        ratings = str(lake / "ratings")
    table = TableRef(ratings)
    folder = work / _key([table.path, table.version(spark), SPLIT, SEED], "split")
    facts = folder / "counts.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        counts = _split(spark, table.read(spark, RATINGS), folder) | _export(spark, folder)
        facts.write_text(json.dumps(counts), encoding="utf-8")
    oracle = json.loads(oracle_file.read_text(encoding="utf-8"))["oracle_rmse"] if oracle_file.exists() else None
    return Ready(
        folder / "parts", folder / "sample", folder / "arrays", json.loads(facts.read_text(encoding="utf-8")), oracle
    )


def read(spark: SparkSession, table: Path) -> DataFrame:
    """Read a Delta table."""
    return spark.read.format("delta").load(str(table))


def _key(facts: object, name: str) -> str:
    return f"{name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]}"


def _split(spark: SparkSession, ratings: DataFrame, folder: Path) -> dict[str, int]:
    """Write `parts` and `sample`. Test ratings that ALS could not predict are left out, for everyone."""
    if {kind for name, kind in ratings.dtypes if name.endswith("_id")} != {"bigint"}:
        raise SystemExit("--ratings: ids must be whole numbers, MLlib's ALS takes no others")
    split = split_ratings(ratings, ratings.select("item_id").distinct(), Split.parse(SPLIT), SEED)
    columns = [*(column.name for column in RATINGS.columns), "part"]
    every = split.select(*columns)
    some = every.where(F.pmod(F.xxhash64("user_id"), F.lit(SAMPLE)) == 0)
    for name, frame in {"parts": every, "sample": some}.items():
        train, test = (frame.where(F.col("part") == part) for part in ("train", "test"))
        for column in ("user_id", "item_id"):
            test = test.join(train.select(column).distinct(), column, "left_semi")
        whole = train.select(*columns).unionByName(test.select(*columns))
        whole.write.format("delta").mode("overwrite").partitionBy("part").save(str(folder / name))
    counted = read(spark, folder / "parts").groupBy("part").agg(F.count("*").alias("n")).collect()
    n = {row["part"]: row["n"] for row in counted}
    return n | {"left_out": every.count() - sum(n.values())}


def _export(spark: SparkSession, folder: Path) -> dict[str, int]:
    """Write train.npz and test.npz: dense int32 indexes in the order of the ids, float32 ratings."""
    (folder / "arrays").mkdir()
    ids: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        frame = read(spark, folder / "parts").where(F.col("part") == part)
        table: pa.Table = frame.select("user_id", "item_id", "rating").toArrow()
        arrays = {}
        for name, column in (("u", "user_id"), ("i", "item_id")):
            values = table[column].to_numpy()
            ids.setdefault(name, np.unique(values))  # those of train, which comes first
            arrays[name] = np.searchsorted(ids[name], values).astype(np.int32)
        np.savez(folder / "arrays" / f"{part}.npz", **arrays, r=table["rating"].to_numpy().astype(np.float32))
    return {"users": len(ids["u"]), "items": len(ids["i"])}
