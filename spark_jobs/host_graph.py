"""The web of hosts: links between pages added up to links between the hosts they stand on.

Reads the links table and writes `host_links`; rank the hosts with `pagerank.py --links LAKE/host_links --weights`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.graph.build_graph import host_links
from lakerank.lake.delta_table import TableRef, TableSink
from lakerank.lake.publications import Publications
from lakerank.lake.schemas import HOST_LINKS, LINKS
from lakerank.spark.job import run_job


@dataclass(frozen=True)
class HostGraphArgs(JobArgs):
    """Settings of the job."""

    links: str = flag("", "table with src_url and dst_url (default: the lake's links)")
    out: str = flag("", "where to write the hosts' links (default: the lake's host_links table)")
    keep_own: bool = flag(False, "links of a host to itself count, too")


def run(spark: SparkSession, args: HostGraphArgs) -> Mapping[str, Any]:
    """Add up links; returns the summary."""
    started = time.monotonic()
    links = Publications.read(args.lake, lambda: spark).table(LINKS, args.links)
    if not links.exists(spark):
        raise UserError(
            f"no Delta table `{LINKS.name}` at {links.location}: run {LINKS.producer} first, or give --links"
        )
    out = TableRef.find(args.out, HOST_LINKS, args.lake)
    TableSink(out, HOST_LINKS).write(host_links(links.frame(spark), args.keep_own))
    made = out.read(spark, HOST_LINKS)
    count = made.count()
    hosts = made.select("src").union(made.select("dst")).distinct().count()
    print(f"host_graph: {hosts} hosts, {count} links between them in {out.location}")
    return {"hosts": hosts, "links": count, "seconds": round(time.monotonic() - started, 3)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_job(run, HostGraphArgs, "host_graph", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
