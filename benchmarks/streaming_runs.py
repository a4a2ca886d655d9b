"""The contestants of bench_streaming.py: each writes the patches in its own format, and reads them epoch by epoch.

Run by bench_streaming.py, each in a process of its own with the interpreter that has its packages:
`streaming_runs.py write|read NAME FOLDER …`. Prints one JSON line. Imports nothing of lakerank unless ours is run.

All of them give batches of uint8 tensors (N, 128, 128, 3), whole patches, shuffled anew in each epoch. Peers have as
many workers as there are cores, ours has one. Each gets its fastest lossless format: only `png` decompresses.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WORKERS = 2
OUR_WORKERS = 1  # reading is the smaller part of our work: with a second reader four threads fight for two cores
SHUFFLE_BUFFER = 1000  # of those who shuffle by a buffer


def patches(folder: Path) -> np.ndarray:
    """Return all patches, (rows, 128, 128, 3) uint8, from the file that everybody writes from."""
    return np.load(folder / "patches.npy", mmap_mode="r")


def write_parquet(folder: Path) -> None:
    """Write our Parquet files; Petastorm's own reader reads them, too."""
    from sr_model.data.format import PatchRow
    from sr_model.data.writer import finish, write_part

    target, images = folder / "parquet", patches(folder)
    parts = []
    for n, share in enumerate(np.array_split(np.arange(len(images)), 4)):
        rows = (PatchRow(np.ascontiguousarray(images[i]), None, "patch", int(i), 0) for i in share)
        parts.append(write_part(target / f"{n}.parquet", rows, patch=images.shape[1]))
    finish(target, [part for part in parts if part], patch=images.shape[1])


def write_png(folder: Path) -> None:
    """Write one file for each patch."""
    from PIL import Image

    (folder / "png").mkdir()
    for i, image in enumerate(patches(folder)):
        Image.fromarray(image).save(folder / "png" / f"{i:05}.png")


def write_webdataset(folder: Path) -> None:
    """Write tar shards of .npy files."""
    import webdataset

    (folder / "webdataset").mkdir()
    with webdataset.ShardWriter(str(folder / "webdataset" / "%04d.tar"), maxcount=500, verbose=0) as sink:
        for i, image in enumerate(patches(folder)):
            sink.write({"__key__": f"{i:05}", "npy": np.ascontiguousarray(image)})


def write_mosaicml(folder: Path) -> None:
    """Write MDS shards of raw arrays."""
    from streaming import MDSWriter

    images = patches(folder)
    kind = "ndarray:uint8:" + ",".join(map(str, images.shape[1:]))
    with MDSWriter(out=str(folder / "mosaicml"), columns={"hr": kind}, compression=None) as sink:
        for image in images:
            sink.write({"hr": np.ascontiguousarray(image)})


def _litdata_sample(job: tuple[str, int]) -> dict[str, Any]:
    import torch

    path, i = job
    return {"hr": torch.from_numpy(np.load(path, mmap_mode="r")[i].copy())}


def write_litdata(folder: Path) -> None:
    """Write chunks of raw tensors."""
    import litdata

    jobs = [(str(folder / "patches.npy"), i) for i in range(len(patches(folder)))]
    litdata.optimize(_litdata_sample, jobs, str(folder / "litdata"), chunk_bytes="64MB", num_workers=1)


def read_ours(folder: Path, batch: int, reader: str, **settings: Any) -> Iterator[Any]:
    """Read by our stream, without end."""
    import torch

    from sr_model.data.open_stream import open_stream

    with open_stream(folder / "parquet", reader=reader, batch=batch, workers=OUR_WORKERS, **settings) as stream:
        for made in stream:
            yield torch.from_numpy(made.hr)


def read_petastorm(folder: Path, batch: int) -> Iterator[Any]:
    """Read by `make_reader` and Petastorm's DataLoader, as its guide has it; only the column that is needed."""
    from sr_model.data.petastorm_compat import make_reader

    import petastorm.pytorch  # isort: skip  (after the layer that makes it importable)

    url = f"file://{(folder / 'parquet').resolve()}"
    with make_reader(url, schema_fields=["hr"], num_epochs=None, workers_count=WORKERS) as reader:
        for made in petastorm.pytorch.DataLoader(reader, batch_size=batch, shuffling_queue_capacity=SHUFFLE_BUFFER):
            yield made["hr"]


