"""Delta tables as Arrow tables, read and written: without Spark where they are folders, else through the session."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lakerank.cli.errors import UserError, files_gone_problem
from lakerank.cli.extras import require
from lakerank.cli.stores import delta_options, has_scheme, is_in_object_store, local_copy
from lakerank.lake.delta_table import TableRef, TableSink, again, is_catalog_name, write_problem
from lakerank.lake.schemas import PUBLICATIONS, Relation

if TYPE_CHECKING:  # tables in a folder are read where neither is installed
    from deltalake import CommitProperties, DeltaTable
    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import DataFrame, SparkSession

T = TypeVar("T")
_TESTS: dict[str, Callable[[SparkColumn, Any], SparkColumn]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "in": lambda column, value: column.isin(value),
}
_LONGEST_HEADER = 1 << 20  # bytes of a CSV file's first line
GetSpark = Callable[[], "SparkSession"]  # called only for tables that need it
_AS_THEY_ARE = frozenset({"timestampNtz"})  # features of readers with which a table's files still are its rows
# delta-rs's words for tables that only Spark can open or write, and for files that were removed.
_BEYOND = re.compile(r"not (?:yet )?supported|Unsupported (?:table|reader|writer) feature|maximum supported version")
_GONE = re.compile(r"[Ff]ile not found|Object at location .* not found|No such file or directory", re.DOTALL)


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
        found = _rows(table, list(dict.fromkeys(wanted.values())))
    except (
        deltalake.exceptions.DeltaError,
        OSError,
        ValueError,
        pa.ArrowException,
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
        if not ref.exists(spark) and is_in_object_store(where):
            with local_copy(where, flag) as file:
                return read_any(flag, str(file), get_spark)
        if not ref.exists(spark):
            raise UserError(f"{flag} {where}: no such table: give a Delta table, or a CSV or Parquet file")
        return cast(pa.Table, ref.frame(spark).toArrow())
    if not path.exists():
        raise UserError(f"{flag} {where}: no such table or file")
    if (path / "_delta_log").is_dir():
        return _read_whole(flag, TableRef(f"./{path}" if is_catalog_name(str(path)) else str(path)), get_spark)
    try:
        if path.suffix == ".parquet" or path.is_dir():
            return pyarrow.parquet.read_table(path)
        with path.open("rb") as file:
            head = _header(file.readline(_LONGEST_HEADER), f"{flag} {where}")
        names = {one for name in head.split(",") for one in (name, name.strip(), name.strip().strip('"'))}
        options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        return pyarrow.csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{flag} {where}: cannot read it ({' '.join(str(error).split())[:200]})") from error


def _read_whole(flag: str, ref: TableRef, get_spark: GetSpark) -> pa.Table:
    """Read all of a table in a folder, of whatever columns; errors as `read_any`."""
    if not (why := ref.why_spark):
        try:
            table = _opened(ref, None)
            return _rows(table, [field.name for field in table.schema().fields])
        except BeyondDeltaRsError as error:
            why = str(error)
        except (OSError, pa.ArrowException, _deltalake().exceptions.DeltaError) as error:
            if not (why := _beyond(error)):
                said = " ".join(str(error).split())[:200]
                raise UserError(f"{flag} {ref.location}: cannot read it ({said})") from error
    return cast(pa.Table, ref.frame(session_for(ref, why, get_spark)).toArrow())


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


class NoSessionError(UserError):
    """There is no Spark session, and none may be started here."""


class BeyondDeltaRsError(UserError):
    """A table has a feature that delta-rs does not know; the message says which, in words that follow "the table"."""


class UnreadableError(UserError):
    """A file of a table cannot be read.

    Args:
        location: of the table.
        message: what is wrong and what to do.
    """

    def __init__(self, location: str, message: str) -> None:
        super().__init__(message)
        self.location = location


class FilesGoneError(UnreadableError):
    """Files of a version of a table were removed.

    Args:
        location: of the table.
        version: that was to be read.
        relation: what it is.
    """

    def __init__(self, location: str, version: int, relation: Relation) -> None:
        told = f"{location}: files of version {version} are gone"
        if relation.name == PUBLICATIONS.name:
            super().__init__(
                location,
                f"{told}: read again if somebody has just cleaned it up; else put them back from a copy, or remove "
                f"this folder and run again the jobs whose results are needed, first those that read files",
            )
            return
        super().__init__(
            location,
            f"{told} (VACUUM removes those of versions that are not the newest, see docs/maintenance.md): "
            f"run {relation.producer} again",
        )


def no_spark() -> Any:
    """Refuse to give a session: a `GetSpark` for where none is wanted.

    Raises:
        NoSessionError: always.
    """
    raise NoSessionError("a Spark session is needed: run this with spark-submit or --remote")


def session_for(ref: TableRef, why: str, get_spark: GetSpark) -> SparkSession:
    """Return a session for a table that delta-rs cannot open.

    Args:
        ref: the table.
        why: it cannot, in words that follow "the table".
        get_spark: gives the session.

    Raises:
        NoSessionError: there is none; the message names the table and says why it needs one.
    """
    try:
        return get_spark()
    except NoSessionError as error:
        raise NoSessionError(
            f"{ref.location}: {why}, so it is read and written through Spark: run this with spark-submit or --remote"
        ) from error


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
        self._why_spark = ref.why_spark
        if not self._why_spark:
            try:
                self._delta = _opened(ref, version, relation)
                self.version, self.identity = self._delta.version(), str(self._delta.metadata().id)
            except BeyondDeltaRsError as error:
                self._why_spark = str(error)
        if self._delta is None:
            spark = self._session()
            ref.read(spark, relation)
            self.version = TableRef(ref.location).version(spark) if version is None else version
            self.identity = ref.identity(spark)
        self.rows_version = self.version if ref.rows_version is None else ref.rows_version

    @classmethod
    def identity_of(cls, ref: TableRef, get_spark: GetSpark, version: int) -> str:
        """Return the id that a table has at a version; empty if that version is not kept."""
        why = ref.why_spark
        try:
            if not why:
                return str(_opened(ref, version).metadata().id)
        except BeyondDeltaRsError as error:
            why = str(error)
        except UserError:
            return ""
        return ref.identity(session_for(ref, why, get_spark))

    @classmethod
    def find(cls, ref: TableRef, relation: Relation, get_spark: GetSpark) -> ArrowTable | None:
        """Open the newest version of a table; None if there is no such table."""
        if why := ref.why_spark:
            return cls(ref, relation, get_spark) if ref.exists(session_for(ref, why, get_spark)) else None
        try:
            return cls(ref, relation, get_spark)
        except NoTableError:
            return None

    @property
    def rows(self) -> int:
        """Count its rows."""
        if self._delta is None:
            return self._from_spark(lambda frame: int(frame.count()))
        return int(self._delta.count()) if _is_as_written(self._delta) else len(self.read([self.relation.names[0]]))

    def read(self, columns: Sequence[str], where: Sequence[tuple[str, str, Any]] | None = None) -> pa.Table:
        """Read some of its columns.

        Args:
            columns: their names.
            where: (column, `=`, `>=` or `in`, value) that all must hold.

        Raises:
            UserError: a column is missing, or a file is gone or damaged.
        """
        if self._delta is None:
            return self._read_through_spark(columns, where)
        have = {field.name for field in self._delta.schema().fields}
        if missing := [name for name in columns if name not in have]:
            raise UserError(f"{self.ref.location}: column `{missing[0]}` is missing; run {self.relation.producer} anew")
        try:
            return _rows(self._delta, list(columns), where)
        except (OSError, pa.ArrowException, _deltalake().exceptions.DeltaError) as error:
            if isinstance(error, FileNotFoundError) or _GONE.search(str(error)):
                raise FilesGoneError(self.ref.location, self.version, self.relation) from error
            if not (why := _beyond(error)):
                said = " ".join(str(error).split())[:200]
                raise UnreadableError(
                    self.ref.location, f"{self.ref.location}: a file of it is damaged ({said})"
                ) from error
        self._delta, self._why_spark = None, why
        return self._read_through_spark(columns, where)

    def require_files(self) -> None:
        """Make sure that all files of the version are there.

        Raises:
            FilesGoneError: one is not.
        """
        column, folder = self.relation.names[0], self.ref.folder
        if self._delta is None:
            self._from_spark(lambda frame: frame.select(column).write.format("noop").mode("overwrite").save())
        elif folder is None:
            self.read([column])
        else:
            paths = pa.table(self._delta.get_add_actions())["path"].to_pylist()
            if any(not (folder / unquote(path)).exists() for path in paths):
                raise FilesGoneError(self.ref.location, self.version, self.relation)

    def _session(self) -> SparkSession:
        return session_for(self.ref, self._why_spark, self._get_spark)

    def _read_through_spark(self, columns: Sequence[str], where: Sequence[tuple[str, str, Any]] | None) -> pa.Table:
        def collect(frame: DataFrame) -> pa.Table:
            for column, test, value in where or ():
                frame = frame.where(_TESTS[test](frame[column], value))
            return frame.select(*columns).toArrow()

        return self._from_spark(collect)

    def _from_spark(self, collect: Callable[[DataFrame], T]) -> T:
        frame = self.ref.read(self._session(), self.relation, self.version)
        try:
            return collect(frame)
        except Exception as error:  # py4j, Connect and Spark each have their own class for it
            if files_gone_problem(error):
                raise FilesGoneError(self.ref.location, self.version, self.relation) from error
            raise


def _is_as_written(table: DeltaTable) -> bool:
    """Tell whether the rows of a table are those of its Parquet files: none deleted by a vector, no column renamed."""
    protocol, settings = table.protocol(), table.metadata().configuration
    is_mapped = settings.get("delta.columnMapping.mode", "none") != "none"
    return not is_mapped and set(protocol.reader_features or ()) <= _AS_THEY_ARE


def _rows(table: DeltaTable, columns: list[str], where: Sequence[tuple[str, str, Any]] | None = None) -> pa.Table:
    """Read columns of a table; see `ArrowTable.read`.

    pyarrow reads faster, but knows no deletion vectors, and takes mapped columns for empty ones; delta-rs's own queries
    know both.
    """
    if _is_as_written(table):
        return table.to_pyarrow_table(columns=columns, filters=list(where) if where else None)
    names = dict.fromkeys((*columns, *(column for column, _, _ in where or ())))
    listed = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    asked = _deltalake().QueryBuilder().register("t", table).execute(f"SELECT {listed} FROM t")  # noqa: S608 - quoted
    batches = pa.RecordBatchReader.from_stream(asked)
    chosen = pyarrow.parquet.filters_to_expression(list(where)) if where else None
    found = (pa.Table.from_batches([batch]) for batch in batches)
    tables = [one if chosen is None else one.filter(chosen) for one in found]
    types = pa.schema(table.schema().to_arrow())
    wanted = pa.schema([pa.field(name, types.field(name).type) for name in columns])
    whole = pa.concat_tables(tables) if tables else batches.schema.empty_table()
    return whole.select(columns).cast(wanted)


def _beyond(error: Exception) -> str:
    """Return why only Spark can open or write a table, from delta-rs's words; empty if the error is of another kind."""
    if not isinstance(error, _deltalake().exceptions.DeltaError) or not _BEYOND.search(str(error)):
        return ""
    return f"it has a feature that delta-rs does not know ({' '.join(str(error).split())[:200]})"


