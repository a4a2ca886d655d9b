"""Pictures of a run: rows of LR, bicubic, SR and HR, and the learning curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lakerank.cli.files import atomic_path, read_json_lines
from sr_model.degrade import bicubic_upscale

COLUMNS = ("LR", "bicubic", "SR", "HR")
_GAP = 4


def to_uint8(x_NCHW: Tensor) -> NDArray[np.uint8]:
    """Convert (N, 3, H, W) in [-1, 1] to (N, H, W, 3) uint8, clamped and rounded."""
    scaled = ((x_NCHW.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    out: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return out


@torch.no_grad()
def sample_grid(generator: nn.Module, lr_NCHW: Tensor, hr_NCHW: Tensor) -> NDArray[np.uint8]:
    """Draw one row for each picture: LR (pixels enlarged), bicubic, SR, HR; (rows, columns, 3) uint8.

    Args:
        generator: put into evaluation mode for it, and back.
        lr_NCHW: in [-1, 1].
        hr_NCHW: in [-1, 1], 4 times as large.
    """
    training = generator.training
    sr = to_uint8(generator.eval()(lr_NCHW))
    generator.train(training)
    rows = []
    for small, made, truth in zip(to_uint8(lr_NCHW), sr, to_uint8(hr_NCHW), strict=True):
        pixels = small.repeat(4, axis=0).repeat(4, axis=1)
        cells = (pixels, bicubic_upscale(small, 4), made, truth)
        rows.append(np.concatenate([np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0))) for cell in cells], axis=1))
    grid: NDArray[np.uint8] = np.concatenate(rows)[:-_GAP, :-_GAP]
    return grid


def save_grid(grid: NDArray[np.uint8], path: Path) -> None:
    """Write a grid as PNG."""
    with atomic_path(path) as fresh:
        Image.fromarray(grid).save(fresh, format="PNG")


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the lines of `history.jsonl`; none if it is not there.

    A last line that was cut short, as a killed run leaves one, is dropped with a word.

    Raises:
        UserError: another line is none of a training run; the message names it.
    """
    return read_json_lines(path, "step", "train")


def plot_curve(history: list[dict[str, float]], path: Path) -> bool:
    """Draw losses and validation PSNR over training time as PNG; return False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = sorted({key for line in history for key in line} - _NOT_LOSSES)
    for number, name in enumerate(names):
        seconds, values = np.array([(line["seconds"], line[name]) for line in history if name in line]).T
        left.plot(seconds, values, color=f"C{number}", linewidth=1, alpha=0.25)
        left.plot(*running_mean(seconds, values), color=f"C{number}", label=name, linewidth=1)
    # Wasserstein's losses have both signs and any size; others lie where symlog is linear and has no ticks.
    large = any(abs(line[name]) > 10 for line in history for name in names if name in line)
    left.set(xlabel="training time, s", ylabel="loss, and its running mean", yscale="symlog" if large else "linear")
    left.legend(fontsize=7)
    scored = [(line["seconds"], line["psnr_y"]) for line in history if "psnr_y" in line]
    if scored:
        right.plot(*zip(*scored, strict=True), marker=".")
    right.set(xlabel="training time, s", ylabel="validation PSNR on Y, dB")
    with atomic_path(path) as fresh:
        figure.savefig(fresh, dpi=120, format="png")
    return True


def running_mean(
    x: NDArray[np.float64], y: NDArray[np.float64], parts: int = 15
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the means of neighbours, a `parts`-th of all together: losses of single batches hide what is learned.

    Args:
        x, y: (n,).
        parts: how many windows lie side by side.

    Returns:
        Both averaged, (n − window + 1,).
    """
    window = max(1, len(x) // parts)
    weights = np.full(window, 1 / window)
    return np.convolve(x, weights, "valid"), np.convolve(y, weights, "valid")


_NOT_LOSSES = {"step", "epoch", "seconds", "psnr_y", "ssim_y", "images_per_second", "waiting", "lr"}
