"""Store the rows of a frame that an iterative job builds upon, and forget how they were computed.

Without it every iteration's plan contains all earlier ones: planning time grows quadratically and the
driver ends in a StackOverflowError. `localCheckpoint` stores the rows on the executors and forgets the
plan; where a platform refuses it (Databricks serverless), a scratch folder serves the same end.
"""

from __future__ import annotations

import uuid

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from lakerank.cli.errors import UserError

# What the folders made in `scratch` begin with; they may be removed when the job has ended.
CHECKPOINT_PREFIX = "checkpoint-"


def checkpoint(df: DataFrame, scratch: str = "") -> DataFrame:
    """Compute `df` once and return a frame with the same rows and no history.

    Args:
        df: any frame; it is computed now.
        scratch: folder every worker can reach, used where `localCheckpoint` is refused.

    Raises:
        UserError: the platform refuses local checkpoints and no scratch folder was given.
    """
    try:
        return df.localCheckpoint(eager=True)
    except PySparkException as error:
        if "NOT_SUPPORTED" not in str(error).upper():
            raise
        if not scratch:
            raise UserError(
                "this Spark refuses local checkpoints, as serverless does: give --scratch, a folder all workers reach"
            ) from error
    path = f"{scratch.rstrip('/')}/{CHECKPOINT_PREFIX}{uuid.uuid4().hex}"
    df.write.parquet(path)
    return df.sparkSession.read.parquet(path)
