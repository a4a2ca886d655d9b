"""Tables of a lake, made and read in a moment: without Spark, for what a test only prepares or looks up.

That Spark and delta-rs write and read the same is tested in tests/lake/test_delta_arrow.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Row, SparkSession

from lakerank.lake.delta_arrow import ArrowSink, ArrowTable
from lakerank.lake.delta_table import TableRef
from lakerank.lake.publications import publishing
from lakerank.lake.schemas import Relation


def _no_spark() -> SparkSession:
    raise AssertionError("folders are read and written without Spark")


def put(
    ref: TableRef,
    relation: Relation,
    rows: Sequence[Sequence[Any]],
    ids: str | Mapping[str, str] = "bigint",
    run_id: str = "",
) -> None:
    """Replace a table by rows, each with all of the relation's columns in their order.

    Args:
        ref: where.
        relation: what.
        rows: its rows.
        ids: the type of `id` columns, `bigint` or `string`, or that of each column by its name.
        run_id: published as this run's; empty: not published, as somebody else's.
    """
    types = dict.fromkeys(relation.names, ids) if isinstance(ids, str) else ids
    schema = pa.schema([relation.arrow_schema(name, id_type=types[name]).field(0) for name in relation.names])
    columns = list(zip(*([_in_utc(value) for value in row] for row in rows), strict=True)) or [()] * len(schema)
    table = pa.table([pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)
    if run_id:
        with publishing(_no_spark, str(Path(ref.location).parent), relation.name, run_id) as run:
            run.write(relation, table)
    else:
        ArrowSink(ref, relation, _no_spark).write(table)


def rows(relation: Relation, lake: str | Path) -> list[Row]:
    """All rows of a lake's table, in no order."""
    return rows_of(TableRef.find("", relation, str(lake)), relation)


def rows_of(ref: TableRef, relation: Relation) -> list[Row]:
    """All rows of a table, checked against its contract, as a frame's `collect` returns them."""
    stored = ArrowTable(ref, relation, _no_spark).read(relation.names)
    found = relation.check(stored, ref.location)
    for column, field in zip(relation.columns, found.schema, strict=True):  # the check widens, a job must not need it
        assert _plain(stored.schema.field(column.name).type) == _plain(field.type), f"{ref.location}: {column.name}"
    return [Row(**{name: _as_spark(value) for name, value in row.items()}) for row in found.to_pylist()]


def _plain(kind: pa.DataType) -> str:
    """A type's name, whatever its offsets and the names of elements are."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_plain(kind.value_type)}"
    return str(kind).removeprefix("large_").removesuffix("_view")


def _in_utc(value: Any) -> Any:
    """Times without a zone are the local clock's, as Spark takes them."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _as_spark(value: Any) -> Any:
    """Times as Spark gives them to Python: the local clock's, and without a zone."""
    if isinstance(value, datetime):
        return value.astimezone().replace(tzinfo=None)
    return bytearray(value) if isinstance(value, bytes) else value
