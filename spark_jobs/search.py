"""Search the index: one query answered at once, or a file of queries on Spark, as a TREC run or a table.

Reads `index_documents`, `index_postings` and `pages`; writes `search_results` where --out says. A single query needs no
Spark for a lake in a folder, nor does --export-opensearch. The guide is docs/search-engine.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.files import read_bytes, remove_file, write_file
from lakerank.cli.settings import AT_LEAST_ONE, NOT_NEGATIVE, JobArgs, flag
from lakerank.lake.delta_arrow import GetSpark
from lakerank.lake.publications import publishing
from lakerank.lake.schemas import SEARCH_RESULTS
from lakerank.search.export import write_opensearch_bulk
from lakerank.search.query.batch import QueryBatch, answer_batch, answers_table, read_queries, rejected_lines, run_lines
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.parse import parse, plain
from lakerank.search.query.searcher import Ranking
from lakerank.search.query.store import open_index
from lakerank.search.text.languages import NONE, SNOWBALL, known
from lakerank.spark.on_demand import spark_on_demand


@dataclass(frozen=True)
class Args(JobArgs):
    """Settings of the job."""

    query: str = flag("", 'what to look for: words, "phrases", +must, -not, a OR b, site:host, title:word')
    queries: str = flag("", "file of queries, `id<TAB>text` lines (or text alone: numbered)", metavar="FILE")
    run_file: str = flag("", "where to write the answers to --queries, in TREC's run format", metavar="FILE")
    out: str = flag("", "table for the answers to --queries, instead of a run or beside it", metavar="TABLE")
    export_opensearch: str = flag(
        "", "write all documents of the index in OpenSearch's bulk form; .gz packs it", metavar="FILE"
    )
    top: int = flag(0, "results (default: 10, with --queries 1000)", within=NOT_NEGATIVE)
    page: int = flag(1, "which page of results", within=AT_LEAST_ONE)
    rank_weight: float = flag(Ranking().rank_weight, "how much links count; 0: not at all", within=NOT_NEGATIVE)
    feedback: str = flag("auto", "expand queries by the first results; auto: long ones", choices=("auto", "on", "off"))
    syntax: str = flag(
        "auto", "whether quotes and signs mean something; auto: with --query only", choices=("auto", "full", "plain")
    )
    language: str = flag(
        "",
        f"language of the query: {', '.join(SNOWBALL)}, or {NONE} (default: any that the pages are in)",
        check=lambda code: not code or known(code),
        must=f"be one of {', '.join(SNOWBALL)}, {NONE}",
    )
    shards: int = flag(
        0,
        "with --queries: cut the index into so many shards, each opened by one worker (default: 0, all open all of it)",
        within=NOT_NEGATIVE,
    )
    collapse_duplicates: bool = flag(True, "show of pages with the same content only the best")
    explain: bool = flag(False, "show every part of each score")
    cache_dir: str = flag("", "folder for the decoded index, seen by all workers (default: in the lake)")


def run(args: Args) -> Mapping[str, Any]:
    """Answer the query or the queries."""
    if sum(map(bool, (args.query, args.queries, args.export_opensearch))) != 1:
        raise UserError(
            "say what to look for: --query TEXT, or --queries FILE with --run-file OUT or --out TABLE; or "
            "--export-opensearch FILE"
        )
    if not args.queries and (args.out or args.run_file):
        raise UserError("--out and --run-file are for the answers to --queries FILE")
    if args.queries and not args.run_file and not args.out:
        raise UserError("--queries needs --run-file OUT, or --out TABLE")
    with spark_on_demand("lakerank-search", args.master, args.remote) as get_spark:
        if args.export_opensearch:
            return _export(args, get_spark)
        return _answer_file(args, get_spark) if args.queries else _answer(args, get_spark)


def _export(args: Args, get_spark: GetSpark) -> Mapping[str, Any]:
    index = open_index(args.lake, args.cache_dir, get_spark).index
    count = write_opensearch_bulk(index, args.export_opensearch, "--export-opensearch")
    print(f"search: {count:,} documents in {args.export_opensearch}")
    return {"documents": count}


def _answer(args: Args, get_spark: GetSpark) -> Mapping[str, Any]:
    engine = SearchEngine(open_index(args.lake, args.cache_dir, get_spark).index)
    answer = engine.search(
        args.query, args.top or 10, args.page, args.rank_weight, args.feedback, args.collapse_duplicates, args.explain,
        args.language,
    )  # fmt: skip
    print(f"search: {len(engine.index):,} pages, {1000 * answer.seconds:.1f} ms")
    for note in answer.notes:
        print(f"search: {note}")
    print("\n".join(hit.as_text() for hit in answer.hits) or "search: nothing found")
    if answer.suggestion:
        print(f"search: did you mean: {answer.suggestion}")
    return {"query": args.query} | answer.as_json()


def _answer_file(args: Args, get_spark: GetSpark) -> Mapping[str, Any]:
    """Read queries, answer them, write the run, the table."""
    started = time.monotonic()
    queries, rejected = read_queries(read_bytes(args.queries, "--queries"), args.queries)
    reader = parse if args.syntax == "full" else plain
    parsed = {name: reader(text) for name, text in queries.items()}
    batch = QueryBatch(parsed, args.top or 1000, args.rank_weight, args.feedback, language=args.language)
    answers = answer_batch(get_spark(), args.lake, batch, args.shards, args.cache_dir)
    if args.run_file:
        lines = run_lines(answers, list(queries), "lakerank")
        write_file(args.run_file, "".join(f"{line}\n" for line in lines), "--run-file")
    beside = f"{args.run_file or args.queries}.rejected.tsv"
    remove_file(beside)  # of another run
    if rejected:
        write_file(beside, rejected_lines(rejected), "--run-file" if args.run_file else "--queries")
        print(f"search: {len(rejected):,} lines of {args.queries} are no queries: see {beside}")
    if args.out:  # last: what is published should not be followed by an error
        with publishing(get_spark, args.lake, SEARCH_RESULTS.name) as tables:
            tables.write(SEARCH_RESULTS, answers_table(answers, queries), args.out)
    seconds, where = time.monotonic() - started, " and ".join(filter(None, (args.run_file, args.out)))
    print(f"search: {len(queries):,} queries, {len(answers):,} answers in {where}, {seconds:.1f} s")
    counts = {"queries": len(queries), "rejected": len(rejected), "answers": len(answers)}
    return {**counts, "seconds": round(seconds, 3)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, Args, "search", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
