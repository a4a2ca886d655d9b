"""Enlarge many pictures four times on all cores of a cluster: a folder or a table of them into the table `upscaled`.

The pixels are those of `python -m sr_model.upscale`. Pictures that are in the table already, unchanged and by the same
model, are kept; broken ones are listed in `upscaled_rejected`. The same command goes on where a killed one was.
The guide is docs/upscaling.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_table import TableRef
from lakerank.lake.picture_results import Recipe, Results, update_results
from lakerank.lake.pictures import open_pictures, write_rejected
from lakerank.lake.publications import Publications, publishing
from lakerank.lake.schemas import UPSCALED, UPSCALED_REJECTED
from lakerank.spark.job import run_job
from lakerank.spark.session import cores
from sr_model.inference import InferenceSettings
from sr_model.inference.pictures import FORMATS
from sr_model.patching.sources import is_bookkeeping, is_picture


@dataclass(frozen=True)
class UpscaleImagesArgs(InferenceSettings, JobArgs):
    """Settings of the job."""

    images: str = flag("", "folder of pictures, or a table (Delta, Parquet) with path and content", metavar="PATH")
    out: str = flag("", "table to write (default: LAKE/upscaled)", metavar="TABLE")
    format: str = flag("png", "of the results", choices=tuple(FORMATS))


def make_recipe(args: UpscaleImagesArgs) -> Recipe:
    """Read and check the model on this machine; return how the workers make rows by it."""
    try:
        from sr_model.inference import serialization  # PyTorch is optional: only this job and its workers need it
    except ImportError as error:
        raise UserError(f"this job and its workers need PyTorch ({error}): pip install 'lakerank[sr]'") from error
    made = serialization.serialize(args.checkpoint, args.tile, args.format, args.quality, args.self_ensemble)
    constants = {"format": made.kind, "model": made.model, "recipe": made.key}
    return Recipe(serialization.row_function(made), serialization.ROW, constants, "lakerank[sr]")


def summarize(args: UpscaleImagesArgs, results: Results, model: str, seconds: float, workers: int) -> dict[str, Any]:
    """Print what was done; return the fields of `--json`."""
    megapixels = sum(row["width"] * row["height"] for row in results.made) / 1e6
    core_seconds = sum(row["seconds"] for row in results.made)
    speed = megapixels / core_seconds if core_seconds else 0.0
    print(
        f"upscale_images: {len(results.made)} pictures, {megapixels:.2f} megapixels by {model} in {seconds:.1f} s "
        f"on {workers} cores, {speed:.2f} megapixels/s a core; {len(results.rejected)} rejected"
    )
    return {
        "pictures": len(results.made),
        "resumed": results.resumed,
        "skipped": len(results.kept),
        "rejected": len(results.rejected),
        "megapixels": round(megapixels, 4),
        "megapixels_per_core_second": round(speed, 4),
        "core_seconds": round(core_seconds, 3),
        "seconds": round(seconds, 3),
        "model": model,
        "tile": args.tile,
    }


def run(spark: SparkSession, args: UpscaleImagesArgs) -> dict[str, Any]:
    """Enlarge what is not enlarged yet; return the summary."""
    started = time.monotonic()
    if not args.images:
        raise UserError("--images: give a folder of pictures, or a table of them")
    recipe = make_recipe(args)
    pictures = open_pictures(spark, args.images, "--images", lambda name: is_picture(name) and not is_bookkeeping(name))
    earlier = Publications.read(args.lake, lambda: spark).result(UPSCALED, args.out)
    ref = earlier or TableRef.find(args.out, UPSCALED, args.lake)

    def announce(todo: int, kept: int, resumed: int) -> None:
        print(f"upscale_images: {todo} pictures to enlarge, {kept - resumed} are in {ref.location} already", flush=True)
        if resumed:
            print(f"upscale_images: {resumed} more were made by a run that did not end, and are taken from it")
        if pictures.others:
            print(f"upscale_images: {pictures.others} files in {args.images} are no pictures and are left out")

    with publishing(lambda: spark, args.lake, UPSCALED.name) as tables:
        results = update_results(spark, pictures, tables, ref, UPSCALED, recipe, announce)
        write_rejected(spark, tables, UPSCALED_REJECTED, args.lake, results.rejected)
    results.finish()
    if not results.made and not results.kept:
        path, reason = results.rejected[0]
        raise UserError(
            f"--images {args.images}: none of {len(results.rejected)} pictures could be enlarged, e.g. {path}: {reason}"
        )
    summary = summarize(args, results, recipe.constants["model"], time.monotonic() - started, cores(spark))
    print(f"upscale_images: the table is {ref.location}")
    return summary | {"out": ref.location}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, UpscaleImagesArgs, "upscale_images", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
