"""Never lose a row: random reads of small data sets, each checked row by row.

A read draws its reader (our stream on Petastorm's pool or on pyarrow, from memory, or Petastorm's own `make_reader`
behind the compatibility layer), its workers, shards, shuffling, epochs and, for the stream, a place where it is
broken off and resumed by another number of processes. It is complete if every row came exactly once an epoch over
all shards. With --original so many reads are made by `make_reader` with Petastorm's ventilator and thread pool as they
were released, for comparison.

    python benchmarks/completeness.py [--reads 10000] [--seed 0] [--original 1000] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sr_model.data import petastorm_compat as compat
from sr_model.data.format import PatchRow
from sr_model.data.open_stream import open_stream
from sr_model.data.writer import finish, write_part

RESULTS = Path(__file__).parent / "results"
SIDE = 4
# Rows, files and rows in a row group: one row, fewer rows than workers, uneven ends, one file, many.
SHAPES = ((1, 1, 1), (5, 3, 1), (17, 2, 4), (61, 4, 7), (120, 1, 16))


@dataclass(frozen=True)
class DataSet:
    """A small data set whose patches are numbered by their pixels."""

    folder: Path
    rows: int
    row_groups: int


@dataclass
class Tally:
    """How many reads of each kind there were, and what was wrong with which."""

    reads: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    incomplete: list[str] = field(default_factory=list)


def write(folder: Path) -> list[DataSet]:
    """Write the data sets."""
    made = []
    for rows, files, row_group_rows in SHAPES:
        target = folder / f"{rows}-{files}-{row_group_rows}"
        patches = [PatchRow(np.full((SIDE, SIDE, 3), i, np.uint8), None, "none", i, 0) for i in range(rows)]
        parts = [
            write_part(target / f"{n}.parquet", patches[n::files], patch=SIDE, row_group_rows=row_group_rows)
            for n in range(files)
        ]
        finish(target, [part for part in parts if part], patch=SIDE)
        made.append(DataSet(target, rows, sum(len(part.row_groups) for part in parts if part)))
    return made


def read_stream(data: DataSet, draw: random.Random) -> tuple[str, Counter[int], int]:
    """Read once by our stream; return (its description, how often each row came, epochs)."""
    epochs = draw.randint(1, 3)
    settings = {
        "reader": draw.choice(["petastorm", "petastorm", "arrow"]),
        "workers": draw.randint(1, 4),
        "batch": draw.choice([1, 3, 8, 50]),
        "seed": draw.randrange(1000),
        "shuffle": draw.random() < 0.8,
        "augment": draw.random() < 0.8,
        "window_rows": draw.choice([1, 10, 1000]),
        "epochs": epochs,
        "cache": draw.choice(["none", "none", "none", "device"]),
    }
    world, later = draw.randint(1, 4), draw.randint(1, 4)
    stop = draw.choice([None, draw.randint(1, 5)])
    found: Counter[int] = Counter()
    state = None
    for rank in range(world):
        with open_stream(data.folder, rank=rank, world=world, **settings) as stream:  # type: ignore[arg-type]
            for batch in islice(stream, stop):
                found.update(np.asarray(batch.hr)[:, 0, 0, 0].tolist())
            # With fewer steps than that, a process may have had nothing in the last one: the furthest place counts.
            reached = stream.state_dict()
            state = reached if state is None or reached["position"] > state["position"] else state
    what = f"{settings}, {world} shards"
    if stop is not None:
        what += f", resumed after {stop} steps by {later}"
        for rank in range(later):
            with open_stream(data.folder, rank=rank, world=later, **settings) as stream:  # type: ignore[arg-type]
                stream.load_state_dict(state or {})
                for batch in stream:
                    found.update(np.asarray(batch.hr)[:, 0, 0, 0].tolist())
    kind = "memory" if settings["cache"] == "device" else str(settings["reader"])
    return f"stream, {kind}: {what}", found, epochs


def read_petastorm(data: DataSet, draw: random.Random) -> tuple[str, Counter[int], int]:
    """Read once by Petastorm's own reader."""
    epochs = draw.randint(1, 3)
    shards = draw.randint(1, min(4, data.row_groups))
    settings = {
        "reader_pool_type": "process" if draw.random() < 0.003 else draw.choice(["thread", "thread", "dummy"]),
        "workers_count": draw.randint(1, 4),
        "seed": draw.choice([None, draw.randrange(1000)]),
        "shuffle_row_groups": draw.random() < 0.8,
        "shuffle_rows": draw.random() < 0.5,
        "num_epochs": epochs,
    }
    found: Counter[int] = Counter()
    for shard in range(shards):
        given = {**settings, **({"cur_shard": shard, "shard_count": shards} if shards > 1 else {})}
        # Without a seed the shards' order is that of the files; Petastorm prints when it has cleaned up.
        with contextlib.redirect_stdout(io.StringIO()), compat.make_reader(f"file://{data.folder}", **given) as reader:
            found.update(int(row.hr[0, 0, 0]) for row in reader)
    return f"make_reader, {settings['reader_pool_type']}: {settings}, {shards} shards", found, epochs


