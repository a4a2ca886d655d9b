"""Arrow tables into Delta tables: where the lake is a folder without Spark, in milliseconds, else through it."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.delta_arrow_read import GetSpark
from lakerank.lake.delta_table import TableRef, TableSink, write_problem
from lakerank.lake.schemas import Relation

_TYPES = {
    "id": pa.int64(), "bigint": pa.int64(), "int": pa.int32(), "smallint": pa.int16(), "tinyint": pa.int8(),
    "double": pa.float64(), "float": pa.float32(), "boolean": pa.bool_(), "string": pa.string(),
    "binary": pa.binary(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip


def conform(table: pa.Table, relation: Relation, where: str) -> pa.Table:
    """`table` with exactly the relation's columns and types.

    Args:
        table: has at least these columns; ids are int64 or strings.
        relation: its contract.
        where: what the table is, for messages.

    Raises:
        UserError: a column is missing, of another type, or null where none may be.
    """
    for column in relation.columns:
        if column.name not in table.column_names:
            raise UserError(f"{where}: column `{column.name}` is missing; `{relation.name}` needs it")
        if not column.nullable and table[column.name].null_count:
            raise UserError(f"{where}: `{relation.name}.{column.name}` is null; nothing was written")
    chosen = table.select([column.name for column in relation.columns])
    schema = arrow_schema(relation)
    for name in (column.name for column in relation.columns if column.type == "id"):
        if pa.types.is_string(chosen.schema.field(name).type):
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
    try:
        return chosen.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{where}: not as `{relation.name}` needs it ({error})") from error


def arrow_schema(relation: Relation) -> pa.Schema:
    """The relation's columns as Arrow has them; ids are int64. Needs no session, as parsing Spark's DDL would."""
    return pa.schema([(column.name, _arrow_type(column.type)) for column in relation.columns])


def _arrow_type(name: str) -> pa.DataType:
    if name.startswith("array<"):
        return pa.list_(_arrow_type(name[len("array<") : -1]))
    return _TYPES[name]


class ArrowSink:
    """A place to write one relation to from memory; each call is one commit, as with `TableSink`."""

    def __init__(self, ref: TableRef, relation: Relation, get_spark: GetSpark, stamp: str = "") -> None:
        self.ref, self.relation, self.stamp = ref, relation, stamp
        self._get_spark = get_spark

    def write(self, table: pa.Table) -> None:
        """Replace the table.

        Raises:
            UserError: a column is missing, of another type, or null where none may be; or the place cannot be written.
        """
        rows = conform(table, self.relation, self.ref.location)
        if not self._direct("overwrite", rows):
            self._through_spark().write(self._frame(rows))

    def append(self, table: pa.Table) -> None:
        """Add rows; errors as `write`."""
        rows = conform(table, self.relation, self.ref.location)
        if not self._direct("append", rows):
            self._through_spark().append(self._frame(rows))

    def merge(self, table: pa.Table, removed: list[Any]) -> None:
        """Fold rows into the table by its key, and take out those with the keys `removed`; errors as `write`.

        Raises:
            ValueError: the relation has no key of one column.
        """
        (key,) = self.relation.keys
        rows = conform(table, self.relation, self.ref.location)
        if not self._local():
            marked = self._frame(rows).withColumn("removed", F.lit(False))
            spark = self._get_spark()
            gone = self.ref.frame(spark).where(F.col(key).isin(removed)).withColumn("removed", F.lit(True))
            self._through_spark().merge(marked.unionByName(gone.select(*marked.columns)), "removed")
            return
        # One statement: a reader sees all of it or nothing. Rows to take out carry nothing but their key.
        mark = pa.array([False] * len(rows) + [True] * len(removed))
        gone = pa.table({key: pa.array(removed, rows.schema.field(key).type)})
        source = pa.concat_tables([rows, gone], promote_options="default").append_column("removed", mark)
        columns = {name: f"s.{name}" for name in rows.column_names}
        try:
            merged = DeltaTable(self.ref.path).merge(
                source, f"t.{key} = s.{key}", source_alias="s", target_alias="t", commit_properties=self._commit()
            )
            merged = merged.when_matched_delete("s.removed").when_matched_update(columns, "NOT s.removed")
            merged.when_not_matched_insert(columns, "NOT s.removed").execute()
        except (OSError, DeltaError) as error:
            raise write_problem(error, self.ref.location) from error

    def _local(self) -> bool:
        location = self.ref.location
        return not (self.ref.needs_spark or "://" in location or location.startswith("dbfs:"))

    def _direct(self, mode: str, rows: pa.Table) -> bool:
        """Whether it could be written without Spark, which knows every feature a table may have."""
        if not self._local():
            return False
        schema_mode = "overwrite" if mode == "overwrite" else None
        try:
            write_deltalake(
                self.ref.path, rows, mode=cast(Any, mode), schema_mode=cast(Any, schema_mode),
                commit_properties=self._commit(),
            )  # fmt: skip
        except OSError as error:
            raise write_problem(error, self.ref.location) from error
        except DeltaError as error:
            if "feature" in str(error).lower():
                return False
            raise write_problem(error, self.ref.location) from error
        return True

    def _commit(self) -> CommitProperties | None:
        return CommitProperties(custom_metadata={"userMetadata": self.stamp}) if self.stamp else None

    def _through_spark(self) -> TableSink:
        return TableSink(self.ref, self.relation, self.stamp)

    def _frame(self, rows: pa.Table) -> Any:
        return self._get_spark().createDataFrame(rows)
