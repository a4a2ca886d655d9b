"""Search the index: one query answered at once, or a file of queries as a TREC run, on Spark.

Reads `index_documents`, `index_postings` and `pages`. The guide is docs/search-engine.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.search.index.fields import Weighting
from lakerank.search.index.store import OpenIndex, cache_folder, index_parts, open_index
from lakerank.search.query.arrays import FORMAT, build_arrays
from lakerank.search.query.batch import answer_in_parts, answer_in_shares
from lakerank.search.query.engine import Hit, SearchEngine
from lakerank.search.query.index import Index
from lakerank.search.query.query import Query, parse, plain
from lakerank.search.query.ranking import Ranking
from lakerank.search.query.shards import Asked
from lakerank.search.query.trec import read_queries, run_lines
from lakerank.spark.session import cores, session


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    query: str = flag("", 'what to look for: words, "phrases", +must, -not, a OR b, site:host, title:word')
    queries: str = flag("", "file of queries, `id<TAB>text` lines (or text alone: numbered)", metavar="FILE")
    run_file: str = flag("", "where to write the answers to --queries, in TREC's run format", metavar="FILE")
    top: int = flag(0, "results (default: 10, with --queries 1000)", check=lambda v: v >= 0, must="be at least 0")
    page: int = flag(1, "which page of results", check=lambda v: v >= 1, must="be at least 1")
    rank_weight: float = flag(
        Ranking().rank_weight, "how much links count; 0: not at all", check=lambda v: v >= 0, must="be at least 0"
    )
    feedback: str = flag("auto", "expand queries by the first results; auto: long ones", choices=("auto", "on", "off"))
    syntax: str = flag(
        "auto", "whether quotes and signs mean something; auto: with --query only", choices=("auto", "full", "plain")
    )
    parts: int = flag(
        0,
        "with --queries: cut the index into so many parts, each opened by one worker (default: 0, all open all of it)",
        check=lambda v: v >= 0,
        must="be at least 0",
    )
    fold: bool = flag(True, "show of pages with the same content only the best")
    explain: bool = flag(False, "show every part of each score")
    cache_dir: str = flag("", "folder for the decoded index, seen by all workers (default: in the lake)")


def open_engine(lake: str, cache: str, get_spark: Callable[[], SparkSession] | None = None) -> SearchEngine:
    """The lake's search engine, with the settings that serve all collections: the library's way in."""
    opened = _open(lake, cache, get_spark)
    return SearchEngine(Index(opened.block, Weighting(), opened.language))


def _open(lake: str, cache: str, get_spark: Callable[[], SparkSession] | None) -> OpenIndex:
    weighting = Weighting()

    def build(documents: pa.Table, postings: pa.Table, pages: pa.Table, language: str) -> dict[str, Any]:
        return build_arrays(documents, postings, pages, weighting, language)

    return open_index(lake, cache, build, weighting.key() | {"format": FORMAT}, get_spark)


def run(args: Args) -> Mapping[str, Any]:
    """Answer the query or the queries."""
    if bool(args.query) == bool(args.queries):
        raise UserError("say what to look for: --query TEXT, or --queries FILE with --run-file OUT")
    if args.queries and not args.run_file:
        raise UserError("--queries needs --run-file OUT")
    with ExitStack() as stack:

        def spark() -> SparkSession:
            return stack.enter_context(session("lakerank-search", args.master, args.remote))

        return _answer_file(args, spark) if args.queries else _answer(args, spark)


def _answer(args: Args, get_spark: Callable[[], SparkSession]) -> Mapping[str, Any]:
    engine = open_engine(args.lake, args.cache_dir, get_spark)
    text = args.query
    answer = engine.search(text, args.top or 10, args.page, args.rank_weight, args.feedback, args.fold, args.explain)
    print(f"search: {len(engine.index):,} pages, {1000 * answer.seconds:.1f} ms")
    for hit in answer.hits:
        print(_as_text(hit))
    if not answer.hits:
        print("search: nothing found")
    if answer.suggestion:
        print(f"search: did you mean: {answer.suggestion}")
    return {
        "query": text, "hits": [_as_json(hit) for hit in answer.hits], "more": answer.more,
        "suggestion": answer.suggestion, "expanded": answer.expanded, "seconds": round(answer.seconds, 6),
    }  # fmt: skip


def _as_text(hit: Hit) -> str:
    title = "".join(text for text, _ in hit.title)
    shown = "".join(f"[{text}]" if match else text for text, match in hit.snippet)
    lines = [f"{hit.place:>3}. {title}", f"     {hit.page.url}", f"     {shown}"]
    lines += [f"     same content: {', '.join(hit.copies)}"] if hit.copies else []
    lines += [f"     {line}" for line in hit.explanation.lines()] if hit.explanation else []
    return "\n".join(lines)


def _as_json(hit: Hit) -> dict[str, Any]:
    return {
        "url": hit.page.url, "title": hit.page.title, "score": hit.score, "pagerank": hit.pagerank,
        "snippet": "".join(text for text, _ in hit.snippet), "copies": list(hit.copies),
    }  # fmt: skip


def _answer_file(args: Args, get_spark: Callable[[], SparkSession]) -> Mapping[str, Any]:
    """Read queries, answer them, write the run."""
    started = time.monotonic()
    try:
        queries = read_queries(Path(args.queries).read_text(encoding="utf-8"), args.queries)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--queries {args.queries}: cannot read it ({error})") from error
    spark = get_spark()
    reader = parse if args.syntax == "full" else plain
    parsed = {name: reader(text) for name, text in queries.items()}
    rows = _from_parts(spark, args, parsed) if args.parts else _from_whole(spark, args, parsed)
    lines = run_lines(rows, list(queries), "lakerank")
    _write(Path(args.run_file), lines)
    seconds = time.monotonic() - started
    print(f"search: {len(queries):,} queries, {len(lines):,} answers in {args.run_file}, {seconds:.1f} s")
    return {"queries": len(queries), "answers": len(lines), "seconds": round(seconds, 3)}


def _from_parts(spark: SparkSession, args: Args, queries: Mapping[str, Query]) -> list[dict[str, Any]]:
    """Each worker opens some of the segments."""
    parts = index_parts(args.lake, args.parts)
    asked = Asked(queries, args.top or 1000, args.rank_weight, args.feedback, parts[0].language)
    return answer_in_parts(spark, parts, cache_folder(args.lake, args.cache_dir), asked, Weighting())


def _from_whole(spark: SparkSession, args: Args, queries: Mapping[str, Query]) -> list[dict[str, Any]]:
    """Every worker opens the whole index and answers a share of the queries."""
    opened = _open(args.lake, args.cache_dir, lambda: spark)
    asked = Asked(queries, args.top or 1000, args.rank_weight, args.feedback, opened.language)
    return answer_in_shares(spark, opened.folder, asked, Weighting(), cores(spark))


def _write(path: Path, lines: Sequence[str]) -> None:
    """In one step: a reader sees the old file or the new one."""
    fresh = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise UserError(f"--run-file {path}: cannot write it ({error.strerror})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(run, Args, "search", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
