"""Row groups through Petastorm: its pool, its ventilator, its stored schema; decoding and order are ours."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sr_model.data.order import RowGroup
from sr_model.data.petastorm_compat import (
    EmptyResultError,
    NdarrayCodec,
    ThreadPool,
    Ventilator,
    WorkerBase,
    dataset_metadata,
)
from sr_model.data.row_groups import ReadError, Rows, read_rows

_AHEAD = 2


class RowGroupWorker(WorkerBase):  # type: ignore[misc]
    """Reads whole row groups. Petastorm's own worker decodes row by row, through pandas and a list of dicts."""

    def process(self, place: int, group: RowGroup) -> None:
        """Publish (place, rows)."""
        folder, store_lr = self.args
        self.publish_func((place, read_rows(folder, group, store_lr)))


def stored_schema(folder: Path) -> Any:
    """The Unischema that stands in the data set.

    Raises:
        ReadError: there is none, or its images are not arrays as `np.save` writes them.
    """
    path = folder / "_common_metadata"
    try:
        metadata = pq.read_metadata(path).metadata
        schema = dataset_metadata.depickle_legacy_package_name_compatible(metadata[dataset_metadata.UNISCHEMA_KEY])
    except Exception as error:  # reading foreign metadata and unpickling it raises nearly anything
        raise ReadError(f"{path}: no readable Petastorm schema ({error!r}); make the patches anew") from error
    for name in ("hr", "lr"):
        if name in schema.fields and not isinstance(schema.fields[name].codec, NdarrayCodec):
            raise ReadError(f"{path}: `{name}` is stored by {schema.fields[name].codec}, not by NdarrayCodec")
    return schema


def read(folder: Path, groups: Sequence[RowGroup], store_lr: bool, workers: int) -> Generator[Rows, None, None]:
    """The rows of each group, in the order given; an error of a worker is raised here.

    Raises:
        ReadError: something cannot be read, or the pool ended before everything had come.
    """
    stored_schema(folder)
    pool = ThreadPool(workers, results_queue_size=workers)
    items = [{"place": place, "group": group} for place, group in enumerate(groups)]
    ventilator = Ventilator(pool.ventilate, items, max_ventilation_queue_size=workers + _AHEAD)
    pool.start(RowGroupWorker, (folder, store_lr), ventilator)
    early: dict[int, Rows] = {}
    try:
        for place in range(len(groups)):
            while place not in early:
                try:
                    found, rows = pool.get_results()
                except EmptyResultError:
                    raise ReadError(f"{folder}: the read ended after {place} of {len(groups)} row groups") from None
                early[found] = rows
            yield early.pop(place)
    finally:
        pool.stop()
        pool.join()
