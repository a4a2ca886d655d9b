"""Delta tables as Arrow tables, read and written: without Spark where they are folders, else through the session."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lakerank.cli.errors import UserError
from lakerank.cli.extras import require
from lakerank.lake.delta_table import TableRef, TableSink, again, has_scheme, is_catalog_name, write_problem
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
# A store that does not answer, or wants credentials, is said after seconds; delta-rs would try for minutes.
_PATIENCE = {"max_retries": "3", "retry_timeout": "20s", "connect_timeout": "5s"}
_LONGEST_HEADER = 1 << 20  # bytes of a CSV file's first line
GetSpark = Callable[[], "SparkSession"]  # called only for tables that need it


def _deltalake() -> Any:
    return require("deltalake", extra="search")


def in_folder(
    ref: TableRef, choose: Callable[[Mapping[str, str]], Mapping[str, str] | None], most: int
) -> pa.Table | None:
    """Read columns of a Delta table in a local folder without Spark; None where Spark has to read it.

    Args:
        ref: the table.
        choose: from the columns (name → type, as Arrow calls it) to those wanted (new name → name); None: not this way.
        most: rows; a larger table is for Spark.
    """
    if ref.needs_spark or has_scheme(ref.path):
        return None
    deltalake = _deltalake()
    try:
        table = deltalake.DeltaTable(ref.path, version=ref.pinned)
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


def read_any(flag: str, where: str, get_spark: GetSpark) -> pa.Table:
    """Read a table that people keep by hand: a Delta table, a CSV file, whose columns are text then, or Parquet files.

    Args:
        flag: that names it, for messages.
        where: place of a table, or of a local file.
        get_spark: gives a session, for tables that only Spark can read.

    Raises:
        UserError: there is nothing, or it cannot be read.
    """
    path = Path(where.removeprefix("file:"))
    if has_scheme(where) or (is_catalog_name(where) and not path.exists()):
        ref, spark = TableRef(where), get_spark()
        if not ref.exists(spark):
            raise UserError(f"{flag} {where}: no such table: give a Delta table or a local CSV or Parquet file")
        return cast(pa.Table, ref.frame(spark).toArrow())
    if not path.exists():
        raise UserError(f"{flag} {where}: no such table or file")
    try:
        if (path / "_delta_log").is_dir():
            return _deltalake().DeltaTable(str(path)).to_pyarrow_table()
        if path.suffix == ".parquet" or path.is_dir():
            return pyarrow.parquet.read_table(path)
        with path.open("rb") as file:
            head = _header(file.readline(_LONGEST_HEADER), f"{flag} {where}")
        names = {one for name in head.split(",") for one in (name, name.strip(), name.strip().strip('"'))}
        options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        return pyarrow.csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException, _deltalake().exceptions.DeltaError) as error:
        raise UserError(f"{flag} {where}: cannot read it ({' '.join(str(error).split())[:200]})") from error


def _header(line: bytes, what: str) -> str:
    """Return the first line of a CSV file as text.

    Raises:
        UserError: it is none.
    """
    try:
        return line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: its first line is not UTF-8: save it as UTF-8") from error


class NoTableError(UserError):
    """There is no such table."""


class ArrowTable:
    """One version of a Delta table, opened for reading.

    Attributes:
        ref: where it is; opened at the version it is pinned to, else at the newest.
        relation: what it is.
        version: the version that is read.
        rows_version: the version that made these rows, if the reference says so; else `version`.
        identity: the table's own id, which no table made anew in the same place has.
    """

    def __init__(self, ref: TableRef, relation: Relation, get_spark: GetSpark, version: int | None = None) -> None:
        version = ref.pinned if version is None else version
        self.ref, self.relation = ref, relation
        self._get_spark = get_spark
        self._delta: DeltaTable | None = None
        if ref.needs_spark:
            spark = get_spark()
            ref.read(spark, relation)
            self.version = TableRef(ref.location).version(spark) if version is None else version
            self.identity = ref.identity(spark)
        else:
            self._delta = _opened(ref, version, relation)
            self.version, self.identity = self._delta.version(), str(self._delta.metadata().id)
        self.rows_version = self.version if ref.rows_version is None else ref.rows_version

    @classmethod
    def identity_of(cls, ref: TableRef, get_spark: GetSpark, version: int) -> str:
        """Return the id that a table has at a version; empty if that version is not kept."""
        if ref.needs_spark:
            return ref.identity(get_spark())
        try:
            return str(_opened(ref, version).metadata().id)
        except UserError:
            return ""

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
        try:
            return self._delta.to_pyarrow_table(columns=list(columns), filters=list(where) if where else None)
        except FileNotFoundError as error:
            raise files_gone(self.ref.location, self.version, self.relation) from error
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{self.ref.location}: a file of it is damaged ({' '.join(str(error).split())[:200]})"
            ) from error


def _opened(ref: TableRef, version: int | None, relation: Relation | None = None) -> DeltaTable:
    deltalake = _deltalake()
    try:
        options = _PATIENCE if has_scheme(ref.path) else None
        return cast("DeltaTable", deltalake.DeltaTable(ref.path, version=version, storage_options=options))
    except deltalake.exceptions.TableNotFoundError as error:
        if relation is None:
            raise NoTableError(f"no Delta table at {ref.location}") from error
        raise NoTableError(
            f"no Delta table `{relation.name}` at {ref.location}: run {relation.producer} first"
        ) from error
    except (deltalake.exceptions.DeltaError, OSError) as error:
        what = "be opened" if version is None else f"read version {version}"
        raise UserError(f"{ref.location}: cannot {what}: {error}") from error


def files_gone(location: str, version: int, relation: Relation) -> UserError:
    """Return the error of a version whose files were removed."""
    return UserError(
        f"{location}: files of version {version} are gone (VACUUM removes those of versions that are not the newest, "
        f"see docs/maintenance.md): run {relation.producer} again"
    )


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
        if not again(lambda: self._direct("overwrite", rows)):
            self._through_spark().write(self._frame(rows))

    def append(self, table: pa.Table) -> None:
        """Add rows; errors as `write`."""
        rows = self.relation.enforce(table, self.ref.location)
        if not again(lambda: self._direct("append", rows)):
            self._through_spark().append(self._frame(rows))

    @classmethod
    def compact(cls, ref: TableRef) -> None:
        """Make small files of a table in a folder large ones, if nobody else changes it meanwhile."""
        if ref.needs_spark or has_scheme(ref.path):
            return
        with suppress(_deltalake().exceptions.DeltaError):  # it is as good as before
            _opened(ref, None).optimize.compact()

    @classmethod
    def restore(cls, ref: TableRef, version: int, get_spark: GetSpark, stamp: str) -> None:
        """Give a table the rows of an earlier version again, in a commit of its own.

        Raises:
            UserError: that version or files of it are gone.
        """
        if not ref.needs_spark and not has_scheme(ref.path):
            deltalake = _deltalake()
            properties = deltalake.CommitProperties(custom_metadata={"userMetadata": stamp})
            try:
                again(lambda: _opened(ref, None).restore(version, commit_properties=properties))
                return
            except deltalake.exceptions.DeltaError as error:
                if "feature" not in str(error).lower():
                    raise UserError(f"{ref.location}: cannot go back to version {version}: {error}") from error
        ref.restore(get_spark(), version, stamp)

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
        return not self.ref.needs_spark and self.ref.folder is not None

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
