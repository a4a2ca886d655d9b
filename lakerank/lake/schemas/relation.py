"""A table's columns, written once, and everything that is derived from them: schemas, comments and checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, overload

import pyarrow as pa

from lakerank.cli.errors import UserError

if TYPE_CHECKING:  # reading tables must work where pyspark is not installed
    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

# `id`: whole numbers stay numbers, anything else is kept as text; jobs map ids to dense indexes inside.
ID = "id"
_ID_TYPES = ("bigint", "string")
_WHOLE = re.compile(r"-?[0-9]{1,19}")
# Lossless on the way in: a frame may bring the type on the left where the contract says the right.
_WIDENS = {
    "bigint": ("int", "smallint", "tinyint"),
    "int": ("smallint", "tinyint"),
    "double": ("float", "int", "smallint", "tinyint"),
    "float": ("smallint", "tinyint"),
}
_ARROW_TYPES = {
    "bigint": pa.int64(), "int": pa.int32(), "smallint": pa.int16(), "tinyint": pa.int8(),
    "double": pa.float64(), "float": pa.float32(), "boolean": pa.bool_(), "string": pa.string(),
    "binary": pa.binary(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip


def whole_id(text: str) -> int | None:
    """Read an id that is a whole number of 64 bits; None if the text is none."""
    number = int(text) if _WHOLE.fullmatch(text) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type of a Spark SQL type, e.g. `array<int>`."""
    if name.startswith("array<"):
        return pa.list_(arrow_type(name[len("array<") : -1]))
    return _ARROW_TYPES[name]


@dataclass(frozen=True)
class Column:
    """One column: Spark SQL type (or `id`), what it means, whether it may be null, and the label search shows it under.

    `shown` is empty for columns that are not shown with a search result.
    """

    name: str
    type: str
    meaning: str
    nullable: bool = False
    shown: str = ""

    @property
    def comment(self) -> dict[str, str]:
        """The meaning of the column, as the metadata of a field of Spark's and Arrow's schemas, which Delta keeps."""
        return {"comment": self.meaning}


