"""What the jobs have published: the one table that says which versions of the others belong together."""

from __future__ import annotations

from lakerank.lake.schemas.relation import Column, Relation

PUBLICATIONS = Relation(
    "publications",
    "What jobs have published: which versions of which tables belong together. A job that writes several tables "
    "changes nothing for readers before its row stands here.",
    (
        Column("number", "bigint", "from 1; of two with the same number the later `published_at` counts"),
        Column("what", "string", "what the tables are together: ratings, pages, ranks, index, the name of a model, …"),
        Column("run_id", "string", "the run that wrote them"),
        Column("stamp", "string", "what the run's commits carry as `userMetadata` in the tables' histories"),
        Column("published_at", "timestamp", "when"),
        Column("tables", "string", "JSON list of what was written: name, place (./ is the lake), id, version"),
        Column("sources", "string", "JSON list of what it was made from, likewise"),
        Column("settings", "string", "JSON of what else is needed to use it"),
    ),
    ("number", "stamp"),
    "every job that writes several tables",
    "runs of jobs",
)
