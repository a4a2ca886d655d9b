"""The frame of every Spark job's `main` around its own work: a command with a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pyspark.sql import SparkSession

from lakerank.cli.command import Summary, run_command
from lakerank.cli.settings import JobArgs
from lakerank.spark.session import session

A = TypeVar("A", bound=JobArgs)


def run_job(
    run: Callable[[SparkSession, A], Summary],
    args_class: type[A],
    name: str,
    doc: str | None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run `run_command` with a Spark session, which a running one lends or which ends with the job.

    Args:
        run: the job's own work; returns the fields of the `--json` summary.
        args_class: the job's settings, with their defaults.
        name: the job's name, e.g. `pagerank`.
        doc: the job's module docstring; its first paragraph becomes the help text.
        argv: command line without the program's name; None reads `sys.argv`.
    """

    def in_session(args: A) -> Summary:
        with session(f"lakerank-{name}", args.master, args.remote) as spark:
            return run(spark, args)

    return run_command(in_session, args_class, name, doc, argv)