def read_webdataset(folder: Path, batch: int) -> Iterator[Any]:
    """Read shards, with shuffled shards and buffer, batched in the workers."""
    import torch
    import webdataset

    shards = sorted(map(str, (folder / "webdataset").glob("*.tar")))
    data = webdataset.WebDataset(shards, shardshuffle=len(shards), nodesplitter=None, seed=0)
    data = data.shuffle(SHUFFLE_BUFFER).decode().to_tuple("npy").batched(batch)
    loader = webdataset.WebLoader(data, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    while True:
        for (images,) in loader:
            yield torch.as_tensor(images)


def read_mosaicml(folder: Path, batch: int) -> Iterator[Any]:
    """Read a StreamingDataset in torch's DataLoader."""
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory
    from torch.utils.data import DataLoader

    clean_stale_shared_memory()
    data = StreamingDataset(local=str(folder / "mosaicml"), shuffle=True, batch_size=batch)
    loader = DataLoader(data, batch_size=batch, num_workers=WORKERS, persistent_workers=True)
    while True:
        for made in loader:
            yield made["hr"]


def read_litdata(folder: Path, batch: int) -> Iterator[Any]:
    """Read by StreamingDataset and StreamingDataLoader."""
    import litdata

    data = litdata.StreamingDataset(str(folder / "litdata"), shuffle=True)
    loader = litdata.StreamingDataLoader(data, batch_size=batch, num_workers=WORKERS, persistent_workers=True)
    while True:
        for made in loader:
            yield made["hr"]


def read_png(folder: Path, batch: int) -> Iterator[Any]:
    """Read files by torch's DataLoader."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Files(Dataset):  # type: ignore[type-arg]
        """PNG files."""

        def __init__(self) -> None:
            self.files = sorted((folder / "png").glob("*.png"))

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, i: int) -> torch.Tensor:
            return torch.from_numpy(np.asarray(Image.open(self.files[i])).copy())

    loader = DataLoader(Files(), batch_size=batch, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    while True:
        yield from loader


WRITE: dict[str, Callable[[Path], None]] = {
    "parquet": write_parquet,
    "png": write_png,
    "webdataset": write_webdataset,
    "mosaicml": write_mosaicml,
    "litdata": write_litdata,
}
READ: dict[str, Callable[[Path, int], Iterator[Any]]] = {
    "ours-petastorm": lambda folder, batch: read_ours(folder, batch, "petastorm", augment=False),
    "ours-arrow": lambda folder, batch: read_ours(folder, batch, "arrow", augment=False),
    "ours-augmented": lambda folder, batch: read_ours(folder, batch, "petastorm", augment=True, crop=96),
    "petastorm": read_petastorm,
    "webdataset": read_webdataset,
    "mosaicml": read_mosaicml,
    "litdata": read_litdata,
    "png": read_png,
}


def resident_megabytes() -> float:
    """Return the memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def read(name: str, folder: Path, batch: int, epochs: int) -> dict[str, Any]:
    """Measure the seconds of each epoch after a first one that does not count, and the memory after each."""
    rows = len(patches(folder))
    seconds: list[float] = []
    memory: list[float] = []
    given = checked = 0
    begun = time.perf_counter()
    for images in READ[name](folder, batch):
        given += len(images)
        checked += int(images[-1, -1, -1, -1])  # the bytes are there
        if given >= rows * (len(seconds) + 1):
            now = time.perf_counter()
            seconds.append(now - begun)
            memory.append(round(resident_megabytes(), 1))
            begun = now
            if len(seconds) > epochs:
                break
    return {"seconds": seconds[1:], "memory": memory[1:], "checked": checked}


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("numpy", "torch", "pyarrow", "petastorm", "webdataset", "mosaicml-streaming", "litdata", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    verb, which, where = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if verb == "write":
        WRITE[which](where)
        outcome: dict[str, Any] = {"versions": versions()}
    else:
        outcome = read(which, where, int(sys.argv[4]), int(sys.argv[5]))
    print("\n" + json.dumps(outcome), flush=True)
    os._exit(0)  # persistent workers of some would be waited for
