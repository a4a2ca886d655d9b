"""Delta tables as Arrow tables, read and written: without Spark where they are folders, else through the session."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from lakerank.cli.errors import UserError
from lakerank.cli.extras import require
from lakerank.lake.delta_table import TableRef, TableSink, has_scheme, write_problem
from lakerank.lake.schemas import Relation

if TYPE_CHECKING:  # tables in a folder are read where neither is installed
    from deltalake import CommitProperties, DeltaTable
    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import SparkSession

_TESTS: dict[str, Callable[[SparkColumn, Any], SparkColumn]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "in": lambda column, value: column.isin(value),
}
GetSpark = Callable[[], "SparkSession"]  # called only for tables that need it


def _deltalake() -> Any:
    return require("deltalake", extra="search")


def in_folder(
    location: str, choose: Callable[[Mapping[str, str]], Mapping[str, str] | None], most: int
) -> pa.Table | None:
    """Read columns of a Delta table in a local folder without Spark; None where Spark has to read it.

    Args:
        location: the table.
        choose: from the columns (name → type, as Arrow calls it) to those wanted (new name → name); None: not this way.
        most: rows; a larger table is for Spark.
    """
    ref = TableRef(location)
    if ref.needs_spark or has_scheme(location):
        return None
    deltalake = _deltalake()
    try:
        table = deltalake.DeltaTable(ref.path)
        types = {field.name: str(field.type) for field in pa.schema(table.schema().to_arrow())}
        wanted = choose(types)
        if wanted is None or table.count() > most:
            return None
        found = table.to_pyarrow_table(columns=list(dict.fromkeys(wanted.values())))
    except (
        deltalake.exceptions.DeltaError,
        OSError,
        ValueError,
    ):  # no table, or one with features that delta-rs does not know
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
        deltalake = _deltalake()
        try:
            self._delta = deltalake.DeltaTable(ref.path, version=version)
        except deltalake.exceptions.TableNotFoundError as error:
            raise NoTableError(
                f"no Delta table `{relation.name}` at {ref.location}: run {relation.producer} first"
            ) from error
        except deltalake.exceptions.DeltaError as error:
            raise UserError(f"{ref.location}: cannot read version {version}: {error}") from error
        self.version = self._delta.version()
        # Opened at an older version, delta-rs numbers the whole table's commits wrongly.
        history = self._delta.history(1) if version is None else deltalake.DeltaTable(ref.path).history()
        written = next((commit for commit in history if commit["version"] == self.version), {})
        self.stamp = str(written.get("userMetadata") or "")
        self.identity = str(self._delta.metadata().id)

    @classmethod
    def find(cls, ref: TableRef, relation: Relation, get_spark: GetSpark) -> ArrowTable | None:
        """Open the newest version of a table; None if there is no such table."""
        if ref.needs_spark:
            return cls(ref, relation, get_spark) if ref.exists(get_spark()) else None
        try:
            return cls(ref, relation, get_spark)
        except NoTableError:
            return None

    @property
    def rows(self) -> int:
        """Count its rows."""
        if self._delta is None:
            return self.ref.read(self._get_spark(), self.relation, self.version).count()
        return int(self._delta.count())

    def read(self, columns: Sequence[str], where: Sequence[tuple[str, str, Any]] | None = None) -> pa.Table:
        """Read some of its columns.

        Args:
            columns: their names.
            where: (column, `=`, `>=` or `in`, value) that all must hold.

        Raises:
            UserError: a column is missing.
        """
        if self._delta is None:
            frame = self.ref.read(self._get_spark(), self.relation, self.version)
            for column, test, value in where or ():
                frame = frame.where(_TESTS[test](frame[column], value))
            return cast(pa.Table, frame.select(*columns).toArrow())
        have = {field.name for field in self._delta.schema().fields}
        if missing := [name for name in columns if name not in have]:
            raise UserError(f"{self.ref.location}: column `{missing[0]}` is missing; run {self.relation.producer} anew")
        return self._delta.to_pyarrow_table(columns=list(columns), filters=list(where) if where else None)


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
        rows = self.relation.enforce(table, self.ref.location)
        if not self._direct("overwrite", rows):
            self._through_spark().write(self._frame(rows))

    def append(self, table: pa.Table) -> None:
        """Add rows; errors as `write`."""
        rows = self.relation.enforce(table, self.ref.location)
        if not self._direct("append", rows):
            self._through_spark().append(self._frame(rows))

    def merge(self, table: pa.Table, removed: list[Any]) -> None:
        """Fold rows into the table by its key, and take out those with the keys `removed`; errors as `write`.

        Raises:
            ValueError: the relation has no key of one column.
        """
        (key,) = self.relation.keys
        rows = self.relation.enforce(table, self.ref.location)
        if not self._local():
            from pyspark.sql import functions as F

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
        deltalake = _deltalake()
        try:
            merged = deltalake.DeltaTable(self.ref.path).merge(
                source, f"t.{key} = s.{key}", source_alias="s", target_alias="t", commit_properties=self._commit()
            )
            merged = merged.when_matched_delete("s.removed").when_matched_update(columns, "NOT s.removed")
            merged.when_not_matched_insert(columns, "NOT s.removed").execute()
        except (OSError, deltalake.exceptions.DeltaError) as error:
            raise write_problem(error, self.ref.location) from error

    def _local(self) -> bool:
        location = self.ref.location
        return not (self.ref.needs_spark or "://" in location or location.startswith("dbfs:"))

    def _direct(self, mode: str, rows: pa.Table) -> bool:
        """Tell whether it could be written without Spark, which knows every feature a table may have."""
        if not self._local():
            return False
        deltalake = _deltalake()
        try:
            deltalake.write_deltalake(
                self.ref.path,
                rows,
                mode=mode,
                schema_mode="overwrite" if mode == "overwrite" else None,
                description=self.relation.meaning,
                commit_properties=self._commit(),
            )
        except OSError as error:
            raise write_problem(error, self.ref.location) from error
        except deltalake.exceptions.DeltaError as error:
            if "feature" in str(error).lower():
                return False
            raise write_problem(error, self.ref.location) from error
        return True

    def _commit(self) -> CommitProperties | None:
        return _deltalake().CommitProperties(custom_metadata={"userMetadata": self.stamp}) if self.stamp else None

    def _through_spark(self) -> TableSink:
        return TableSink(self.ref, self.relation, self.stamp)

    def _frame(self, rows: pa.Table) -> Any:
        return self._get_spark().createDataFrame(rows)
