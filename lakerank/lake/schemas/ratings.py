"""Ratings, and the items that are rated."""

from __future__ import annotations

from lakerank.lake.schemas.relation import ID, Column, Relation, rejected_rows

RATINGS = Relation(
    "ratings",
    "What users think of items, one row for each user and item.",
    (
        Column("user_id", ID, "who rated"),
        Column("item_id", ID, "what was rated"),
        Column("rating", "float", "on the data set's scale, e.g. 0.5 to 5 stars"),
        Column("rated_at", "timestamp", "when, UTC; null if the source has no times", nullable=True),
    ),
    ("user_id", "item_id"),
    "ingest_ratings",
    "ratings given",
)
ITEMS = Relation(
    "items",
    "The catalogue.",
    (
        Column("item_id", ID, "item"),
        Column("title", "string", "as shown to people, without the year"),
        Column("year", "int", "year of release, from the title", nullable=True),
        Column("genres", "array<string>", "empty if none are listed"),
    ),
    ("item_id",),
    "ingest_ratings",
    "items",
)
TAGS = Relation(
    "tags",
    "Words users put on items.",
    (
        Column("user_id", ID, "who tagged"),
        Column("item_id", ID, "what was tagged"),
        Column("tag", "string", "free text"),
        Column("tagged_at", "timestamp", "when, UTC", nullable=True),
    ),
    (),
    "ingest_ratings",
    "tags given",
)
RATINGS_REJECTED = rejected_rows("ratings_rejected", "ingest_ratings", "Rating, item and tag lines")
