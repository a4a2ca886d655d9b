"""Delta tables as Arrow tables: without Spark where the table is a folder, else through the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef
from lakerank.lake.schemas import Relation

if TYPE_CHECKING:  # search and serve run without pyspark
    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import SparkSession

_TESTS: dict[str, Callable[[SparkColumn, Any], SparkColumn]] = {
    "=": lambda column, value: column == value,
    ">=": lambda column, value: column >= value,
    "in": lambda column, value: column.isin(value),
}
GetSpark = Callable[[], "SparkSession"]  # called only for tables that need it


def in_folder(
    location: str, choose: Callable[[Mapping[str, str]], Mapping[str, str] | None], most: int
) -> pa.Table | None:
    """Columns of a Delta table in a folder of this machine, read without Spark; None where Spark has to read it.

    Args:
        location: the table.
        choose: from the columns (name → type, as Arrow calls it) to those wanted (new name → name); None: not this way.
        most: rows; a larger table is for Spark.
    """
    from lakerank.lake.text_files import has_scheme  # here: it needs pyspark

    ref = TableRef(location)
    if ref.needs_spark or has_scheme(location):
        return None
    try:
        table = DeltaTable(ref.path)
        types = {field.name: str(field.type) for field in pa.schema(table.schema().to_arrow())}
        wanted = choose(types)
        if wanted is None or table.count() > most:
            return None
        found = table.to_pyarrow_table(columns=list(dict.fromkeys(wanted.values())))
    except (DeltaError, OSError, ValueError):  # no table, or one with features that delta-rs does not know
        return None
    return pa.table({new: found.column(name) for new, name in wanted.items()})


class NoTableError(UserError):
    """There is no such table."""


class ArrowTable:
    """One version of a Delta table, opened for reading.

    Attributes:
        ref: where it is.
        relation: what it is.
        version: the version that is read.
        stamp: what the writer of this version said it was (`TableSink(..., stamp=)`), or empty.
        identity: the table's own id, which no table made anew in the same place has.
    """

    def __init__(self, ref: TableRef, relation: Relation, get_spark: GetSpark, version: int | None = None) -> None:
        self.ref, self.relation = ref, relation
        self._get_spark = get_spark
        self._delta: DeltaTable | None = None
        if ref.needs_spark:
            spark = get_spark()
            ref.read(spark, relation)
            self.version = ref.version(spark) if version is None else version
            self.stamp, self.identity = ref.stamp(spark), ref.identity(spark)
            return
        try:
            self._delta = DeltaTable(ref.path, version=version)
        except TableNotFoundError as error:
            raise NoTableError(
                f"no Delta table `{relation.name}` at {ref.location}: run {relation.producer} first"
            ) from error
        except DeltaError as error:
            raise UserError(f"{ref.location}: cannot read version {version}: {error}") from error
        self.version = self._delta.version()
        # Opened at an older version, delta-rs numbers the whole table's commits wrongly.
        history = self._delta.history(1) if version is None else DeltaTable(ref.path).history()
        written = next((commit for commit in history if commit["version"] == self.version), {})
        self.stamp = str(written.get("userMetadata") or "")
        self.identity = str(self._delta.metadata().id)

    @classmethod
    def find(cls, ref: TableRef, relation: Relation, get_spark: GetSpark) -> ArrowTable | None:
        """The newest version of a table, or None if there is no such table."""
        if ref.needs_spark:
            return cls(ref, relation, get_spark) if ref.exists(get_spark()) else None
        try:
            return cls(ref, relation, get_spark)
        except NoTableError:
            return None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        if self._delta is None:
            return self.ref.read(self._get_spark(), self.relation, self.version).count()
        return int(self._delta.count())

    def read(self, columns: Sequence[str], where: Sequence[tuple[str, str, Any]] | None = None) -> pa.Table:
        """Some of its columns.

        Args:
            columns: their names.
            where: (column, `=`, `>=` or `in`, value) that all must hold.

        Raises:
            UserError: a column is missing.
        """
        if self._delta is None:
            from pyspark.sql import functions as F

            frame = self.ref.read(self._get_spark(), self.relation, self.version)
            for column, operator, value in where or ():
                frame = frame.where(_TESTS[operator](F.col(column), value))
            return cast(pa.Table, frame.select(*columns).toArrow())
        have = {field.name for field in self._delta.schema().fields}
        if missing := [name for name in columns if name not in have]:
            raise UserError(f"{self.ref.location}: column `{missing[0]}` is missing; run {self.relation.producer} anew")
        return self._delta.to_pyarrow_table(columns=list(columns), filters=list(where) if where else None)
