"""Streaming: ours against Petastorm's DataLoader, WebDataset, MosaicML Streaming, LitData and PNG files, in one run.

The same 4,000 patches of 128 × 128 for all, cut from the photographs in --images. Everybody gives shuffled batches of
uint8 tensors on the CPU; see streaming_runs.py for each one's format and settings. Rounds alternate between the
contestants, each in a process of its own, on warm files; an epoch that does not count comes first. What is given is
the median of all epochs' times. Ratios are a peer's time over ours, both with batches of 16 whole patches, ours with
its default reader (`petastorm`). Nobody else crops, mirrors and turns; that line of ours stands beside.

The peers are installed into build/peers/streaming by the first run.

    python benchmarks/bench_streaming.py [--images FOLDER] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from peer_environment import peer_python

from sr_model.images import decode_rgb

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ROOT / "build" / "peers" / "streaming"
WORK = ROOT / "build" / "bench-streaming"
IMAGES = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data")) / "images" / "train"
PACKAGES = ("webdataset==1.0.2", "mosaicml-streaming==0.13.0", "litdata==0.2.76", "torch==2.12.1", "pillow")
ROWS, SIDE = 4000, 128
PEER_NAMES = ("petastorm", "webdataset", "mosaicml", "litdata", "png")
OURS = ("ours-petastorm", "ours-arrow", "ours-augmented")


def cut_patches(images: Path, target: Path) -> None:
    """Write patches.npy: the first patches of a grid over the photographs, the same ones each time."""
    made = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(ROWS, SIDE, SIDE, 3))
    n = 0
    for archive in sorted(images.glob("*.tar")):
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name.lower().endswith((".jpg", ".jpeg", ".png")) else None
                if file is None:
                    continue
                picture = decode_rgb(file.read())
                for y in range(0, picture.shape[0] - SIDE + 1, SIDE):
                    for x in range(0, picture.shape[1] - SIDE + 1, SIDE):
                        made[n] = picture[y : y + SIDE, x : x + SIDE]
                        n += 1
                        if n == ROWS:
                            made.flush()
                            return
    raise SystemExit(f"--images {images}: only {n} patches of {SIDE} × {SIDE} in its tar files, {ROWS} wanted")


def python_of(name: str) -> str:
    """Return the interpreter that has a contestant's packages."""
    ours = name.startswith("ours") or name in ("petastorm", "parquet")
    return sys.executable if ours else str(PEERS / "bin" / "python")


def call(name: str, *argv: object) -> dict[str, Any]:
    """Run streaming_runs.py; its last line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [python_of(name), str(ROOT / "benchmarks" / "streaming_runs.py"), *map(str, argv)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def prepare(images: Path) -> dict[str, dict[str, str]]:
    """Install the peers and write patches in every format; return the versions of the packages they run with."""
    peer_python(PEERS, PACKAGES)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    cut_patches(images, WORK / "patches.npy")
    versions: dict[str, dict[str, str]] = {}
    for name in ("webdataset", "mosaicml", "litdata", "png", "parquet"):
        versions["ours" if name == "parquet" else "peers"] = call(name, "write", name, WORK)["versions"]
        size = sum(file.stat().st_size for file in (WORK / name).rglob("*") if file.is_file())
        print(f"  written: {name}, {size / 2**20:.0f} MiB", flush=True)
    return versions


def measure(rounds: int, epochs: int) -> dict[str, dict[str, Any]]:
    """Measure all contestants in turn, round after round."""
    plan = [(name, 16) for name in (*OURS, *PEER_NAMES)] + [(name, 256) for name in OURS]
    seconds: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name, batch in plan:
            label = f"{name} b{batch}"
            seconds.setdefault(label, []).extend(call(name, "read", name, WORK, batch, epochs)["seconds"])
            rate = ROWS / statistics.median(seconds[label])
            print(f"  round {turn + 1}: {label:20} {rate:8.0f} rows/s", flush=True)
    return {
        label: {
            "rows_per_second": round(ROWS / statistics.median(times)),
            "lowest": round(ROWS / max(times)),
            "highest": round(ROWS / min(times)),
            "epochs": len(times),
            "median_seconds": round(statistics.median(times), 5),
        }
        for label, times in seconds.items()
    }


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of tar files with photographs")
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    versions = prepare(args.images)
    load = os.getloadavg()
    found = measure(1 if args.quick else 3, 3)
    memory = call("ours", "read", "ours-petastorm", WORK, 16, 50)["memory"]
    growth = memory[-1] / memory[4] - 1
    base = found["ours-petastorm b16"]["median_seconds"]
    facts: dict[str, Any] = {
        "benchmark": "streaming",
        "patches": ROWS,
        "side": SIDE,
        **{f"ratio_{name}": round(found[f"{name} b16"]["median_seconds"] / base, 2) for name in PEER_NAMES},
        "memory_mib_epoch_5": memory[4],
        "memory_mib_epoch_50": memory[-1],
        "memory_flat": growth < 0.05,
        "contestants": found,
        "rounds": 1 if args.quick else 3,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "load_before_and_after": [round(load[0], 1), round(os.getloadavg()[0], 1)],
        "versions": {"python": platform.python_version(), **versions},
    }
    print(f"\n{'':22} {'rows/s':>8}  {'lowest … highest':>18}   ours is")
    for label, score in found.items():
        ratio = facts.get(f"ratio_{label.removesuffix(' b16')}")
        times = f"{ratio:.1f} times as fast" if ratio else ""
        print(f"{label:22} {score['rows_per_second']:8} {score['lowest']:9} … {score['highest']:<8} {times}")
    print(f"memory: {memory[4]} MiB after 5 epochs, {memory[-1]} MiB after 50")
    RESULTS.mkdir(exist_ok=True)
    name = f"streaming{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written to benchmarks/results/{name}")
    if args.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    main()
