"""Every table of the lake, named once: columns, types, keys, units and meaning.

One file for each domain lists its tables; nowhere else are their columns listed. A `Relation` gives the schemas of
Spark and Arrow, is checked where rows enter a job and again before they are written, and its words become the
comments of the Delta table and `docs/tables.md`.
"""

from __future__ import annotations

from lakerank.lake.schemas import graph, index, pages, pictures, publications, ratings, recommenders
from lakerank.lake.schemas.graph import *  # noqa: F403 - each name stands once, in its domain's file
from lakerank.lake.schemas.index import *  # noqa: F403
from lakerank.lake.schemas.pages import *  # noqa: F403
from lakerank.lake.schemas.pictures import *  # noqa: F403
from lakerank.lake.schemas.publications import *  # noqa: F403
from lakerank.lake.schemas.ratings import *  # noqa: F403
from lakerank.lake.schemas.recommenders import *  # noqa: F403
from lakerank.lake.schemas.relation import ID as ID
from lakerank.lake.schemas.relation import Column as Column
from lakerank.lake.schemas.relation import Relation as Relation
from lakerank.lake.schemas.relation import whole_id as whole_id

RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for domain in (publications, pages, graph, index, ratings, recommenders, pictures)
    for relation in vars(domain).values()
    if isinstance(relation, Relation)
}


def as_markdown() -> str:
    """Return the table reference, `docs/tables.md`."""
    lines = [
        "# Tables",
        "",
        "Generated from `lakerank/lake/schemas/` by `make docs`; a test fails when it is stale.",
        "Type `id` means `bigint` where all ids of the source are whole numbers, else `string`: you always",
        "see the ids you put in.",
    ]
    for relation in RELATIONS.values():
        lines += ["", f"## {relation.name}", "", relation.meaning, ""]
        lines += [f"Written by `{relation.producer}`. Grows with: {relation.grows_with}."]
        lines += [f"Key: {', '.join(f'`{key}`' for key in relation.keys) or 'none, rows may repeat'}.", ""]
        lines += ["| column | type | null | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{c.name}` | {c.type} | {'yes' if c.nullable else 'no'} | {c.meaning} |" for c in relation.columns
        ]
    return "\n".join(lines) + "\n"
