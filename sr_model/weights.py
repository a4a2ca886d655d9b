"""A generator's weights in one file: safetensors with the net's name, which cannot run code when read.

Training checkpoints (`.pt`) are read too: their averaged weights are taken if there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from spark_jobs.lake.errors import UserError
from sr_model.nets import GENERATORS, make_generator

FORMAT = "lakerank-generator-1"
PRETRAINED = Path(__file__).parent / "pretrained"  # `tiny.safetensors` there is the checkpoint called `tiny`


def save_generator(generator: nn.Module, net: str, path: Path, facts: Mapping[str, str] | None = None) -> None:
    """Write the weights as safetensors; the file is there whole or not at all.

    Args:
        generator: whose weights.
        net: its key in `GENERATORS`.
        path: ends in `.safetensors`.
        facts: what else to note: training data, steps, figures.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    # Not `save_file`: it makes a file that its owner alone can read.
    part.write_bytes(save(tensors, metadata={**(facts or {}), "format": FORMAT, "net": net, "scale": "4"}))
    part.replace(path)


def pretrained() -> list[str]:
    """Names of the weights that come with this package."""
    return sorted(file.stem for file in PRETRAINED.glob("*.safetensors"))


def load_generator(path: str | Path, device: str | torch.device = "cpu", net: str = "") -> nn.Module:
    """A generator in evaluation mode with the weights of a file.

    Args:
        path: `.safetensors` written by `save_generator`, a training checkpoint `.pt`, or the name of one that comes
            with this package.
        device: where to put it.
        net: refuse the file unless it holds this net; empty accepts any.

    Raises:
        UserError: no such file, not a file of ours, another net, or tensors that do not fit.
    """
    path = Path(path)
    if not path.is_file() and path.name in pretrained():
        path = PRETRAINED / f"{path.name}.safetensors"
    if not path.is_file():
        raise UserError(
            f"{path}: no such checkpoint; train one by `python -m sr_model.train`, or give a file or one of "
            f"{', '.join(pretrained()) or '(none come with this version)'}"
        )
    held, tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    if held not in GENERATORS:
        raise UserError(f"{path}: holds the net `{held}`, which this version does not know ({', '.join(GENERATORS)})")
    if net and held != net:
        raise UserError(f"{path}: holds the net `{held}`, not `{net}`; give --net {held} or another checkpoint")
    generator = make_generator(held)
    try:
        generator.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise UserError(f"{path}: its tensors do not fit `{held}` ({str(error).splitlines()[-1].strip()})") from error
    return generator.eval().to(device)


def _read_safetensors(path: Path) -> tuple[str, Mapping[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a sound safetensors file ({error})") from error
    if facts.get("format") != FORMAT:
        raise UserError(f"{path}: no generator of ours (its metadata has no `format: {FORMAT}`)")
    return facts["net"], tensors


def _read_checkpoint(path: Path) -> tuple[str, Mapping[str, Tensor]]:
    saved = read_pt(path)
    try:
        return saved["config"]["net"], saved["ema"] or saved["generator"]
    except KeyError as error:
        raise UserError(f"{path}: no training checkpoint of ours ({error} is missing)") from error


def read_pt(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, tensors and plain values only: such a file cannot run code.

    Raises:
        UserError: not readable as that.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling foreign bytes raises nearly anything
        raise UserError(f"{path}: not a sound checkpoint ({str(error).splitlines()[0][:120]})") from error
    if not isinstance(saved, dict):
        raise UserError(f"{path}: no training checkpoint of ours (it holds a {type(saved).__name__})")
    return saved
