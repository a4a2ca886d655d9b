"""Files of ids, one a line, that flags name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError


def read_ids(spark: SparkSession, flag: str, file: str, column: str, kind: str) -> DataFrame:
    """The distinct ids in a file.

    Args:
        spark: the session.
        flag: that names the file, for messages, e.g. `--users`.
        file: text, one id a line; empty lines do not count.
        column: what the frame's one column is called, e.g. `user_id`.
        kind: its type in the lake, `bigint` or `string`.

    Raises:
        UserError: the file cannot be read, is empty, or an id is not of that kind.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {file}: cannot read it as text ({error})") from error
    what = column.removesuffix("_id")
    ids: list[Any] = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"{flag} {file}: no {what} ids in it; write one per line")
    if kind == "bigint":
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.strip().lstrip("-").isdigit():
                raise UserError(
                    f"{flag} {file}, line {number}: {line.strip()!r} is not a whole number as {what} ids are"
                )
        ids = [int(text) for text in ids]
    return spark.createDataFrame([(one,) for one in ids], f"{column} {kind}").distinct()
