"""Pictures to training patches: PNG, JPEG, WebP or TIFF cut into a Petastorm data set for super-resolution.

Reads folders, tars, zips, a table of pictures (`path`, `content`, as Spark's binaryFile gives them) or DIV2K, and
writes the data sets OUT/train and OUT/valid, and `patches_rejected` where pictures were broken.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.download import DIV2K, DIV2K_MIRROR, fetch, verify
from lakerank.cli.errors import UserError
from lakerank.cli.progress import progress
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.pictures import picture_table, write_rejected
from lakerank.lake.schemas import PATCHES_REJECTED
from lakerank.spark.array_store import BlockStore
from lakerank.spark.job import run_job
from sr_model.build_patches import outcome
from sr_model.images import BrokenImage
from sr_model.patching.dataset import (
    Build,
    PatchSettings,
    begin,
    chunks,
    done_parts,
    finish_build,
    make_part,
    make_part_of,
    notes,
)
from sr_model.patching.sources import Item, list_items

_PART_BYTES = 32 << 20  # of a table's pictures in one part
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class MakePatchesArgs(PatchSettings, JobArgs):
    """Settings of the job."""

    source: str = flag("", "folders, tars, zips or pictures, separated by commas; or a table with path and content")
    dataset: str = flag("", "download this data set (or check its zips in --source)", choices=("", "div2k"))
    mirror: str = flag(DIV2K_MIRROR, "address of the folder that has the data set's zips")
    out: str = flag("", "folder of the data set; train/ and valid/ are made in it (default: LAKE/patches)")


@contextmanager
def watched(out: Path, parts: int) -> Iterator[None]:
    """A progress meter that counts the parts as they are done, whoever makes them."""
    over = threading.Event()

    def look() -> None:
        with progress(parts, "cut", "part") as meter:
            while not over.wait(_LOOK_SECONDS):
                meter.update(done_parts(out) - meter.n)
            meter.update(done_parts(out) - meter.n)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def cut_files(spark: SparkSession, out: str, parts: Sequence[Sequence[Item]], build: Build) -> None:
    """Cut the parts in the workers: what travels is a list of names, the pictures are read where they are cut."""
    rows = [(number, json.dumps([asdict(item) for item in part])) for number, part in enumerate(parts)]
    tasks = spark.createDataFrame(rows, "number int, items string").repartition(len(rows))

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.to_pylist():
                make_part(Path(out), task["number"], [Item(**item) for item in json.loads(task["items"])], build)
                yield pa.RecordBatch.from_pydict({"number": pa.array([task["number"]], pa.int32())})

    tasks.mapInArrow(work, "number int").collect()


def cut_table(pictures: DataFrame, out: str, parts: int, build: Build) -> int:
    """Cut the pictures of a table, by the hash of their path into parts; returns how many parts have pictures."""

    def work(table: pa.Table) -> pa.Table:
        number = table.column("number")[0].as_py()
        pairs = zip(table.column("path").to_pylist(), table.column("content").to_pylist(), strict=True)
        rows = sorted((path, content or b"") for path, content in pairs)
        pictures = [(path, "", content or BrokenImage("no content")) for path, content in rows]
        make_part_of(Path(out), number, pictures, build)
        return pa.table({"number": pa.array([number], pa.int32())})

    number = F.pmod(F.xxhash64("path"), F.lit(parts)).cast("int")
    chosen = pictures.select(number.alias("number"), "path", "content")
    return len(chosen.groupBy("number").applyInArrow(work, "number int").collect())


def div2k(args: MakePatchesArgs) -> str:
    """Where DIV2K's HR pictures are: the user's copy, its zips checked, or what is downloaded."""
    folder = Path(args.source or f"{args.lake}/_downloads")
    zips = [folder / f"{name}.zip" for name in DIV2K]
    if args.source and not any(path.is_file() for path in zips):
        for path in map(Path, args.source.split(",")):
            if path.is_file() and path.stem in DIV2K:
                print(f"make_patches: {path}: {verify(path, path.stem)}", flush=True)
        return args.source  # the zips themselves, or unpacked
    for path in zips:
        if args.source and path.is_file():
            print(f"make_patches: {path}: {verify(path, path.stem)}", flush=True)
        else:
            fetch(path.stem, folder, args.mirror)
    return ",".join(map(str, zips))


def run(spark: SparkSession, args: MakePatchesArgs) -> Mapping[str, Any]:
    """Cut what is not cut yet; returns the summary."""
    started = time.monotonic()
    build = args.build()
    out = Path(BlockStore.open(args.out or f"{args.lake}/patches", "--out").root)
    source = div2k(args) if args.dataset else args.source
    if not source:
        raise UserError("--source: give a folder, a tar, a zip, a picture or a table, or --dataset div2k")
    table, others = None if "," in source else picture_table(spark, source, "--source"), 0
    if table is not None:
        table = table.orderBy("path").limit(args.limit) if args.limit else table
        size = F.coalesce(F.octet_length("content"), F.lit(0)).alias("size")
        sizes = sorted((row["path"], row["size"]) for row in table.select("path", size).collect())
        if not sizes:
            raise UserError(f"--source {source}: the table has no rows")
        count = max(1, math.ceil(sum(size for _, size in sizes) / _PART_BYTES))
        fingerprint = build.fingerprint(sizes, "table")
    else:
        listing = list_items(source)
        items, others = listing.items[: args.limit or None], listing.others
        parts = chunks(items)
        count = len(parts)
        fingerprint = build.fingerprint([(item.name, item.size) for item in items])

    if begin(out, fingerprint, args.overwrite):
        print(f"make_patches: {out} holds these patches already")
    else:
        with watched(out, count):
            if table is not None:
                count = cut_table(table, str(out), count, build)
            else:
                cut_files(spark, str(out), parts, build)
        finish_build(out, count, build, fingerprint)
    write_rejected(spark, PATCHES_REJECTED, args.lake, [pair for one in notes(out) for pair in one.rejected])
    return {
        **outcome("make_patches", out, build, others),
        "out": str(out),
        "seconds": round(time.monotonic() - started, 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_job(run, MakePatchesArgs, "make_patches", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
