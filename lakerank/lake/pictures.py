"""Pictures on their way into a job: from a table or from files, and the note of those that could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.binary_files import SourceFile, as_parts, balanced, chunks, list_files
from lakerank.lake.delta_table import TableRef
from lakerank.lake.input_files import read_rows
from lakerank.lake.publications import Publishing
from lakerank.lake.schemas import Relation

MOST_BYTES = 576 << 20  # of a file: what sr_model takes (`MAX_BYTES` of sr_model/images.py)
_PARTS = pa.schema([("path", pa.string()), ("part", pa.int32())])


@dataclass(frozen=True)
class Pictures:
    """Pictures that have not been read.

    Attributes:
        listed: each with its size; what it is called is `relative`. Names are unique.
        others: how many files beside them are no pictures.
        table: rows with `path` and `content`, if they lie in a table.
    """

    listed: Sequence[SourceFile]
    others: int = 0
    table: DataFrame | None = None


def open_pictures(spark: SparkSession, where: str, flag: str, is_picture: Callable[[str], bool]) -> Pictures:
    """List what there is, without reading it.

    Args:
        spark: the session.
        where: a table (Delta by folder or catalog name, Parquet) with `path` and `content`; a folder with all below
            it, or one file, also with a scheme (`s3://…`).
        flag: which named it, for messages.
        is_picture: whether a file is one, by its name.

    Raises:
        UserError: nothing there, no picture, a table of something else, or one that has a path twice.
    """
    table = picture_table(spark, where, flag)
    if table is None:
        files = list_files(where)
        found = [file for file in files if is_picture(file.relative)]
        if not found:
            raise UserError(f"{flag} {where}: holds no pictures")
        return Pictures(found, len(files) - len(found))
    size = F.coalesce(F.octet_length("content"), F.lit(0)).alias("size")
    rows = table.select("path", size).collect()
    if not rows:
        raise UserError(f"{flag} {where}: the table has no rows")
    name, times = Counter(row["path"] for row in rows).most_common(1)[0]
    if times > 1:
        raise UserError(f"{flag} {where}: `path` {name} comes {times} times; each picture needs a path of its own")
    return Pictures([SourceFile(row["path"], row["path"], row["size"]) for row in rows], 0, table)


def picture_table(spark: SparkSession, where: str, flag: str) -> DataFrame | None:
    """Read `path`, `content` of a table of pictures; None if there is no table.

    Raises:
        UserError: a table without these columns.
    """
    ref = TableRef(where)
    if ref.exists(spark):
        frame = ref.frame(spark)
    elif where.endswith(".parquet") or any(Path(where).glob("*.parquet")):
        frame = read_rows(spark, where).select("row.*")
        if "content" not in frame.columns and Path(where).is_dir():
            return None  # words about the pictures that lie beside them
    else:
        return None
    types = dict(frame.dtypes)
    for name, wanted in (("path", "string"), ("content", "binary")):
        if types.get(name) != wanted:
            found = f"`{name}` is {types[name]}" if name in types else f"there is no column `{name}`"
            raise UserError(f"{flag} {where}: {found}; a table of pictures has path (string) and content (binary)")
    return frame.select(F.coalesce("path", F.lit("(no path)")).alias("path"), "content")


def in_parts(spark: SparkSession, pictures: Pictures, chosen: Sequence[SourceFile], parts: int) -> DataFrame:
    """Distribute some of the pictures over about equally large partitions; `contents` reads them in the workers.

    Of files names travel, of a table the pictures themselves.
    """
    if pictures.table is None:
        return as_parts(spark, chosen, parts)
    shares = balanced(chosen, parts)
    rows = [{"path": file.path, "part": part} for part, share in enumerate(shares) for file in share]
    part_of = spark.createDataFrame(pa.Table.from_pylist(rows, schema=_PARTS))
    placed = pictures.table.join(F.broadcast(part_of), "path").repartitionById(len(shares), "part")
    return placed.select("path", "content")


def contents(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes | str]]:
    """Read name and content of each picture of a batch of `in_parts`; a text says why one cannot be read."""
    if "files" in batch.schema.names:
        for file in (file for files in batch.column("files") for file in files.as_py()):
            yield file["relative"], file["problem"] or _content(file["path"], file["size"]) or "no content"
        return
    for path, value in zip(batch.column("path"), batch.column("content"), strict=True):
        yield path.as_py(), value.as_py() or "no content"


def _content(path: str, size: int) -> bytes | str:
    """Read a picture's file, or say why it cannot be."""
    content = bytearray()
    try:
        if size <= MOST_BYTES:
            for piece in chunks(path):
                content += piece
                size = max(size, len(content))  # it may have grown since it was listed
                if size > MOST_BYTES:
                    break
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except MemoryError:
        return "memory does not suffice; cut it into parts first"
    if size > MOST_BYTES:
        return f"a file of {size >> 20} MiB is more than {MOST_BYTES >> 20}; cut it into parts first"
    return bytes(content)


def write_rejected(
    spark: SparkSession, run: Publishing, relation: Relation, lake: str, rejected: Sequence[tuple[str, str]]
) -> None:
    """Write, to be published, the pictures that could not be used; an empty table only where there was one."""
    ref = TableRef.find("", relation, lake)
    if rejected or ref.exists(spark):
        rows = [(name, None, None, reason) for name, reason in rejected]
        run.write(relation, spark.createDataFrame(rows, relation.schema()))
