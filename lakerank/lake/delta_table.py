"""Where tables are, and the only two things to do with one: read it checked, or write it whole.

`TableRef` names a table by path or by `catalog.schema.table`. `TableSink` writes a relation in one Delta
commit, so a reader sees the old table or the new one, never half of it, and writing twice changes nothing.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lakerank.cli.errors import UserError
from lakerank.cli.stores import has_scheme
from lakerank.lake.schemas import Relation

if TYPE_CHECKING:  # names and places of tables are needed where pyspark is not installed
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

T = TypeVar("T")
_CATALOG_NAME = re.compile(r"^[A-Za-z_][\w$-]*(\.[A-Za-z_][\w$-]*){1,2}$")
_STAMP = "spark.databricks.delta.commitInfo.userMetadata"  # where a statement has no option for it
_MEANWHILE = re.compile(
    r"DELTA_CONCURRENT|DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|[Cc]oncurrent \w+|FileAlreadyExistsException"
    r"|DELTA_VERSIONS_NOT_CONTIGUOUS|already exists|Version mismatch|changed since last commit"
    # S3's answers to a conditional put that comes too late.
    r"|RemoteFileChangedException|PreconditionFailed|Precondition Failed|ConditionalRequestConflict"
)
_ODD = re.compile(r"[\[\]|^\\]|%[0-9A-Fa-f]{2}")  # in places that delta-rs does not open, or takes for another
_FILE_SUFFIX = re.compile(r"\.(tsv|csv|txt|gz|bz2|zip|parquet|dat|data|json|e|v)$", re.IGNORECASE)


def _quoted(name: str) -> str:
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


def is_catalog_name(text: str) -> bool:
    """Return whether `text` is `schema.table` or `catalog.schema.table` rather than a path."""
    return bool(_CATALOG_NAME.match(text)) and not _FILE_SUFFIX.search(text)


@dataclass(frozen=True)
class TableRef:
    """A Delta table by folder (`./lake/ratings`, `s3://…`) or by catalog name (`main.movies.ratings`).

    Attributes:
        location: where it is.
        pinned: the version to read; None reads the newest.
        rows_version: the version that made the rows of `pinned`, as maintenance makes versions with the same rows.
    """

    location: str
    pinned: int | None = None
    rows_version: int | None = None

    @classmethod
    def find(cls, given: str, relation: Relation, lake: str) -> TableRef:
        """Return the table a flag names, or the relation's own in the lake if the flag is empty.

        A lake is a folder, or with a dot and no slash `catalog.schema` (a folder `a.b` is written `./a.b`).
        """
        if given:
            return cls(given)
        separator = "." if is_catalog_name(lake) else "/"
        return cls(f"{lake.rstrip('/')}{separator}{relation.name}")

    @property
    def sql(self) -> str:
        """The name of the table in SQL statements; nothing in a name ends the quotes it stands in."""
        if is_catalog_name(self.location):
            return ".".join(_quoted(part) for part in self.location.split("."))
        return f"delta.{_quoted(self.path)}"

    @property
    def needs_spark(self) -> bool:
        """Whether delta-rs cannot open it: see `why_spark`."""
        return bool(self.why_spark)

    @property
    def why_spark(self) -> str:
        """Why delta-rs cannot open it, in words that follow "the table"; empty if it can.

        It follows links, would panic over some letters of a path, and opens what stands at `a b` for `a%20b`.
        """
        if is_catalog_name(self.location):
            return f"it is in a catalog{self._folder_hint}"
        where = self.location if (folder := self.folder) is None else str(folder.resolve())
        if found := _ODD.search(where):
            return f"delta-rs cannot open a place with `{found[0]}` in its name"
        return ""

    @property
    def _folder_hint(self) -> str:
        """What to write for a folder whose name is that of a catalog's schema, if there is one."""
        lake = self.location.rpartition(".")[0]
        return f" (for the folder {lake} write ./{lake})" if is_catalog_name(lake) and Path(lake).is_dir() else ""

    @property
    def path(self) -> str:
        """The folder, absolute: Delta takes no other in SQL, and the JVM may have another working directory."""
        if (folder := self.folder) is None:
            return self.location
        return f"file://{folder}" if self.location.startswith("file:") else str(folder)

    @property
    def folder(self) -> Path | None:
        """The folder for Python's own eyes, absolute; None if the table is in a store or a catalog."""
        if is_catalog_name(self.location) or has_scheme(self.location) or self.location.startswith("dbfs:"):
            return None
        return Path(re.sub(r"^file:(//)?", "", self.location)).absolute()

    def exists(self, spark: SparkSession) -> bool:
        """Return whether a Delta table stands there."""
        from pyspark.errors import AnalysisException

        try:
            _ = spark.sql(f"SELECT * FROM {self.sql} LIMIT 0").schema  # noqa: S608 - quoted
        except AnalysisException:
            return False
        return True

    def read(self, spark: SparkSession, relation: Relation, version: int | None = None) -> DataFrame:
        """Read the table, as it is now or as it was, checked against its contract.

        Raises:
            UserError: there is no such Delta table or version, or a column is missing or of the wrong type.
        """
        if not self.exists(spark):
            told = f"no Delta table `{relation.name}` at {self.location}"
            if is_catalog_name(self.location):
                told += self._folder_hint
            raise UserError(f"{told}: run {relation.producer} first")
        frame = self.frame(spark) if version is None else self._as_of(spark, version)
        return relation.check(frame, self.location)

    def _as_of(self, spark: SparkSession, version: int) -> DataFrame:
        from pyspark.errors import AnalysisException

        try:
            return spark.sql(f"SELECT * FROM {self.sql} VERSION AS OF {version}")  # noqa: S608 - quoted; a number
        except AnalysisException as error:
            newest = TableRef(self.location).version(spark)
            raise UserError(f"{self.location} has no version {version} (any more): the newest is {newest}") from error

    def frame(self, spark: SparkSession) -> DataFrame:
        """Read the table, at the version it is pinned to or as it stands, unchecked."""
        if self.pinned is not None:
            return self._as_of(spark, self.pinned)
        return spark.table(self.location) if is_catalog_name(self.location) else self._load(spark)

    def _load(self, spark: SparkSession) -> DataFrame:
        return spark.read.format("delta").load(self.path)

    def restore(self, spark: SparkSession, version: int, stamp: str) -> None:
        """Give the table the rows of an earlier version again, in one commit.

        Raises:
            UserError: that version or files of it are gone.
        """
        spark.conf.set(_STAMP, stamp)
        try:
            spark.sql(f"RESTORE TABLE {self.sql} TO VERSION AS OF {version}").collect()
        except Exception as error:
            raise UserError(f"{self.location}: cannot go back to version {version}: {error}") from error
        finally:
            spark.conf.unset(_STAMP)

    def identity(self, spark: SparkSession) -> str:
        """Return the table's own id, which no table made anew in the same place has."""
        row = spark.sql(f"DESCRIBE DETAIL {self.sql}").first()
        return str(row["id"]) if row else ""

    def version(self, spark: SparkSession) -> int:
        """Return the number of the version that made its rows, or without a pin the newest: it identifies the rows."""
        if self.rows_version is not None:
            return self.rows_version
        row = spark.sql(f"DESCRIBE HISTORY {self.sql} LIMIT 1").first()
        return int(row["version"]) if row else -1


