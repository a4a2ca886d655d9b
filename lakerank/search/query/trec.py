"""Files of queries, and answers in TREC's run format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakerank.cli.errors import UserError


def read_queries(text: str, where: str) -> dict[str, str]:
    """Queries by id.

    Args:
        text: lines `id<TAB>query`, or queries alone, which are numbered from 1. Blank lines say nothing.
        where: the file, for messages.

    Raises:
        UserError: an id stands twice, or has no query, or there is no query at all.
    """
    queries: dict[str, str] = {}
    numbered = not any("\t" in line for line in text.splitlines())
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, tab, query = (str(len(queries) + 1), "\t", line) if numbered else line.partition("\t")
        if not tab or not query.strip():
            raise UserError(f"{where}: line {number}: no query after the id and a tab")
        if name.strip() in queries:
            raise UserError(f"{where}: line {number}: query {name.strip()} stands there twice")
        queries[name.strip()] = query.strip()
    if not queries:
        raise UserError(f"{where}: there is no query in it")
    return queries


def run_lines(answers: Sequence[Mapping[str, Any]], order: Sequence[str], tag: str) -> list[str]:
    """Lines `query Q0 document rank score tag`, queries in the given order, best answers first.

    Scores have nine decimals, in which equal scores stay equal; evaluation programs order by score, so they agree
    with `rank`. White space in a document's name is written as %20.
    """
    place = {name: at for at, name in enumerate(order)}
    rows = sorted(answers, key=lambda row: (place[row["query_id"]], row["rank"]))
    return [
        f"{row['query_id']} Q0 {row['document'].replace(' ', '%20')} {row['rank']} {row['score']:.9f} {tag}"
        for row in rows
    ]
