"""Checkpoints of a training run: written whole or not at all, the last few and the best kept.

A checkpoint holds tensors and plain values only, so that reading one cannot run code.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lakerank.cli.errors import UserError
from lakerank.cli.files import atomic_path
from sr_model.weights import read_pt

FORMAT = "lakerank-training-1"
BEST = "best.pt"


class Checkpoints:
    """Keep the checkpoints of a run in its folder.

    Args:
        folder: where they lie; made if missing.
        keep: how many of the last are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Path]:
        """List them in the order of their steps."""
        return sorted(path for path in self.folder.glob("step-*.pt") if re.fullmatch(r"step-\d{9}\.pt", path.name))

    def last(self) -> Path | None:
        """Return the newest, if there is one."""
        found = self.all()
        return found[-1] if found else None

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write one, and drop those that are too old.

        Raises:
            UserError: it cannot be written; those before it stay.
        """
        path = self._write(f"step-{step:09}.pt", state)
        for old in self.all()[: -self.keep]:
            old.unlink()
        return path

    def save_best(self, state: Mapping[str, Any]) -> Path:
        """Write the one with the best score, in the place of the last best; errors as `save`."""
        return self._write(BEST, state)

    def _write(self, name: str, state: Mapping[str, Any]) -> Path:
        path = self.folder / name
        try:
            with atomic_path(path) as fresh:
                torch.save({"format": FORMAT, **state}, fresh)
        except (OSError, RuntimeError) as error:  # PyTorch's writer says RuntimeError when the disk is full
            if not isinstance(error, OSError) and "writ" not in str(error):
                raise
            reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
            raise UserError(
                f"{path}: the checkpoint cannot be written ({reason}); make room and go on with --resume auto, from "
                f"{self.last() or 'the beginning'}"
            ) from error
        return path


def read_newest(found: Checkpoints, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the newest checkpoint that is whole; one that is damaged is said and passed over. None: there is none.

    Raises:
        UserError: all are damaged, or they are of a run with other settings.
    """
    paths = found.all()[::-1]
    for number, path in enumerate(paths):
        try:
            saved = read_pt(path)
        except UserError as error:
            if number == len(paths) - 1:
                raise
            print(f"train: {error}; the one before it is taken", flush=True)
            continue
        return _accepted(saved, path, config)
    return None


def read_checkpoint(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint to go on from.

    Args:
        path: the file.
        config: the run's settings; what decides the computation must be the checkpoint's.

    Raises:
        UserError: missing, damaged, not ours, or of a run with other settings.
    """
    if not path.is_file():
        raise UserError(f"--resume {path}: no such checkpoint")
    return _accepted(read_pt(path), path, config)


def _accepted(saved: dict[str, Any], path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    if saved.get("format") != FORMAT:
        raise UserError(f"--resume {path}: no training checkpoint of ours")
    for key, value in saved["config"].items():
        if key not in MAY_CHANGE and key in config and config[key] != value:
            raise UserError(
                f"--resume {path}: that run has {key}={value}, this one {key}={config[key]}; "
                "give the same settings, or begin anew with another --out and --init-from this file"
            )
    return saved


def best_or_last(found: Checkpoints) -> Path | None:
    """Find the best checkpoint of a run, else the last that is whole; one that is damaged is said and passed over.

    Raises:
        UserError: all are damaged.
    """
    best = found.folder / BEST
    paths = [path for path in (best, *found.all()[::-1]) if path.exists()]
    for number, path in enumerate(paths):
        try:
            read_pt(path)
        except UserError as error:
            if number == len(paths) - 1:
                raise
            print(f"train: {error}; {paths[number + 1].name} is taken", flush=True)
            continue
        return path
    return None


# Where a run runs and what it shows may change on the way; what it computes may not. Lengths may grow.
MAY_CHANGE = {
    *("json", "data", "valid", "out", "resume", "init_from", "reader", "workers", "cache", "compile", "device"),
    *("threads", "log_every", "valid_every", "sample_every", "checkpoint_every", "checkpoint_epochs", "keep_last"),
    *("leak_check", "tensorboard", "stop_after", "n_epoch_init", "n_epoch", "steps_init", "steps", "seconds", "mode"),
    "amp",
}


def git_commit() -> str:
    """Return the checkout's commit, with `+` if files differ from it; empty where there is no git."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:
        return ""