Read = Callable[[DataSet, random.Random], tuple[str, Counter[int], int]]


def run(numbers: range, seed: int, kinds: list[Read], released: bool = False) -> Tally:
    """Check the reads of these numbers; each number draws a read."""
    tally = Tally()
    shown = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, as_released() if released else nullcontext():
        data = write(Path(folder))
        for n in numbers:
            draw = random.Random(f"{seed} {n}")
            chosen = draw.choice(data)
            try:
                what, found, epochs = draw.choice(kinds)(chosen, draw)
            except Exception as error:  # an error is a read that is not complete, and the next one is to be made
                what, found, epochs = f"{type(error).__name__}: {error}", Counter(), 1
            tally.reads[what.partition(":")[0]] += 1
            tally.rows += found.total()
            if found != Counter(dict.fromkeys(range(chosen.rows), epochs)):
                line = f"read {n}: {found.total()} of {chosen.rows * epochs} rows of {chosen.folder.name}, {what}"
                if not released:  # there it is no news
                    print(f"  INCOMPLETE {line}", flush=True)
                tally.incomplete.append(line)
            if time.perf_counter() - shown > 20:
                shown = time.perf_counter()
                print(f"  at read {n} of {numbers.stop}: {len(tally.incomplete)} incomplete here", flush=True)
    return tally


@contextmanager
def as_released() -> Iterator[None]:
    """Restore Petastorm's own ventilator, and its own test of when a worker of the thread pool is done."""
    ours, done = compat.reader.ConcurrentVentilator, compat.ThreadPool.current_worker_done
    compat.reader.ConcurrentVentilator = compat.ConcurrentVentilator
    compat.ThreadPool.current_worker_done = compat._worker_done
    try:
        yield
    finally:
        compat.reader.ConcurrentVentilator, compat.ThreadPool.current_worker_done = ours, done


def run_all(reads: int, seed: int, kinds: list[Read], released: bool, processes: int) -> Tally:
    """Run all reads, by some processes: small reads wait for threads to end more than they compute."""
    tally = Tally()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        shares = [range(first, reads, processes) for first in range(processes)]
        for part in pool.map(run, shares, *(repeat(same) for same in (seed, kinds, released))):
            tally.reads += part.reads
            tally.rows += part.rows
            tally.incomplete += part.incomplete
    return tally


def main() -> int:
    """Run, print, keep; 1 if a read was incomplete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--original", type=int, default=0, help="reads by Petastorm as it was released")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    begun = time.perf_counter()
    ours = run_all(args.reads, args.seed, [read_stream, read_stream, read_petastorm], False, args.processes)
    seconds = time.perf_counter() - begun
    print(f"{args.reads} reads of {ours.rows} rows in {seconds:.0f} s: {len(ours.incomplete)} incomplete")
    for kind, n in sorted(ours.reads.items()):
        print(f"  {n:6} {kind}")
    facts = {
        "benchmark": "completeness",
        "reads": args.reads,
        "rows": ours.rows,
        "incomplete": len(ours.incomplete),
        "kinds": dict(sorted(ours.reads.items())),
        "seconds": round(seconds, 1),
        "seed": args.seed,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "petastorm": compat.VERSION, "numpy": np.__version__},
    }
    if args.original:
        released = run_all(args.original, args.seed, [read_petastorm], True, args.processes)
        facts |= {"original_reads": args.original, "original_incomplete": len(released.incomplete)}
        print(f"Petastorm as it was released: {len(released.incomplete)} of {args.original} reads incomplete")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "completeness.json").write_text(json.dumps(facts, indent=1) + "\n")
    if args.json:
        print(json.dumps(facts))
    return 1 if ours.incomplete else 0


if __name__ == "__main__":
    sys.exit(main())
