"""Summaries of tables: the few rows that a figure or a table of the report needs. Everything large stays in Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

Rows = list[dict[str, Any]]
MOST_BARS = 60  # distinct ratings up to here get a bar each, more are binned
BINS = 40
MOST_REASONS = 30
RATER_QUANTILES = (0.1, 0.5, 0.9)  # a light, a typical and a heavy rater
FEWEST_OF_GENRE = 5  # ratings from which a mean says something
LONGEST_RAW = 200  # characters of an example line


def few(df: DataFrame) -> Rows:
    """Collect the rows of a frame that is known to be small."""
    return [row.asDict() for row in df.collect()]


def histogram(ratings: DataFrame) -> tuple[list[tuple[float, float, int]], float]:
    """Count ratings by value: bars (lowest, highest, how many), in equal bins if these are many; and the mean."""
    rows = few(ratings.groupBy("rating").agg(F.count("*").alias("n")).sort("rating").limit(MOST_BARS + 1))
    if len(rows) <= MOST_BARS:
        total = sum(row["n"] for row in rows)
        mean = sum(row["rating"] * row["n"] for row in rows) / max(1, total)
        return [(row["rating"], row["rating"], row["n"]) for row in rows], mean
    scale = few(ratings.agg(F.min("rating").alias("low"), F.max("rating").alias("high"), F.avg("rating").alias("mean")))
    low, high = scale[0]["low"], scale[0]["high"]
    step = (high - low) / BINS
    bin_of = F.least(F.floor((F.col("rating") - F.lit(low)) / F.lit(step)), F.lit(BINS - 1)).alias("bin")
    rows = few(ratings.groupBy(bin_of).agg(F.count("*").alias("n")).sort("bin"))
    bars = [(low + row["bin"] * step, low + (row["bin"] + 1) * step, row["n"]) for row in rows]
    return bars, scale[0]["mean"]


def holders(rows: DataFrame, keys: tuple[str, str]) -> list[list[tuple[int, int]]]:
    """Count for each of two columns its values that stand in exactly n rows: (n, k), at most √(8 · rows) pairs."""
    counts = [rows.groupBy(key).agg(F.count("*").alias("n")).select(F.lit(key).alias("key"), "n") for key in keys]
    found = few(counts[0].unionAll(counts[1]).groupBy("key", "n").agg(F.count("*").alias("k")))
    return [[(row["n"], row["k"]) for row in found if row["key"] == key] for key in keys]


def by_reason(rejected: DataFrame) -> tuple[Rows, int]:
    """Count rejected rows by reason, most frequent first, with the first line of each as an example; rows in all."""
    # Pages are rejected by offset and address, rows of text by line.
    at, raw = ("offset", "url") if "offset" in rejected.columns else ("line", "raw")
    example = F.struct("source", F.col(at).alias("line"), F.substring(raw, 1, LONGEST_RAW).alias("raw"))
    rows = few(
        rejected.groupBy("reason")
        .agg(F.count("*").alias("n"), F.min(example).alias("first"))
        .select("reason", "n", "first.source", "first.line", "first.raw")
        .sort(F.desc("n"), "reason")
        .limit(MOST_REASONS)
    )
    return rows, rejected.count() if len(rows) == MOST_REASONS else sum(row["n"] for row in rows)


def rank_totals(ranks: DataFrame) -> dict[str, Any]:
    """Return the number of nodes and the sum of ranks."""
    return few(ranks.agg(F.count("*").alias("nodes"), F.sum("pagerank").alias("total")))[0]


def top_ranked(ranks: DataFrame, titles: DataFrame | None, top: int) -> Rows:
    """Return the nodes with the highest rank: id, pagerank, title (null where none is known)."""
    best = ranks.sort(F.desc("pagerank"), "id").limit(top)
    if titles is None:
        return few(best.withColumn("title", F.lit(None).cast("string")).sort(F.desc("pagerank"), "id"))
    # As text on both sides: nodes of an edge list may be strings where page ids are numbers.
    named = titles.select(F.col("page_id").cast("string").alias("page"), "title")
    joined = best.join(named, best["id"].cast("string") == named["page"], "left").drop("page")
    return few(joined.sort(F.desc("pagerank"), "id"))


def typical_users(recommendations: DataFrame, ratings: DataFrame) -> list[Any]:
    """Choose a light, a typical and a heavy rater among those with recommendations; ties go to the lowest id."""
    with_some = recommendations.select("user_id").distinct()
    counts = ratings.join(with_some, "user_id", "left_semi").groupBy("user_id").agg(F.count("*").alias("n"))
    wanted = few(counts.agg(F.percentile_approx("n", list(RATER_QUANTILES)).alias("n")))[0]["n"] or []
    if not wanted:  # nobody with recommendations has rated
        return [row["user_id"] for row in few(with_some.sort("user_id").limit(len(RATER_QUANTILES)))]
    nearest = [
        F.min(F.struct(F.abs(F.col("n") - n), "user_id"))["user_id"].alias(f"u{i}") for i, n in enumerate(wanted)
    ]
    found = few(counts.agg(*nearest))[0]
    return list(dict.fromkeys(found[f"u{i}"] for i in range(len(wanted))))


def of_users(df: DataFrame, users: Sequence[Any]) -> DataFrame:
    """Return the rows of some users; ids may be given as text."""
    return df.where(F.col("user_id").cast("string").isin([str(user) for user in users]))


def liked_most(ratings: DataFrame, users: Sequence[Any], top: int) -> DataFrame:
    """Return the items users rated highest, the newest first among equals; n and mean are of all their ratings."""
    theirs = Window.partitionBy("user_id")
    order = theirs.orderBy(F.desc("rating"), F.desc_nulls_last("rated_at"), "item_id")
    return (
        of_users(ratings, users)
        .withColumn("position", F.row_number().over(order))
        .withColumn("n", F.count("*").over(theirs))
        .withColumn("mean", F.avg("rating").over(theirs))
        .where(F.col("position") <= top)
        .select("user_id", "position", "item_id", "rating", "n", "mean")
    )


def tastes(ratings: DataFrame, items: DataFrame, users: Sequence[Any]) -> dict[str, list[tuple[str, float]]]:
    """Return each user's mean rating by genre, highest first, of genres with at least `FEWEST_OF_GENRE` ratings."""
    theirs = of_users(ratings, users).join(items.select("item_id", F.explode("genres").alias("genre")), "item_id")
    means = theirs.groupBy("user_id", "genre").agg(F.avg("rating").alias("mean"), F.count("*").alias("n"))
    found: dict[str, list[tuple[str, float]]] = {}
    for row in few(means.where(F.col("n") >= FEWEST_OF_GENRE).sort(F.desc("mean"), "genre")):
        found.setdefault(str(row["user_id"]), []).append((row["genre"], row["mean"]))
    return found


def with_titles(df: DataFrame, items: DataFrame | None) -> DataFrame:
    """Add title (the id where there is none), year, and genres as one text."""
    name = F.col("item_id").cast("string")
    if items is None:
        nothing = {"year": F.lit(None).cast("int"), "genres": F.lit(None).cast("string")}
        return df.withColumns({"title": name, **nothing})
    described = items.select("item_id", "title", "year", F.array_join("genres", ", ").alias("genres"))
    return df.join(described, "item_id", "left").withColumn("title", F.coalesce("title", name))


def most_rated_factors(factors: DataFrame, ratings: DataFrame, items: DataFrame | None, top: int) -> Rows:
    """Return factors and names of the items with the most ratings, most rated first."""
    counts = ratings.groupBy("item_id").agg(F.count("*").alias("n"))
    chosen = factors.join(counts, "item_id").sort(F.desc("n"), "item_id").limit(top)
    named = with_titles(chosen.select("item_id", "factors", "n"), items)
    return few(named.sort(F.desc("n"), "item_id"))
