"""Super-resolution on a CPU: what `tiny` learns in a fixed time, against bicubic. The bar for every change.

Patches stream from a Petastorm data set; nothing is chosen on Set5 or Set14, which are only scored. The time
counts training alone (batches, steps), not start-up, validation and checkpoints.

    python benchmarks/bench_sr_cpu.py --images TRAIN.tar,… --sets DIR [--patches DIR] [--seconds 300] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from sr_model import evaluate, train

RESULTS = Path(__file__).parent / "results"
BAR_DB = 30.6  # Set5, PSNR on Y, after 300 s on 2 cores
MOST_PARAMETERS = 100_000


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def build_patches(images: str, out: Path) -> None:
    """Cut the patches unless they are there."""
    if (out / "train").exists():
        return
    command = [sys.executable, "-m", "sr_model.build_patches", "--source", images, "--out", str(out), "--workers", "2"]
    # LR cut from the LR of the whole picture: made from small crops it would have wrong edges.
    command += ["--store-lr"]
    subprocess.run(command, check=True)


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="", help="training pictures (folder or tars, comma separated)")
    parser.add_argument("--patches", default="build/bench-patches", help="where the patches are, or are to be made")
    parser.add_argument("--sets", required=True, help="folder that holds Set5 and Set14")
    parser.add_argument("--config", default="tiny-cpu")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="build/bench-sr-cpu")
    parser.add_argument("--quick", action="store_true", help="60 seconds")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    seconds = 60.0 if args.quick else args.seconds
    patches, out, sets = Path(args.patches), Path(args.out), Path(args.sets)
    if args.images:
        build_patches(args.images, patches)
    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    words = ["--config", args.config, f"seconds={seconds}", f"seed={args.seed}", f"data={patches / 'train'}"]
    words += [f"out={out}", f"valid={sets / 'Set5'}", "device=cpu", "threads=2", "tensorboard=false"]
    if train.main(words) != 0:
        return 1
    weights = out / "init.safetensors"
    data = f"{sets / 'Set5'},{sets / 'Set14'}"
    if evaluate.main(["--checkpoint", str(weights), "--data", data, "--out", str(out / "evaluation")]) != 0:
        return 1
    scores = json.loads((out / "evaluation" / "scores.json").read_text())
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    state = torch.load(out / "checkpoints" / "best.pt", weights_only=True)
    parameters = sum(value.numel() for value in state["generator"].values())
    facts = {
        "benchmark": "sr_cpu",
        "config": args.config,
        "seed": args.seed,
        "training_seconds": round(history[-1]["seconds"], 1),
        "wall_seconds": round(time.perf_counter() - begun, 1),
        "steps": history[-1]["step"],
        "parameters": parameters,
        "set5": scores["sets"]["Set5"],
        "set14": scores["sets"]["Set14"],
        "curve_set5": [[line["seconds"], round(line["psnr_y"], 3)] for line in history if "psnr_y" in line],
        "machine": f"{os.cpu_count()} cores, {cpu_model()}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    reached = facts["set5"]["model"]["psnr_y"]
    print(f"\nSet5 {reached:.2f} dB after {facts['training_seconds']} s with {parameters} parameters (bar {BAR_DB})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"sr-cpu{'-quick' if args.quick else ''}.json").write_text(json.dumps(facts, indent=1) + "\n")
    if args.json:
        print(json.dumps(facts))
    return 0 if parameters <= MOST_PARAMETERS else 1


if __name__ == "__main__":
    sys.exit(main())
