"""Cut pictures into a data set of training patches without Spark, with a pool of processes.

`python -m sr_model.build_patches --source path/to/images --out patches` writes what `spark_jobs/make_patches.py`
writes, to the byte, for machines that have no Spark.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import AT_LEAST_ONE, flag
from lakerank.cli.stores import is_in_object_store
from sr_model.patching.dataset import PatchSettings, build_dataset, report_build
from sr_model.patching.parts import Build, BuildPlan, PartResult, make_part, plan_files


@dataclass(frozen=True)
class BuildArgs(PatchSettings):
    """Settings of the command."""

    source: str = flag(
        "", "folders, tars, zips, pictures or Parquet (Petastorm's too), separated by commas", metavar="PATH[,PATH]"
    )
    out: str = flag("build/patches", "folder of the data set; train/ and valid/ are made in it", metavar="DIR")
    workers: int = flag(2, "processes", within=AT_LEAST_ONE)


def make_in_processes(out: Path, plan: BuildPlan, build: Build, workers: int) -> int:
    """Make the parts with a pool of processes; return how many they are.

    Raises:
        UserError: a file cannot be written; some pictures' names and the reasons why they were rejected are printed.
    """
    rejected: list[tuple[str, str]] = []
    with ProcessPoolExecutor(workers) as pool:
        running: list[Future[PartResult]] = [
            pool.submit(make_part, out, number, part, build) for number, part in enumerate(plan.parts)
        ]
        try:
            for future in as_completed(running):
                future.result()
        except OSError as error:
            pool.shutdown(cancel_futures=True)
            raise UserError(f"--out {out}: cannot be written ({error.strerror or error})") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or the other parts would be made before anyone hears of it
            raise
        rejected = [pair for future in running for pair in future.result().rejected]
    for name, reason in rejected:
        print(f"build_patches: {name}: {reason}", file=sys.stderr)
    return plan.count


def run(args: BuildArgs) -> Mapping[str, Any]:
    """Make the patches that are not made yet; return the summary."""
    started = time.perf_counter()
    if not args.source:
        raise UserError("--source: give a folder, a tar, a zip or a picture")
    if is_in_object_store(args.out):
        raise UserError(
            f"--out {args.out}: this command writes local files; spark_jobs/make_patches.py writes to a store"
        )
    build, out = args.build(), Path(args.out)
    plan = plan_files(args.source, args.limit, build, args.image_column, args.where)
    results = build_dataset(
        "build_patches",
        out,
        build,
        plan,
        lambda folder: make_in_processes(folder, plan, build, args.workers),
        args.overwrite,
    )
    counts = report_build("build_patches", out, build, plan, results)
    return {**counts, "seconds": round(time.perf_counter() - started, 3)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, BuildArgs, "build_patches", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