@dataclass(frozen=True)
class Relation:
    """A table's contract.

    Attributes:
        name: the table's name in the lake.
        meaning: one sentence.
        columns: in the order they are written.
        keys: columns that identify a row; empty if rows may repeat.
        producer: the job that writes it.
        grows_with: what the number of rows follows.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    producer: str
    grows_with: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the order they are written."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return one column.

        Raises:
            KeyError: there is none of this name.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")

    def ddl(self, *columns: str, id_type: str = "bigint") -> str:
        """Return the columns as Spark's DDL has them, e.g. for `mapInArrow`: `id bigint, pagerank double`.

        Args:
            columns: only these, in this order; all if none is named.
            id_type: the type of `id` columns, `bigint` or `string`.
        """
        return ", ".join(f"`{c.name}` {id_type if c.type == ID else c.type}" for c in self._chosen(columns))

    def schema(self, *columns: str, id_type: str = "bigint") -> StructType:
        """Return the Spark schema; arguments as `ddl`."""
        from pyspark.sql.types import StructType

        return cast(StructType, StructType.fromDDL(self.ddl(*columns, id_type=id_type)))

    def arrow_schema(self, *columns: str, id_type: str = "bigint", comments: bool = False) -> pa.Schema:
        """Return the Arrow schema, which needs no session as parsing Spark's DDL would.

        Args:
            columns: only these, in this order; all if none is named.
            id_type: the type of `id` columns, `bigint` or `string`.
            comments: say in each field's metadata what the column means, as Delta tables keep it.
        """
        return pa.schema(
            [
                pa.field(
                    column.name,
                    arrow_type(id_type if column.type == ID else column.type),
                    metadata=column.comment if comments else None,
                )
                for column in self._chosen(columns)
            ]
        )

    def _chosen(self, names: tuple[str, ...]) -> tuple[Column, ...]:
        return tuple(map(self.column, names)) if names else self.columns

    @overload
    def check(self, rows: DataFrame, where: str) -> DataFrame: ...

    @overload
    def check(self, rows: pa.Table, where: str) -> pa.Table: ...

    def check(self, rows: Any, where: str) -> Any:
        """Return `rows` with exactly this relation's columns, or raise.

        Args:
            rows: a frame or an Arrow table that has at least these columns; narrower number types are widened. In
                Arrow tables `id` columns are int64 or strings.
            where: what it is, for the message, e.g. `./lake/ratings`.

        Raises:
            UserError: a column is missing or has a type that cannot be converted without loss.
        """
        if isinstance(rows, pa.Table):
            return self._check_arrow(rows, where)
        return self._check_spark(rows, where)

    @overload
    def enforce(self, rows: DataFrame, where: str) -> DataFrame: ...

    @overload
    def enforce(self, rows: pa.Table, where: str) -> pa.Table: ...

    def enforce(self, rows: Any, where: str) -> Any:
        """Check as `check` does, refuse nulls where none may be, and attach what each column means, before writing.

        Of a frame the nulls show when it is written, which fails then and names the column.

        Raises:
            UserError: as `check`, or a null stands in an Arrow table where none may.
        """
        if not isinstance(rows, pa.Table):
            return self._enforce_spark(rows, where)
        checked = self.check(rows, where)
        for column in self.columns:
            if not column.nullable and checked[column.name].null_count:
                raise UserError(f"{where}: `{self.name}.{column.name}` is null; nothing was written")
        described = zip(checked.schema, self.columns, strict=True)
        return checked.cast(pa.schema([field.with_metadata(column.comment) for field, column in described]))

    def _require(self, have: list[str], where: str) -> None:
        for column in self.columns:
            if column.name not in have:
                raise UserError(
                    f"{where}: column `{column.name}` is missing; `{self.name}` needs "
                    f"{', '.join(self.names)} and this has {', '.join(have)}"
                )

    def _check_arrow(self, table: pa.Table, where: str) -> pa.Table:
        self._require(table.column_names, where)
        columns = []
        for column in self.columns:
            values = table[column.name]
            wanted = _id_type(values.type) if column.type == ID else arrow_type(column.type)
            try:
                columns.append(values.cast(wanted))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise UserError(
                    f"{where}: column `{column.name}` is not as `{self.name}` needs it ({error})"
                ) from error
        return pa.table(columns, names=list(self.names))

    def _check_spark(self, df: DataFrame, where: str) -> DataFrame:
        have = {field.name: field.dataType.simpleString() for field in df.schema.fields}
        self._require(list(have), where)
        return df.select(*(self._widened(column, have[column.name], where) for column in self.columns))

    def _widened(self, column: Column, actual: str, where: str) -> SparkColumn:
        from pyspark.sql import functions as F

        wanted = _ID_TYPES if column.type == ID else (column.type,)
        if actual in wanted:
            return F.col(column.name)
        for target in wanted:
            if actual in _WIDENS.get(target, ()):
                return F.col(column.name).cast(target).alias(column.name)
        raise UserError(f"{where}: column `{column.name}` is {actual}, but `{self.name}` needs {' or '.join(wanted)}")

    def _enforce_spark(self, df: DataFrame, where: str) -> DataFrame:
        from pyspark.sql import functions as F

        checked = self.check(df, where)
        guarded: list[SparkColumn] = []
        for field, column in zip(checked.schema.fields, self.columns, strict=True):
            value = F.col(column.name)
            if not column.nullable:
                missing = F.raise_error(F.lit(f"{where}: `{self.name}.{column.name}` is null"))
                value = F.coalesce(value, missing.cast(field.dataType))
            # By name: on Spark Connect strings out of Python functions carry a collation, which other readers
            # of Delta refuse, and only a type written out is without one.
            plain = value.cast(field.dataType.simpleString())
            guarded.append(plain.alias(column.name, metadata=column.comment))
        return checked.select(*guarded)


def _id_type(actual: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_string(actual) or pa.types.is_large_string(actual) else pa.int64()


def rejected_rows(name: str, producer: str, what: str) -> Relation:
    """Return the contract of a table of input rows that were refused."""
    return Relation(
        name,
        f"{what} that were not used, each with its reason.",
        (
            Column("source", "string", "file the row came from"),
            Column("line", "bigint", "line (text, from 1) or row (Parquet, from 1) in that file", nullable=True),
            Column("raw", "string", "the row as it stood", nullable=True),
            Column("reason", "string", "why it was rejected"),
        ),
        (),
        producer,
        "bad input rows",
    )
