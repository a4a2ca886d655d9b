"""Open whatever a user points a flag at: a Delta table, Parquet files, or lines of text."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.lake.delta_table import TableRef, is_catalog_name
from lakerank.lake.parquet_files import read_rows
from lakerank.lake.text_files import expand, read_lines


@dataclass(frozen=True)
class Input:
    """Something opened.

    Attributes:
        where: as the user wrote it, for messages.
        kind: `lines` (`source`, `line`, `value`), `rows` (`source`, `line`, `row` struct) or `table` (its own
            columns).
        frame: the rows.
    """

    where: str
    kind: str
    frame: DataFrame


def open_input(spark: SparkSession, where: str) -> Input:
    """Find out what `where` is and read it.

    Args:
        spark: the session.
        where: a Delta folder or catalog name, a Parquet file or folder, a text file (.gz, .bz2 are unpacked)
            or a folder of text files.

    Raises:
        UserError: there is nothing, or it cannot be read; the message names it.
    """
    ref = TableRef(where)
    if ref.exists(spark):
        return Input(where, "table", ref.frame(spark))
    if is_catalog_name(where):
        try:
            expand([where])
        except UserError as error:
            raise UserError(f"{where}: no such table and no such file") from error
    if where.rstrip("/").endswith(".parquet") or any(f.endswith(".parquet") for f in expand([where])):
        return Input(where, "rows", read_rows(spark, where))
    return Input(where, "lines", read_lines(spark, where))
