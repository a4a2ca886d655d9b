"""The printed report: pages whose rank comes mostly from a farm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

_HEAD = f"{'farm':>4}  {'pages':>7}  {'links in':>8}  {'rank from it':>12}  {'place':>17}  {'pagerank':>23}  page"


def worst(report: DataFrame, count: int) -> list[Row]:
    """The `count` reported pages with the highest PageRank; equal ranks in order of id."""
    return report.orderBy(F.desc("pagerank"), "id").limit(count).collect()


def as_text(rows: Sequence[Row], names: Mapping[Any, str]) -> str:
    """Rows of `spam_report` as lines: what was before, and what is after."""
    if not rows:
        return "  no page owes its rank to a farm"
    lines = [_HEAD]
    for row in rows:
        place = f"{_known(row['place'])} → {_known(row['trusted_place'])}"
        rank = f"{row['pagerank']:.3g} → {row['trusted_rank']:.3g}"
        lines.append(
            f"{_known(row['farm']):>4}  {_known(row['pages']):>7}  {_known(row['links_in']):>8}  "
            f"{row['share']:>12.1%}  {place:>17}  {rank:>23}  {names.get(row['id'], row['id'])}"
        )
    return "\n".join(lines)


def _known(value: int | None) -> str:
    return "–" if value is None else str(value)
