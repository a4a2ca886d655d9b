"""Arrow batches that Spark carries as bytes: one value for a batch, whatever its columns.

Rows with lists of structs cost Spark more to take apart and put together than Python to make them. Packed, they pass
through it untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame

Batches = Iterator[pa.RecordBatch]


def map_packed(frame: DataFrame, work: Callable[[Batches], Batches], schema: pa.Schema) -> pa.Table:
    """`frame.mapInArrow(work)`, gathered on the driver.

    Args:
        frame: input of the tasks.
        work: batches to batches, each of `schema`.
        schema: of the result; any Arrow types.
    """

    def packing(batches: Batches) -> Batches:
        for batch in work(batches):
            sink = pa.BufferOutputStream()
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
                writer.write_batch(batch)
            yield pa.record_batch([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["packed"])

    packed = frame.mapInArrow(packing, "packed binary").toArrow()["packed"]
    found = [batch for value in packed for batch in pa.ipc.open_stream(value.as_buffer())]
    return pa.Table.from_batches(found, schema)
