"""A Spark session that is started only if somebody asks for it: for commands that mostly do without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lakerank.cli.errors import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def spark_on_demand(app: str, master: str = "", remote: str = "") -> Iterator[Callable[[], SparkSession]]:
    """Give a function that returns the session, started (or found) at its first call; stop it at the end if it is ours.

    Args:
        app, master, remote: as for `get_spark`.

    Raises:
        UserError: by the function, as by `get_spark`, or because pyspark is not installed.
    """
    sessions: list[SparkSession] = []
    with ExitStack() as stack:

        def get() -> SparkSession:
            if not sessions:
                try:
                    from lakerank.spark.session import session  # here: pyspark need not be installed
                except ModuleNotFoundError as error:
                    raise UserError(
                        "tables in a catalog and files of queries need Spark, which is not installed: "
                        "pip install 'lakerank[spark]'"
                    ) from error
                sessions.append(stack.enter_context(session(app, master, remote)))
            return sessions[0]

        yield get
