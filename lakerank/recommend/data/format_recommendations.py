"""Tell recommendations, and why, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, Row

SHOWN_USERS = 3


def format_recommendations(
    recommendations: DataFrame, explanations: DataFrame | None, items: DataFrame | None
) -> Iterator[str]:
    """Yield lines that tell the first few users' recommendations, with titles if there are any.

    Args:
        recommendations, explanations: these relations, as they were written.
        items: the catalogue.
    """
    few = recommendations.select("user_id").distinct().sort("user_id").limit(SHOWN_USERS)
    rows = recommendations.join(few, "user_id").sort("user_id", "rank").collect()
    reasons = [] if explanations is None else explanations.join(few, "user_id").collect()
    titles: dict[Any, str] = {}
    if items is not None:
        named = {row["item_id"] for row in rows} | {row["because_id"] for row in reasons} - {None}
        for item, title, year in (
            items.where(items.item_id.isin(list(named))).select("item_id", "title", "year").collect()
        ):
            titles[item] = f"{title} ({year})" if year else title
    yield from format_lines(rows, reasons, titles)


def format_lines(recommendations: Sequence[Row], reasons: Sequence[Row], titles: Mapping[Any, str]) -> Iterator[str]:
    """Yield lines to print: each user, what is recommended, and why.

    Args:
        recommendations: rows of that relation, by user and rank.
        reasons: rows of `explanations` for some of them; may be empty.
        titles: by item; an item without one is shown by its id.
    """
    why: dict[tuple[Any, int], list[Row]] = {}
    for row in reasons:
        why.setdefault((row["user_id"], row["rank"]), []).append(row)
    common: dict[Any, set[str]] = {}
    for row in recommendations:
        common.setdefault(row["user_id"], set()).add(row["reason"])
    for row in recommendations:
        user, words = row["user_id"], f" ({row['reason']})"
        same = len(common[user]) == 1  # said once
        if row["rank"] == 1:
            yield f"\nuser {user}{words if same else ''}"
        yield f"  {row['rank']:>3}  {row['score']:.3f}  {_title(titles, row['item_id'])}{'' if same else words}"
        for words, value in _summands(why.get((row["user_id"], row["rank"]), []), titles):
            yield f"         {value:+.3f}  {words}"


def _title(titles: Mapping[Any, str], item: Any) -> str:
    return titles.get(item) or str(item)


def _summands(rows: Sequence[Row], titles: Mapping[Any, str]) -> list[tuple[str, float]]:
    sums: dict[str, float] = {}
    for row in sorted(rows, key=lambda one: one["position"]):
        words = row["source"]
        if row["because_id"] is not None:
            words = f"because you rated {_title(titles, row['because_id'])}"  # whichever part says so
        sums[words] = sums.get(words, 0.0) + row["contribution"]
    return sorted(sums.items(), key=lambda one: -abs(one[1]))