def _opened(ref: TableRef, version: int | None, relation: Relation | None = None) -> DeltaTable:
    deltalake = _deltalake()
    try:
        options = delta_options(ref.path) or None
        return cast("DeltaTable", deltalake.DeltaTable(ref.path, version=version, storage_options=options))
    except deltalake.exceptions.TableNotFoundError as error:
        if relation is None:
            raise NoTableError(f"no Delta table at {ref.location}") from error
        raise NoTableError(
            f"no Delta table `{relation.name}` at {ref.location}: run {relation.producer} first"
        ) from error
    except (deltalake.exceptions.DeltaError, OSError) as error:
        if why := _beyond(error):
            raise BeyondDeltaRsError(why) from error
        what = "be opened" if version is None else f"read version {version}"
        raise UserError(f"{ref.location}: cannot {what}: {error}") from error


def _is_direct(ref: TableRef) -> bool:
    """Tell whether delta-rs writes a table: in a folder, and in a store that knows conditional puts."""
    return not ref.why_spark and (ref.folder is not None or is_in_object_store(ref.path))


class ArrowSink:
    """A place to write one relation to from memory; each call is one commit, as with `TableSink`."""

    def __init__(self, ref: TableRef, relation: Relation, get_spark: GetSpark, stamp: str = "") -> None:
        self.ref, self.relation, self.stamp = ref, relation, stamp
        self._get_spark, self._why_spark = get_spark, ref.why_spark or "delta-rs does not write to such a store"

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
        if not _is_direct(ref):
            return
        # It is as good as before, also where the disk is full.
        with suppress(_deltalake().exceptions.DeltaError, OSError, UserError, pa.ArrowException):
            _opened(ref, None).optimize.compact()

    @classmethod
    def restore(cls, ref: TableRef, version: int, get_spark: GetSpark, stamp: str) -> None:
        """Give a table the rows of an earlier version again, in a commit of its own.

        Raises:
            UserError: that version or files of it are gone.
        """
        why = ref.why_spark or "delta-rs does not write to such a store"
        if _is_direct(ref):
            deltalake = _deltalake()
            properties = deltalake.CommitProperties(custom_metadata={"userMetadata": stamp})
            try:
                again(lambda: _opened(ref, None).restore(version, commit_properties=properties))
                return
            except BeyondDeltaRsError as error:
                why = str(error)
            except (OSError, deltalake.exceptions.DeltaError) as error:
                if not (why := _beyond(error)):
                    raise UserError(f"{ref.location}: cannot go back to version {version}: {error}") from error
        ref.restore(session_for(ref, why, get_spark), version, stamp)

    def merge(self, table: pa.Table, removed: list[Any]) -> None:
        """Fold rows into the table by its key, and take out those with the keys `removed`; errors as `write`.

        Raises:
            ValueError: the relation has no key of one column.
        """
        (key,) = self.relation.keys
        rows = self.relation.enforce(table, self.ref.location)
        if not _is_direct(self.ref):
            self._merge_through_spark(rows, removed, key)
            return
        # One statement: a reader sees all of it or nothing. Rows to take out carry nothing but their key.
        mark = pa.array([False] * len(rows) + [True] * len(removed))
        gone = pa.table({key: pa.array(removed, rows.schema.field(key).type)})
        source = pa.concat_tables([rows, gone], promote_options="default").append_column("removed", mark)
        columns = {name: f"s.{name}" for name in rows.column_names}
        deltalake = _deltalake()
        try:
            merged = deltalake.DeltaTable(self.ref.path, storage_options=delta_options(self.ref.path) or None).merge(
                source, f"t.{key} = s.{key}", source_alias="s", target_alias="t", commit_properties=self._commit()
            )
            merged = merged.when_matched_delete("s.removed").when_matched_update(columns, "NOT s.removed")
            merged.when_not_matched_insert(columns, "NOT s.removed").execute()
        except (OSError, deltalake.exceptions.DeltaError) as error:
            if not (why := _beyond(error)):
                raise write_problem(error, self.ref.location) from error
            self._why_spark = why
            self._merge_through_spark(rows, removed, key)

    def _merge_through_spark(self, rows: pa.Table, removed: list[Any], key: str) -> None:
        from pyspark.sql import functions as F

        marked = self._frame(rows).withColumn("removed", F.lit(False))
        gone = self.ref.frame(self._session()).where(F.col(key).isin(removed)).withColumn("removed", F.lit(True))
        self._through_spark().merge(marked.unionByName(gone.select(*marked.columns)), "removed")

    def _direct(self, mode: str, rows: pa.Table) -> bool:
        """Tell whether it could be written without Spark, which knows every feature a table may have."""
        if not _is_direct(self.ref):
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
                storage_options=delta_options(self.ref.path) or None,
            )
        except OSError as error:
            raise write_problem(error, self.ref.location) from error
        except deltalake.exceptions.DeltaError as error:
            if not (why := _beyond(error)):
                raise write_problem(error, self.ref.location) from error
            self._why_spark = why
            return False
        return True

    def _commit(self) -> CommitProperties | None:
        return _deltalake().CommitProperties(custom_metadata={"userMetadata": self.stamp}) if self.stamp else None

    def _through_spark(self) -> TableSink:
        return TableSink(self.ref, self.relation, self.stamp)

    def _frame(self, rows: pa.Table) -> Any:
        return self._session().createDataFrame(rows)

    def _session(self) -> SparkSession:
        return session_for(self.ref, self._why_spark, self._get_spark)