@dataclass(frozen=True)
class TableSink:
    """A place to write one relation to.

    Attributes:
        ref: where.
        relation: what; the frame must have exactly its columns.
        stamp: a word that identifies this write (e.g. a run id), kept in the table's history.
    """

    ref: TableRef
    relation: Relation
    stamp: str = ""

    def write(self, df: DataFrame, replace_where: str = "") -> None:
        """Replace the table (or the rows matching `replace_where`) by `df` in one commit; of two at once both succeed.

        Raises:
            UserError: a column is missing, of the wrong type, or null where the contract forbids it;
                or the place cannot be written.
        """
        again(lambda: self._write(df, replace_where))

    def _write(self, df: DataFrame, replace_where: str) -> None:
        if not self.ref.exists(df.sparkSession):
            self._create(df)
        elif replace_where:
            # A table of an earlier version gets the columns that have come since; its rows have nulls there.
            writer = self._writer(df, "overwrite").option("replaceWhere", replace_where)
            self._save(writer.option("mergeSchema", "true"))
        else:
            self._save(self._writer(df, "overwrite").option("overwriteSchema", "true"))

    def append(self, df: DataFrame) -> None:
        """Add rows in one commit; errors as `write`."""

        def add() -> None:
            if self.ref.exists(df.sparkSession):
                self._save(self._writer(df, "append"))
            else:
                self._create(df)

        again(add)

    def merge(self, df: DataFrame, removed: str) -> None:
        """Fold rows into the table by the relation's keys, in one commit.

        Args:
            df: the relation's columns and one more; at most one row for each key.
            removed: that column, boolean: delete the row with these keys instead.

        Raises:
            UserError: a column is missing or of the wrong type, or the place cannot be written.
        """
        columns = self.relation.names
        checked = self.relation.check(df, self.ref.location).columns
        spark, source = df.sparkSession, f"lakerank_merge_{self.relation.name}"
        df.select(*checked, removed).createOrReplaceTempView(source)
        keys = " AND ".join(f"t.`{key}` = s.`{key}`" for key in self.relation.keys)
        changes = ", ".join(f"t.`{name}` = s.`{name}`" for name in columns)
        names, values = ", ".join(f"`{n}`" for n in columns), ", ".join(f"s.`{n}`" for n in columns)
        spark.conf.set(_STAMP, self.stamp)
        try:
            spark.sql(
                f"MERGE INTO {self.ref.sql} t USING {source} s ON {keys} "  # noqa: S608 - our own columns
                f"WHEN MATCHED AND s.`{removed}` THEN DELETE WHEN MATCHED THEN UPDATE SET {changes} "
                f"WHEN NOT MATCHED AND NOT s.`{removed}` THEN INSERT ({names}) VALUES ({values})"
            ).collect()
        except Exception as error:
            raise write_problem(error, self.ref.location) from error
        finally:
            spark.conf.unset(_STAMP)
            spark.catalog.dropTempView(source)

    def upsert(self, df: DataFrame, update_if: str = "") -> None:
        """Insert the rows whose keys the table lacks, in one commit, and replace those of which a condition is true.

        A commit of somebody else in the same moment that touches the same files is noticed by Delta; then it is done
        again on what stands there by then.

        Args:
            df: the relation's columns, at most one row for each key.
            update_if: SQL on `t`, the row in the table, and `s`, the one given; empty replaces none.

        Raises:
            UserError: a column is missing or of the wrong type; others keep changing the table; it cannot be written.
        """
        spark, source = df.sparkSession, f"lakerank_upsert_{uuid.uuid4().hex}"  # two may be at work in one session
        self._enforced(df).createOrReplaceTempView(source)
        keys = " AND ".join(f"t.`{key}` = s.`{key}`" for key in self.relation.keys)
        changes = ", ".join(f"t.`{name}` = s.`{name}`" for name in self.relation.names)
        names = ", ".join(f"`{n}`" for n in self.relation.names)
        values = ", ".join(f"s.`{n}`" for n in self.relation.names)
        update = f"WHEN MATCHED AND ({update_if}) THEN UPDATE SET {changes} " if update_if else ""
        statement = (
            f"MERGE INTO {self.ref.sql} t USING {source} s ON {keys} {update}"  # noqa: S608 - our own columns
            f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
        )

        def fold() -> None:
            try:
                spark.sql(statement).collect()
            except Exception as error:
                raise write_problem(error, self.ref.location) from error

        try:
            again(fold)
        finally:
            spark.catalog.dropTempView(source)

    def _create(self, df: DataFrame) -> None:
        """Make the table in one commit, with what it means as its comment, which later writes leave as it is."""
        rows = self._enforced(df)
        if is_catalog_name(self.ref.location):
            self._save(
                self._stamped(rows.write.format("delta").mode("overwrite")).option("comment", self.relation.meaning)
            )
            return
        # A folder's table takes a comment only from this writer. "Replace": remains of a failed write may lie there.
        writer = rows.writeTo(self.ref.sql).using("delta").tableProperty("comment", self.relation.meaning)
        writer = writer.option("userMetadata", self.stamp) if self.stamp else writer
        try:
            writer.createOrReplace()
        except Exception as error:  # as in `_save`
            raise write_problem(error, self.ref.location) from error

    def _enforced(self, df: DataFrame) -> DataFrame:
        extra = [name for name in df.columns if name not in self.relation.names]
        if extra:
            raise UserError(f"{self.ref.location}: `{self.relation.name}` has no column `{extra[0]}`")
        return self.relation.enforce(df, self.ref.location)

    def _writer(self, df: DataFrame, mode: str) -> DataFrameWriter:
        return self._stamped(self._enforced(df).write.format("delta").mode(mode))

    def _stamped(self, writer: DataFrameWriter) -> DataFrameWriter:
        return writer.option("userMetadata", self.stamp) if self.stamp else writer

    def _save(self, writer: DataFrameWriter) -> None:
        try:
            if is_catalog_name(self.ref.location):
                writer.saveAsTable(self.ref.location)
            else:
                writer.save(self.ref.path)
        except Exception as error:  # py4j, Connect and Spark each have their own class for it
            raise write_problem(error, self.ref.location) from error


