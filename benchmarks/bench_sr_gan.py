"""Which GAN loss trains a small SRGAN stably: the paper's, the seed's Wasserstein, the relativistic; five seeds each.

Every run begins with the same generator, trained for PSNR, and differs in the GAN loss and the seed only. What is
looked at along the way: the discriminator's loss, PSNR on Set5; at the end PSNR, NIQE and GMSD on Set5 and Set14. A run
is called stable if every loss is a number, PSNR never falls below bicubic interpolation's, and in the last quarter
neither network has won: the discriminator's loss lies between `WON` and `LOST` of what it is when it cannot tell.

    python benchmarks/bench_sr_gan.py --patches DIR --sets DIR [--niqe-model FILE] [--steps 500] [--seeds 5] [--json]

`DIR` is what `python -m sr_model.build_patches` wrote, and the folder that holds Set5 and Set14. A run of 500 steps
takes two minutes on a core; those that are done are kept in `--out`, so a second call goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from sr_model import evaluate, train
from sr_model.training.samples import read_history

RESULTS = Path(__file__).resolve().parent / "results"
# Loss of the discriminator when it cannot tell; a Wasserstein critic's is 0, and has no bounds.
UNSURE = {"vanilla": 2 * math.log(2), "relativistic": math.log(2), "wgan": None}
WON, LOST = 0.1, 1.5
# A discriminator that learns as fast as the generator wins after some hundred steps.
_ADAM = ["losses=l1=1,features=1,adversarial=0.04", "optimizer=adam", "lr=2e-4", "discriminator_lr=3e-5"]
GAN_LOSSES = {
    "vanilla": [*_ADAM, "discriminator=srgan"],
    "relativistic": [*_ADAM, "discriminator=srgan"],
    # As in the seed: its discriminator, RMSProp, clipped weights, which leave no features worth comparing.
    "wgan": ["losses=l1=1,adversarial=0.1", "optimizer=rmsprop", "lr=1e-4", "discriminator=seed"],
}


def one_run(loss: str, seed: int, args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Train and score, unless that is done; the curves and the scores."""
    kept = out / "run.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    words = [
        *GAN_LOSSES[loss],
        "--mode",
        "srgan",
        "net=tiny",
        f"init_from={args.weights}",
        f"adversarial={loss}",
        f"seed={seed}",
    ]
    words += [f"data={args.patches / 'train'}", f"out={out}", f"valid={args.sets / 'Set5'}", "leak_check=false"]
    words += ["n_epoch_init=0", f"steps={args.steps}", "crop=64", "batch=8", "discriminator_width=32", "ema=0.99"]
    words += ["schedule=constant", "amp=bf16", "device=cpu", f"threads={args.threads}", "workers=1", "resume=auto"]
    words += ["tensorboard=false", "sample_every=0", "log_every=10", "valid_every=50", "checkpoint_every=200"]
    if train.main(words) != 0:  # a loss that is no number ends a run
        return {"finite": False}
    scoring = ["--checkpoint", str(out / "gan.safetensors"), "--data", f"{args.sets / 'Set5'},{args.sets / 'Set14'}"]
    scoring += ["--out", str(out / "evaluation"), "--metrics", "psnr_y,ssim_y,niqe,gmsd"]
    scoring += ["--niqe-model", str(args.niqe_model)] if args.niqe_model else []
    assert evaluate.main(scoring) == 0
    sets = json.loads((out / "evaluation" / "scores.json").read_text())["sets"]
    history = read_history(out / "history.jsonl")
    run = {
        "finite": True,
        "d": [[line["step"], round(line["d"], 4)] for line in history if "d" in line],
        "adversarial": [[line["step"], round(line["adversarial"], 4)] for line in history if "adversarial" in line],
        "psnr_y": [[line["step"], round(line["psnr_y"], 3)] for line in history if "psnr_y" in line],
        "bicubic": sets["Set5"]["bicubic"]["psnr_y"],
        **{name: {key: round(value, 4) for key, value in sets[name]["model"].items()} for name in ("Set5", "Set14")},
    }
    kept.write_text(json.dumps(run))
    return run


def stable(loss: str, run: dict[str, Any]) -> bool:
    """Tell whether a run is stable; see the module's text."""
    if not run["finite"] or min(value for _, value in run["psnr_y"]) < run["bicubic"]:
        return False
    unsure = UNSURE[loss]
    late = [value for _, value in run["d"][-len(run["d"]) // 4 :]]
    return unsure is None or WON * unsure < statistics.mean(late) < LOST * unsure


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Plot PSNR above and the discriminator's loss below for each GAN loss, a line for each seed."""
    figure = Figure(figsize=(3.2 * len(runs), 4.4), layout="constrained")
    axes = figure.subplots(2, len(runs), sharex=True, squeeze=False)
    for column, (loss, several) in enumerate(runs.items()):
        for run in several:
            if run["finite"]:
                axes[0][column].plot(*zip(*run["psnr_y"], strict=True), linewidth=1)
                axes[1][column].plot(*zip(*run["d"], strict=True), linewidth=0.7)
        axes[0][column].set(title=loss, ylim=(28, 31.5))
        axes[0][column].axhline(several[0].get("bicubic", 28.43), color="grey", linewidth=0.7, linestyle=":")
        if UNSURE[loss]:
            axes[1][column].axhline(UNSURE[loss], color="grey", linewidth=0.7, linestyle=":")
        axes[1][column].set(xlabel="step")
    axes[0][0].set(ylabel="PSNR on Y of Set5, dB")
    axes[1][0].set(ylabel="discriminator's loss")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True, help="folder that holds Set5 and Set14")
    parser.add_argument("--weights", default="tiny", help="the generator every run begins with")
    parser.add_argument("--losses", nargs="+", choices=list(GAN_LOSSES), default=list(GAN_LOSSES))
    parser.add_argument("--niqe-model", type=Path, help="published statistics for NIQE")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/bench-sr-gan"))
    parser.add_argument("--plot", type=Path, default=Path("build/bench-sr-gan/curves.png"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    runs = {
        loss: [one_run(loss, seed, args, args.out / f"{loss}-{seed}") for seed in range(args.seeds)]
        for loss in args.losses
    }
    draw(runs, args.plot)
    facts: dict[str, Any] = {
        "benchmark": "sr_gan",
        "settings": {"steps": args.steps, "weights": args.weights, "gan_losses": GAN_LOSSES},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "gan_losses": {},
    }
    for loss, several in runs.items():
        good = [run for run in several if run["finite"]]
        facts["gan_losses"][loss] = {
            "stable": sum(stable(loss, run) for run in several),
            "seeds": len(several),
            **{
                name: {key: round(statistics.median(run[name][key] for run in good), 4) for key in good[0][name]}
                for name in ("Set5", "Set14")
                if good
            },
            "runs": several,
        }
        told = facts["gan_losses"][loss]
        print(f"{loss:13} stable {told['stable']} of {told['seeds']}; medians: {told.get('Set5')} {told.get('Set14')}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sr-gan.json").write_text(json.dumps(facts) + "\n")
    if args.json:
        print(json.dumps({**facts, "gan_losses": {loss: told["stable"] for loss, told in facts["gan_losses"].items()}}))


if __name__ == "__main__":
    sys.exit(main())
