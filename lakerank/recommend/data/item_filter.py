"""Which items may be recommended: by genre, year of release, or a list."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError


def allowed_items(items: DataFrame | None, genre: str, years: str, listed: DataFrame | None) -> DataFrame | None:
    """Return a frame (item_id) of the items that all conditions allow; None if there are none.

    Args:
        items: the `items` relation, if the lake has it.
        genre: one of these, separated by commas, whatever the case; empty allows all.
        years: `1994`, `1990-1999`, `1990-` or `-1999`; empty allows all. Items without a year are then left out.
        listed: frame (item_id) of a list of allowed items.

    Raises:
        UserError: `years` is none of these, there is no catalogue to look in, or no item has the genre.
    """
    if not genre and not years:
        return None if listed is None else listed.select("item_id").distinct()
    if items is None:
        raise UserError("--genre and --year need the table `items`: run ingest_ratings with a source that lists them")
    chosen = items
    if genre:
        wanted = [one.strip().lower() for one in genre.split(",") if one.strip()]
        has = F.exists("genres", lambda one: F.lower(one).isin(wanted))
        chosen = chosen.where(has)
        if chosen.isEmpty():
            known = [row[0] for row in items.select(F.explode("genres").alias("g")).distinct().sort("g").collect()]
            raise UserError(f"--genre {genre}: no item has it; there are {', '.join(known) or 'none'}")
    if years:
        low, high = _range(years)
        chosen = chosen.where(F.col("year").between(low, high))
    ids = chosen.select("item_id").distinct()
    return ids if listed is None else ids.join(listed, "item_id", "left_semi")


def _range(years: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{4})?(-)?(\d{4})?", years.strip())
    if found is None or not (found[1] or found[3]) or (found[1] and found[3] and not found[2]):
        raise UserError(f"--year {years}: write one year, or a range such as 1990-1999, 1990- or -1999")
    low = int(found[1] or 0)
    high = int(found[3] or (9999 if found[2] else low))
    if low > high:
        raise UserError(f"--year {years}: the first year is after the last")
    return low, high
