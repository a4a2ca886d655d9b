"""The search page and recommendations: a small web server over the lake, for a browser on the same machine.

Reads `index_documents`, `index_postings`, `pages` and, if it is there, `links`; of a recommender its tables, `ratings`
and `items`. A lake in a folder needs no Spark session. A new version of the index or the model takes the place of the
old one while the server runs. The guide is docs/serve.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.settings import NOT_NEGATIVE, JobArgs, Range, flag
from lakerank.spark.on_demand import spark_on_demand
from lakerank.webapp.server import serve
from lakerank.webapp.store import NO_LINKS


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the command."""

    host: str = flag("127.0.0.1", "address to listen on; 0.0.0.0 for all networks (there is no password)")
    port: int = flag(8080, "port; 0: any that is free", within=Range(0, 65535))
    allowed_hosts: str = flag("", "further host names by which browsers may call this server, separated by commas")
    links: str = flag("", f"table of links (default: the lake's, if it is there); {NO_LINKS}: show pages without")
    refresh: float = flag(10.0, "seconds between looks for new versions; 0: never", within=NOT_NEGATIVE)
    model: str = flag("", "recommender: lfm, linear, neighbors or none (default: lfm, if the lake has it)")
    rules: str = flag("", "table or file of rules for recommendations, as `recommend --rules` takes it")
    cache_dir: str = flag("", "folder for the decoded index and arrays (default: in the lake)")


def run(args: Args) -> Mapping[str, Any]:
    """Serve until Ctrl-C or SIGTERM."""
    allowed = [name.strip() for name in args.allowed_hosts.split(",") if name.strip()]
    with spark_on_demand("lakerank-serve", args.master, args.remote) as get_spark:
        where = (args.lake, args.host, args.port, allowed, args.links, args.refresh, args.cache_dir)
        return serve(*where, get_spark, args.model, args.rules)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, Args, "serve", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
