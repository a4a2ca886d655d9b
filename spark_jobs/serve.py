"""The search page: a small web server over the lake's index, for a browser on the same machine.

Reads `index_documents`, `index_postings`, `pages` and, if it is there, `links`; needs no Spark for a lake in a folder.
A new version of the index takes the place of the old one while the server runs. The guide is docs/serve.md.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.lake.delta_arrow import ArrowTable, GetSpark
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import INDEX_DOCUMENTS, LINKS
from lakerank.search.query.engine import SearchEngine
from lakerank.spark.session import session
from lakerank.webapp.app import create_app
from lakerank.webapp.links import COLUMNS, Links, gather_links
from lakerank.webapp.server import address_of, answer, bind
from lakerank.webapp.site import Site
from spark_jobs.search import open_engine

NO_LINKS = "none"


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the command."""

    host: str = flag("127.0.0.1", "address to listen on; 0.0.0.0 for all networks (there is no password)")
    port: int = flag(8080, "port; 0: any that is free", check=lambda v: 0 <= v <= 65535, must="be 0 to 65535")
    names: str = flag("", "further names by which browsers may call this server, separated by commas")
    links: str = flag("", f"table of links (default: the lake's, if it is there); {NO_LINKS}: show pages without")
    refresh: float = flag(
        10.0, "seconds between looks for a new version of the index; 0: never", check=lambda v: v >= 0, must="be >= 0"
    )
    scratch: str = flag("", "folder for the decoded index (default: in the lake)")


class Newest:
    """The newest version of the index that could be opened; `site` is replaced as a whole.

    Raises:
        UserError: at first there has to be one, and the table of links that is named.
    """

    def __init__(self, args: Args, get_spark: GetSpark) -> None:
        self._args, self._get_spark = args, get_spark
        self._said = ""
        self._seen = self._newest()
        self.site = self._open(self._seen[1])

    def _newest(self) -> tuple[str, int]:
        """What identifies the version that stands in the lake: asks the log of one table."""
        table = ArrowTable(TableRef.find("", INDEX_DOCUMENTS, self._args.lake), INDEX_DOCUMENTS, self._get_spark)
        return table.identity, table.version

    def _open(self, version: int) -> Site:
        engine = open_engine(self._args.lake, self._args.scratch, self._get_spark)
        _warm(engine)
        return Site.of(engine, self._links(engine.index.block), version)

    def _links(self, block: Mapping[str, Any]) -> Links | None:
        given = self._args.links
        if given == NO_LINKS:
            return None
        try:
            table = ArrowTable(TableRef.find(given, LINKS, self._args.lake), LINKS, self._get_spark)
            return gather_links(table.read(COLUMNS), block["page_ids"], block["pageranks"])
        except UserError as error:
            if given:
                raise
            print(f"serve: pages are shown without links: {error}", flush=True)
            return None

    def look(self) -> None:
        """Open the newest version if it is another one; if that fails the old one stays."""
        try:
            newest = self._newest()
            if newest != self._seen:
                self.site = self._open(newest[1])
                self._seen = newest
                print(f"serve: version {newest[1]} of the index, {len(self.site):,} pages", flush=True)
            self._said = ""
        except Exception as error:  # whatever it is, readers go on with what they have
            sentence = f"serve: cannot open the newest index, the old one stays: {error}"
            if sentence != self._said:
                print(sentence, file=sys.stderr, flush=True)
            self._said = sentence

    def watch(self, over: threading.Event) -> None:
        """`look` every so many seconds until it is over."""
        while not over.wait(self._args.refresh):
            self.look()


def _warm(engine: SearchEngine) -> None:
    """Ask once for everything: kernels are loaded and lists made before the first reader comes."""
    if len(engine.index):
        engine.search(f"{engine.index.string('title', 0)} qwxyzzyx", reasons=True)
        engine.search('"a b" +c', feedback="on")
        engine.related(0)


def run(args: Args) -> Mapping[str, Any]:
    """Serve until Ctrl-C or SIGTERM."""
    started = time.monotonic()
    with ExitStack() as stack:

        def spark() -> SparkSession:
            return stack.enter_context(session("lakerank-serve", args.master, args.remote))

        bound = stack.enter_context(bind(args.host, args.port))  # first: a taken port is said at once
        newest = Newest(args, _once(spark))
        app = create_app(lambda: newest.site, [args.host, *filter(None, map(str.strip, args.names.split(",")))])
        bound.listen()  # whoever reads the address may call at once
        address = address_of(bound)
        print(f"serve: {address} shows {len(newest.site):,} pages; Ctrl-C ends it", flush=True)
        over = threading.Event()
        stack.callback(over.set)
        if args.refresh:
            threading.Thread(target=newest.watch, args=(over,), daemon=True).start()
        answer(app, bound)
    print("serve: ended", flush=True)
    return {"address": address, "pages": len(newest.site), "seconds": round(time.monotonic() - started, 3)}


def _once(spark: Callable[[], SparkSession]) -> GetSpark:
    """The same session for all who ask, made for the first of them."""
    made: list[SparkSession] = []

    def get() -> SparkSession:
        if not made:
            made.append(spark())
        return made[0]

    return get


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(run, Args, "serve", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