class MeanwhileError(UserError):
    """Another job has written the same table in the same moment, so that nothing was written; it may be tried again."""


def again(write: Callable[[], T], times: int = 6) -> T:
    """Write, and if another job was faster, once more, after a while that is another for each.

    Raises:
        MeanwhileError: others were faster each time.
    """
    for waited in range(times):
        try:
            return write()
        except MeanwhileError:
            if waited == times - 1:
                raise
            time.sleep(random.uniform(0.05, 0.2) * 2**waited)
    raise AssertionError


def write_problem(error: Exception, location: str) -> Exception:
    """Put the user's share of write errors into a sentence; return anything else unchanged."""
    text = str(error)
    if found := re.search(r"`\w+\.\w+` is null", text):
        return UserError(f"{location}: {found.group(0)}; nothing was written")
    if "SCHEMA_NOT_FOUND" in text or "CATALOG_NOT_FOUND" in text or "find a catalog" in text:
        lake = location.rpartition(".")[0]
        return UserError(f"{location}: there is no schema {lake}: create it first, or write ./{lake} for a folder")
    in_the_way = next((path for path in (Path(location), *Path(location).parents) if path.is_file()), None)
    if in_the_way is not None:
        return UserError(f"{location}: cannot write, since {in_the_way} is a file; choose another --lake or --out")
    for sign in (
        "Permission denied",
        "No space left",
        "Not a directory",
        "Read-only file system",
        "CANNOT_CREATE_LOG_PATH",
    ):
        if sign in text:
            return UserError(f"{location}: cannot write ({sign.lower()}); choose another --lake or --out")
    # Delta's exceptions by Spark's names and by delta-rs's words.
    if _MEANWHILE.search(text):
        return MeanwhileError(
            f"{location}: another job changed it meanwhile; nothing was written, run the command again"
        )
    return error
