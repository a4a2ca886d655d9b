"""Arrow batches that Spark carries as bytes: one value for a batch, whatever its columns.

Rows with lists of structs cost Spark more to take apart and put together than Python to make them. Packed, they pass
through it untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Batches = Iterator[pa.RecordBatch]


def to_bytes(rows: pa.Table | pa.RecordBatch, compression: str | None = None) -> bytes:
    """Write rows as an Arrow stream; `compression` is `lz4`, `zstd` or None."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def from_bytes(packed: bytes | pa.Buffer) -> pa.Table:
    """Read the rows of an Arrow stream."""
    return pa.ipc.open_stream(packed).read_all()


def map_packed(frame: DataFrame, work: Callable[[Batches], Batches], schema: pa.Schema) -> pa.Table:
    """Gather `frame.mapInArrow(work)` on the driver.

    Args:
        frame: input of the tasks.
        work: batches to batches, each of `schema`.
        schema: of the result; any Arrow types.
    """

    def packing(batches: Batches) -> Batches:
        for batch in work(batches):
            yield pa.record_batch([pa.array([to_bytes(batch, "lz4")], pa.binary())], names=["packed"])

    packed = frame.mapInArrow(packing, "packed binary").toArrow()["packed"]
    return pa.concat_tables([schema.empty_table(), *(from_bytes(value.as_buffer()) for value in packed)])
