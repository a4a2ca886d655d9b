"""Enlarge many pictures four times on all cores of a cluster: a folder or a table of them into the table `upscaled`.

The pixels are those of `python -m sr_model.upscale`. Pictures that are in the table already, unchanged and by the same
model, are kept; broken ones are listed in `upscaled_rejected`. The guide is docs/upscaling.md.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.binary_files import SourceFile
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.pictures import contents, in_parts, open_pictures, write_rejected
from lakerank.lake.schemas import UPSCALED, UPSCALED_REJECTED
from lakerank.spark.checkpoint import cut
from lakerank.spark.job import run_job
from lakerank.spark.session import cores
from sr_model.images import BrokenImage
from sr_model.inference import InferenceSettings
from sr_model.inference.pictures import FORMATS
from sr_model.patching.sources import is_bookkeeping, is_picture

if TYPE_CHECKING:
    from sr_model.inference.serialization import Recipe  # brings PyTorch, which only this job and its workers need

# A part's results wait in the JVM until their file is written; a photograph's has up to a hundred times its bytes.
_PART_BYTES = 2 << 20
_MOST_PARTS = 10_000  # more cost the scheduler too much
_PARTS_PER_CORE = 4  # so that a slow part does not leave the other cores idle for long

_HASHES = "path string, content_hash string"
_OUTCOME = (
    "path string, width int, height int, content binary, notes array<string>, seconds double, content_hash string, "
    "reason string"
)
_OUTCOME_ARROW = pa.schema(
    {
        "path": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "content": pa.binary(),
        "notes": pa.list_(pa.string()),
        "seconds": pa.float64(),
        "content_hash": pa.string(),
        "reason": pa.string(),
    }
)

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class UpscaleImagesArgs(InferenceSettings, JobArgs):
    """Settings of the job."""

    images: str = flag("", "folder of pictures, or a table (Delta, Parquet) with path and content", metavar="PATH")
    out: str = flag("", "table to write (default: LAKE/upscaled)", metavar="TABLE")
    format: str = flag("png", "of the results", choices=tuple(FORMATS))
    scratch: str = flag("", "folder for intermediate results where Spark's local checkpoints are refused")


def enlarging(recipe: Recipe) -> Callable[[Batches], Batches]:
    """The work of one task: picture after picture, so that memory does not grow with their number."""

    def work(batches: Batches) -> Batches:
        import torch

        from sr_model.inference.serialization import enlarge

        torch.set_num_threads(1)  # there is a task for each core already
        for path, content in (picture for batch in batches for picture in contents(batch)):
            row: dict[str, Any] = {"path": path}
            try:
                if isinstance(content, str):
                    raise BrokenImage(content)
                row |= vars(enlarge(recipe, content)) | {"content_hash": hashlib.sha256(content).hexdigest()}
            except BrokenImage as error:
                row["reason"] = str(error)
            yield pa.RecordBatch.from_pylist([row], schema=_OUTCOME_ARROW)

    return work


def hashing(batches: Batches) -> Batches:
    """What the pictures are now."""
    for path, content in (picture for batch in batches for picture in contents(batch)):
        found = None if isinstance(content, str) else hashlib.sha256(content).hexdigest()
        yield pa.RecordBatch.from_pydict({"path": [path], "content_hash": pa.array([found], pa.string())})


def unchanged(parts: DataFrame, hashes: Mapping[str, str]) -> set[str]:
    """Those of the pictures that have the hash noted for them."""
    found = parts.mapInArrow(hashing, _HASHES).collect()
    return {row["path"] for row in found if row["content_hash"] == hashes[row["path"]]}


@dataclass(frozen=True)
class Outcome:
    """What became of the pictures that were to be enlarged.

    Attributes:
        made: rows of `upscaled`.
        paths: theirs.
        pixels, seconds: in all of them, and the processor time that they took.
        rejected: path and reason of the others.
    """

    made: DataFrame
    paths: frozenset[str] = frozenset()
    pixels: int = 0
    seconds: float = 0.0
    rejected: tuple[tuple[str, str], ...] = ()


def enlarged(parts: DataFrame, recipe: Recipe, scratch: str) -> Outcome:
    """Enlarge all pictures, here and once: nothing is written before their outcome is known to the last.

    Raises:
        UserError: workers lack PyTorch or another package; see `cut`.
    """
    try:
        outcome = cut(parts.mapInArrow(enlarging(recipe), _OUTCOME), scratch)
    except Exception as error:
        if missing := re.search(r"No module named '[\w.]+'", str(error)):
            raise UserError(f"workers lack a package ({missing[0]}): pip install 'lakerank[sr]' on each") from error
        raise
    rows = outcome.select("path", "width", "height", "seconds", "reason").collect()
    good = [row for row in rows if row["reason"] is None]
    named = {"format": recipe.kind, "model": recipe.model, "recipe": recipe.key}
    return Outcome(
        outcome.where(F.col("reason").isNull()).withColumns({name: F.lit(value) for name, value in named.items()}),
        frozenset(row["path"] for row in good),
        sum(row["width"] * row["height"] for row in good),
        sum(row["seconds"] for row in good),
        tuple(sorted((row["path"], row["reason"]) for row in rows if row["reason"] is not None)),
    )


def store(spark: SparkSession, ref: TableRef, new: DataFrame, kept: Collection[str], gone: Collection[str]) -> None:
    """Put the new rows beside those that are kept, and take out those that are gone, in one commit."""
    new, sink = new.select(*UPSCALED.schema().names), TableSink(ref, UPSCALED)
    if not kept:
        sink.write(new)
        return
    names = spark.createDataFrame(pa.table({"path": pa.array(sorted(gone), pa.string())}))
    old = ref.read(spark, UPSCALED).join(F.broadcast(names), "path", "left_semi").select(*new.columns)
    sink.merge(new.withColumn("removed", F.lit(False)).unionByName(old.withColumn("removed", F.lit(True))), "removed")


def run(spark: SparkSession, args: UpscaleImagesArgs) -> dict[str, Any]:
    """Enlarge what is not enlarged yet; returns the summary."""
    started = time.monotonic()
    if not args.images:
        raise UserError("--images: give a folder of pictures, or a table of them")
    recipe = recipe_of(args)
    pictures = open_pictures(spark, args.images, "--images", lambda name: is_picture(name) and not is_bookkeeping(name))
    ref, workers = TableRef.find(args.out, UPSCALED, args.lake), cores(spark)

    def parts(chosen: Sequence[SourceFile]) -> DataFrame:
        number = min(_MOST_PARTS, sum(file.size for file in chosen) // _PART_BYTES)
        return in_parts(spark, pictures, chosen, max(_PARTS_PER_CORE * workers, number))

    earlier = ref.read(spark, UPSCALED).select("path", "recipe", "content_hash").collect() if ref.exists(spark) else []
    hashes = {row["path"]: row["content_hash"] for row in earlier if row["recipe"] == recipe.key}
    asked = [file for file in pictures.listed if file.relative in hashes]
    kept = unchanged(parts(asked), hashes) if asked else set()
    todo = [file for file in pictures.listed if file.relative not in kept]
    print(f"upscale_images: {len(todo)} pictures to enlarge, {len(kept)} are in {ref.location} already", flush=True)
    if pictures.others:
        print(f"upscale_images: {pictures.others} files in {args.images} are no pictures and are left out")
    nothing = Outcome(spark.createDataFrame([], UPSCALED.schema()))
    done = enlarged(parts(todo), recipe, args.scratch) if todo else nothing
    write_rejected(spark, UPSCALED_REJECTED, args.lake, done.rejected)
    if not done.paths and not kept:
        path, reason = done.rejected[0]
        raise UserError(
            f"--images {args.images}: none of {len(todo)} pictures could be enlarged, e.g. {path}: {reason}"
        )
    gone = {row["path"] for row in earlier} - kept - done.paths
    if done.paths or gone:
        store(spark, ref, done.made, kept, gone)
    told = summary(done, recipe, len(kept), time.monotonic() - started, workers)
    print(f"upscale_images: the table is {ref.location}")
    return told | {"out": ref.location}


def summary(done: Outcome, recipe: Recipe, kept: int, seconds: float, workers: int) -> dict[str, Any]:
    """Print what was done; the fields of `--json`."""
    megapixels = done.pixels / 1e6
    rate = megapixels / done.seconds if done.seconds else 0.0
    print(
        f"upscale_images: {len(done.paths)} pictures, {megapixels:.2f} megapixels by {recipe.model} in {seconds:.1f} s "
        f"on {workers} cores, {rate:.2f} megapixels/s a core; {len(done.rejected)} rejected"
    )
    return {
        "pictures": len(done.paths),
        "skipped": kept,
        "rejected": len(done.rejected),
        "megapixels": round(megapixels, 4),
        "megapixels_per_core_second": round(rate, 4),
        "core_seconds": round(done.seconds, 3),
        "seconds": round(seconds, 3),
        "model": recipe.model,
        "tile": recipe.tile,
    }


def recipe_of(args: UpscaleImagesArgs) -> Recipe:
    """The model, read and checked on this machine."""
    try:
        from sr_model.inference.serialization import pack
    except ImportError as error:
        raise UserError(f"this job and its workers need PyTorch ({error}): pip install 'lakerank[sr]'") from error
    return pack(args.checkpoint, args.tile, args.format, args.quality, args.self_ensemble)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_job(run, UpscaleImagesArgs, "upscale_images", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
