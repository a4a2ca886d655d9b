"""Judge runs: qrels and TREC runs in, nDCG, MAP, precision, reciprocal rank and recall out, as trec_eval has them.

Runs come from `search.py --queries FILE --run-file OUT`, or from any other engine. Needs no Spark.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import Settings, flag
from lakerank.search.evaluation import USUAL, as_table, evaluate, read_measures, read_qrels, read_run
from lakerank.search.query.store import read_text


@dataclass(frozen=True)
class Args(Settings):
    """Settings of the command."""

    qrels: str = flag("", "judgements, `query 0 document grade` lines", metavar="FILE")
    run_file: str = flag("", "TREC runs to judge, separated by commas", metavar="FILES")
    metrics: str = flag(USUAL, "what to compute: ndcg, map, p, mrr, recall, each with or without @N")


def run(args: Args) -> Mapping[str, Any]:
    """Judge every run."""
    if not args.qrels or not args.run_file:
        raise UserError("say what to judge: --qrels FILE --run-file FILE")
    measures = read_measures(args.metrics)
    qrels = read_qrels(read_text(args.qrels, "--qrels"), args.qrels)
    results = {}
    for path in filter(None, (part.strip() for part in args.run_file.split(","))):
        found = read_run(read_text(path, "--run-file"), path)
        results[path] = evaluate(found, qrels, measures)
        if missing := len(set(qrels) - set(found)):
            print(f"{path}: no answer to {missing} of {len(qrels)} judged queries; they count 0")
    print(as_table(results, list(measures)))
    return {"queries": len(qrels), "runs": results}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, Args, "evaluate_search", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
