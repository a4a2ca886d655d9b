"""Parquet files as rows that know their file and row number."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.lake.text_files import absolute, expand, pattern_free


def read_rows(spark: SparkSession, paths: str | Sequence[str]) -> DataFrame:
    """The rows of Parquet files: `source string, line long, row struct<…>`.

    `source` is the path as given, `line` counts rows from 1 in each file.

    Args:
        spark: the session.
        paths: files, or folders of files; all with the same columns.

    Raises:
        UserError: a file does not exist, is not Parquet, or has a name Spark would skip.
    """
    files = expand([paths] if isinstance(paths, str) else paths)
    try:
        frame = spark.read.parquet(*(pattern_free(path) for path in files))
        columns = frame.columns
    except Exception as error:
        raise UserError(f"{files[0]}: not a readable Parquet file") from error
    # url_decode is for forms: it would turn a plus into a space.
    uri = F.regexp_replace(F.col("_metadata.file_path"), r"\+", "%2B")
    path = F.regexp_replace(F.url_decode(uri), r"^file:/+", "/")
    given = F.create_map(*(F.lit(text) for name in files for text in (absolute(name), name)))
    return frame.select(
        F.coalesce(given[path], path).alias("source"),
        (F.col("_metadata.row_index") + 1).alias("line"),
        F.struct(*(F.col(f"`{name}`") for name in columns)).alias("row"),
    )
