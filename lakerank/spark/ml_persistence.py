"""Storage for `pyspark.ml` classes written in Python: a folder for their work, and save and load.

pyspark's own writer for Python classes keeps parameters only, and to overwrite it goes through the JVM, which a Spark
Connect client has not got. Here tables go beside the parameters, and every write is a DataFrame's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import pyarrow as pa
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWriter
from pyspark.sql import DataFrame, SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.files import private_folder
from lakerank.cli.stores import is_in_object_store
from lakerank.spark.array_cache import is_local, own_folder
from lakerank.spark.array_store import BlockStore
from lakerank.spark.checkpoint import checkpoint

T = TypeVar("T", bound=MLReadable[Any])
Tables = Mapping[str, DataFrame]
SavedParams = Mapping[str, Any]


@contextmanager
def workspace(spark: SparkSession, folder: str, setting: str, lake: str = "") -> Iterator[BlockStore]:
    """Make a store in a folder of its own, which is removed in the end; those that killed programs have left go, too.

    Args:
        spark: the session whose workers will use it.
        folder: where to make it; empty takes one of this user's among this machine's temporary files, or on a cluster
            `_scratch` of a lake in an object store, whose workers may share no disk.
        setting: the parameter to name in errors.
        lake: of the job.

    Raises:
        UserError: the folder cannot be made, or workers do not see what stands in it.
    """
    if not folder and is_in_object_store(lake) and not is_local(spark):
        folder = f"{lake.rstrip('/')}/_scratch"
    above = BlockStore.open(folder or str(private_folder("lakerank", setting)), setting)
    with own_folder(above, "lakerank-work") as store:
        store.write_json("here.json", {})
        if not _workers_see(spark, store):
            raise UserError(
                f"{setting} {folder or above.root}: workers do not see this folder: set {setting} to one that this "
                f"program and all workers mount (NFS, /Volumes, /dbfs), or to a place in an object store (s3a://…)"
            )
        yield store


def _workers_see(spark: SparkSession, store: BlockStore) -> bool:
    def find_file(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"found": [store.has_file("here.json")]})

    return all(row["found"] for row in spark.range(1 << 10).mapInArrow(find_file, "found boolean").collect())


class TablesWriter(MLWriter):
    """Saves a `Params` object: `metadata` as pyspark.ml writes it, and a Parquet folder for each table."""

    def __init__(self, instance: Params, tables: Tables | None = None, params: SavedParams | None = None) -> None:
        super().__init__()
        self._instance, self._tables, self._params = instance, tables or {}, params or {}

    def save(self, path: str) -> None:
        """Write to a folder, local or on any storage that Spark writes to.

        With `overwrite()`, what stands there is replaced; if that is where the object was loaded from, load it again
        afterwards. Without it, pyspark raises its own error.

        Raises:
            UserError: to overwrite, and this Spark refuses local checkpoints.
        """
        mode = "overwrite" if self.shouldOverwrite else "error"
        tables = {name: self._apart(table) for name, table in self._tables.items()}
        for name, table in tables.items():
            table.write.mode(mode).parquet(f"{path}/{name}")
        spark = self.sparkSession
        told = DefaultParamsWriter._get_metadata_to_save(self._instance, spark, dict(self._params))
        # The last, so that a folder with metadata is complete.
        spark.createDataFrame([(told,)], "value string").coalesce(1).write.mode(mode).text(f"{path}/metadata")

    def _apart(self, table: DataFrame) -> DataFrame:
        """Detach the rows from the files they come from: Spark deletes the old ones before it reads them."""
        if not self.shouldOverwrite:
            return table
        try:
            return checkpoint(table)
        except UserError as error:
            raise UserError(
                "this Spark refuses local checkpoints: save to a new folder, without overwrite()"
            ) from error


class TablesReader(MLReader[T]):
    """Loads what `TablesWriter` saved.

    Args:
        kind: the class that was saved.
        make: builds it from its tables and the metadata, which has the saved params beside pyspark's own.
        tables: their names.
    """

    def __init__(self, kind: type[T], make: Callable[[Tables, SavedParams], T], tables: Sequence[str] = ()) -> None:
        super().__init__()
        self._kind, self._make, self._tables = kind, make, tables

    def load(self, path: str) -> T:
        """Read from a folder.

        Raises:
            AssertionError: another class was saved there (pyspark's manners).
        """
        spark = self.sparkSession
        name = f"{self._kind.__module__}.{self._kind.__name__}"
        metadata = DefaultParamsReader.loadMetadata(path, spark, name)
        instance = self._make({table: spark.read.parquet(f"{path}/{table}") for table in self._tables}, metadata)
        cast(Params, instance)._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(instance, metadata)
        return instance
