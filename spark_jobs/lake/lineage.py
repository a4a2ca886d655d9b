"""Cut the lineage of a frame that an iterative job builds upon.

Without it every iteration's plan contains all earlier ones: planning time grows quadratically and the
driver ends in a StackOverflowError. `localCheckpoint` stores the rows on the executors and forgets the
plan; where a platform refuses it (Databricks serverless), a scratch folder serves the same end.
"""

from __future__ import annotations

import uuid

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame


def cut(df: DataFrame, scratch: str = "") -> DataFrame:
    """Compute `df` once and return a frame with the same rows and no history.

    Args:
        df: any frame; it is computed now.
        scratch: folder every worker can reach, used where `localCheckpoint` is refused.

    Raises:
        PySparkException: the platform refuses local checkpoints and no scratch folder was given, or
            computing `df` failed.
    """
    try:
        return df.localCheckpoint(eager=True)
    except PySparkException as error:
        if not scratch or "NOT_SUPPORTED" not in str(error).upper():
            raise
    path = f"{scratch.rstrip('/')}/cut-{uuid.uuid4().hex}"
    df.write.parquet(path)
    return df.sparkSession.read.parquet(path)
