"""Pictures to training patches: PNG, JPEG, WebP or TIFF cut into a Petastorm data set for super-resolution.

Reads folders, tars, zips, a table of pictures (`path`, `content`, as Spark's binaryFile gives them) or DIV2K, and
writes the data sets OUT/train and OUT/valid, and `patches_rejected` where pictures were broken.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.download import DIV2K_MIRROR
from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.cli.stores import has_scheme, is_in_object_store
from lakerank.lake.delta_table import is_catalog_name
from lakerank.lake.pictures import picture_table, write_rejected
from lakerank.lake.publications import publishing
from lakerank.lake.schemas import PATCHES_REJECTED
from lakerank.spark.array_store import BlockStore
from lakerank.spark.job import run_job
from sr_model.patching import parts as patches
from sr_model.patching.dataset import PatchSettings, build_dataset, build_in_store, report_build
from sr_model.patching.sources import div2k_sources


@dataclass(frozen=True)
class MakePatchesArgs(PatchSettings, JobArgs):
    """Settings of the job."""

    source: str = flag(
        "", "folders, tars, zips, pictures or Parquet, separated by commas; or a table with path and content"
    )
    dataset: str = flag("", "download this data set (or check its zips in --source)", choices=("", "div2k"))
    mirror: str = flag(DIV2K_MIRROR, "address of the folder that has the data set's zips")
    out: str = flag("", "folder of the data set; train/ and valid/ are made in it (default: LAKE/patches)")


def picture_sizes(table: DataFrame, source: str) -> list[tuple[str, int]]:
    """Return path and bytes of each picture of a table."""
    size = F.coalesce(F.octet_length("content"), F.lit(0)).alias("size")
    sizes = sorted((row["path"], row["size"]) for row in table.select("path", size).collect())
    if not sizes:
        raise UserError(f"--source {source}: the table has no rows")
    return sizes


def make_from_files(spark: SparkSession, out: Path | str, plan: patches.BuildPlan, build: patches.Build) -> int:
    """Make the parts in the workers, which read the pictures; return how many parts there must be."""
    tasks = spark.createDataFrame(patches.parts_table(plan)).repartition(plan.count)
    work = patches.make_parts(out, build) if isinstance(out, Path) else patches.make_parts_in_store(out, build)
    tasks.mapInArrow(work, "number int").collect()
    return plan.count


def make_from_table(table: DataFrame, out: Path | str, plan: patches.BuildPlan, build: patches.Build) -> int:
    """Make the parts of a table's pictures, by the hash of their path; return how many have pictures."""
    number = F.pmod(F.xxhash64("path"), F.lit(plan.count)).cast("int").alias("number")
    rows = table.select(number, "path", "content")
    work = (
        patches.make_table_part(out, build) if isinstance(out, Path) else patches.make_table_part_in_store(out, build)
    )
    return len(rows.groupBy("number").applyInArrow(work, "number int").collect())


def run(spark: SparkSession, args: MakePatchesArgs) -> Mapping[str, Any]:
    """Make the patches that are not made yet; return the summary."""
    started, build, source = time.monotonic(), args.build(), args.source
    if not args.out and is_catalog_name(args.lake):
        raise UserError(f"--lake {args.lake} has no place for files: give --out, a folder or a place in a store")
    root = BlockStore.open(args.out or f"{args.lake}/patches", "--out").root
    out = root if is_in_object_store(root) else Path(root)
    if args.dataset:
        remote = has_scheme(args.lake)
        downloads = Path(tempfile.gettempdir(), "lakerank-downloads") if remote else Path(args.lake, "_downloads")
        source = div2k_sources("make_patches", source, downloads, args.mirror)
    if not source:
        raise UserError("--source: give a folder, a tar, a zip, a picture or a table, or --dataset div2k")
    of_files = "," in source or args.image_column or args.where
    table = None if of_files else picture_table(spark, source, "--source")
    if table is None:
        plan = patches.plan_files(source, args.limit, build, args.image_column, args.where)
    else:
        table = table.orderBy("path").limit(args.limit) if args.limit else table
        plan = patches.plan_table(picture_sizes(table, source), build)

    def make(folder: Path | str) -> int:
        if table is None:
            return make_from_files(spark, folder, plan, build)
        return make_from_table(table, folder, plan, build)

    if isinstance(out, Path):
        results = build_dataset("make_patches", out, build, plan, make, args.overwrite)
    else:
        results = build_in_store("make_patches", out, build, plan, make, args.overwrite)
    with publishing(lambda: spark, args.lake, "patches") as tables:
        write_rejected(spark, tables, PATCHES_REJECTED, args.lake, [pair for one in results for pair in one.rejected])
    counts = report_build("make_patches", out, build, plan, results)
    return {**counts, "out": str(out), "seconds": round(time.monotonic() - started, 3)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, MakePatchesArgs, "make_patches", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
