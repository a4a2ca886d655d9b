"""Export a generator to TorchScript or ONNX, and check the file against PyTorch before it is put in place.

`python -m sr_model.export --checkpoint build/sr/gan.safetensors --out gan.onnx`. The guide is docs/upscaling.md.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.files import atomic_path
from lakerank.cli.settings import Range, Settings, flag
from sr_model.nets.community import COMMUNITY
from sr_model.weights import read_generator
from sr_model.zoo import CHECKPOINT_HELP, DEFAULT

FORMAT = "lakerank-export-1"
METADATA = "lakerank.json"  # the entry of a TorchScript file that holds the metadata
_SUFFIXES = {".pt": "torchscript", ".ts": "torchscript", ".onnx": "onnx"}
_ALLOWED = 1 / 255  # a grey level is 2/255 on [-1, 1]; half of one cannot be seen nor change more than the rounding
# Batch, height, width: one pixel, long strips, odd and even sides.
_CHECKED = ((1, 1, 1), (1, 3, 40), (2, 17, 8), (3, 24, 31), (1, 64, 48))

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class ExportArgs(Settings):
    """Settings of the export."""

    checkpoint: str = flag("", CHECKPOINT_HELP, metavar="NAME|FILE")
    out: str = flag("", "file to write", metavar="FILE")
    format: str = flag("", "default: what --out ends with (.pt, .ts, .onnx)", choices=("", "torchscript", "onnx"))
    opset: int = flag(18, "ONNX operator set", within=Range(18))
    seed: int = flag(0, "of the pictures for the check")
    force: bool = flag(False, "overwrite what is there")


def metadata_of(generator: nn.Module, net: str, checkpoint: str) -> dict[str, str]:
    """Return the metadata of the exported file, which is stored in it.

    Args:
        generator: what is exported.
        net: its key in `GENERATORS`.
        checkpoint: what it was read from.
    """
    return {
        "format": FORMAT,
        "net": net,
        "checkpoint": Path(checkpoint).name,
        "scale": str(int(generator.scale)),  # type: ignore[arg-type]
        "input": "lr (N, 3, h, w) float32 RGB in [-1, 1], i.e. byte / 127.5 - 1",
        "output": "sr (N, 3, scale*h, scale*w) float32 RGB, to be clamped to [-1, 1]",
    }


def export_torchscript(generator: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Trace and write; opens with `torch.jit.load`, metadata by `_extra_files={"lakerank.json": ""}`."""
    with _quiet(), torch.inference_mode():
        traced = torch.jit.trace(generator, torch.zeros(1, 3, 12, 20), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(path), _extra_files={METADATA: json.dumps(dict(metadata))})


def export_onnx(generator: nn.Module, path: Path, metadata: Mapping[str, str], opset: int = 18) -> None:
    """Write with batch, height and width left open; metadata in the model's metadata.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    _need_onnx()
    import onnx

    with _quiet():
        program = torch.onnx.export(
            generator,
            (torch.zeros(2, 3, 12, 20),),
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto  # type: ignore[union-attr]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def open_torchscript(path: Path) -> Forward:
    """Open the exported file as a function on arrays (N, 3, h, w)."""
    with _quiet():
        loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call]

    def forward(lr_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            made: NDArray[np.float32] = loaded(torch.from_numpy(lr_NCHW)).numpy()
        return made

    return forward


def open_onnx(path: Path) -> Forward:
    """Open the exported file as a function on arrays (N, 3, h, w), computed by onnxruntime on the CPU.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    _need_onnx()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(lr_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = session.run(["sr"], {"lr": lr_NCHW})[0]
        return made

    return forward


def largest_difference(generator: nn.Module, exported: Forward, seed: int = 0) -> float:
    """Compute the largest difference of both on noise of several sizes; the output is clamped to [-1, 1].

    Raises:
        UserError: the exported file makes another size.
    """
    rng = np.random.default_rng(seed)
    worst = 0.0
    for batch, height, width in (*_CHECKED, (1, *(int(side) for side in rng.integers(2, 70, 2)))):
        lr_NCHW = rng.uniform(-1, 1, (batch, 3, height, width)).astype(np.float32)
        with torch.inference_mode():
            wanted = generator(torch.from_numpy(lr_NCHW)).numpy()
        made = exported(lr_NCHW)
        if made.shape != wanted.shape:
            raise UserError(f"the exported net makes {made.shape} of {lr_NCHW.shape} instead of {wanted.shape}")
        difference = np.abs(np.clip(made, -1, 1) - np.clip(wanted, -1, 1)).max()
        worst = float("inf") if np.isnan(difference) else max(worst, float(difference))
    return worst


def run(args: ExportArgs) -> dict[str, Any]:
    """Export, check, put in place; return the summary."""
    if not args.checkpoint:
        raise UserError(f"--checkpoint: give the generator's file, or a bundled model, e.g. {DEFAULT}")
    if not args.out:
        raise UserError("--out: give the file to write, e.g. generator.onnx")
    out = Path(args.out)
    kind = args.format or _SUFFIXES.get(out.suffix.lower(), "")
    if not kind:
        raise UserError(f"--out {out}: ends with none of {', '.join(_SUFFIXES)}; rename it, or give --format")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; give the name of a file to write")
    if out.exists() and not args.force:
        raise UserError(f"--out {out}: is there already; add --force to overwrite it, or give another name")
    if kind == "onnx":
        _need_onnx()
    net, generator = read_generator(args.checkpoint)
    if net == COMMUNITY:
        raise UserError(f"--checkpoint {args.checkpoint}: is another project's; export it by that project's own means")
    metadata = metadata_of(generator, net, args.checkpoint)
    with atomic_path(out) as part:
        if kind == "onnx":
            export_onnx(generator, part, metadata, args.opset)
            exported = open_onnx(part)
        else:
            export_torchscript(generator, part, metadata)
            exported = open_torchscript(part)
        difference = largest_difference(generator, exported, args.seed)
        print(f"export: largest difference from PyTorch {difference:.2e} on [-1, 1] (allowed {_ALLOWED:.2e})")
        if not difference <= _ALLOWED:
            raise UserError(f"--out {out}: not written, since it differs from PyTorch by {difference:.2e}")
    size = out.stat().st_size
    print(f"export: {kind} of {metadata['net']} ×{metadata['scale']}, {size / 1e6:.2f} MB → {out}")
    return {"out": str(out), "format": kind, "max_abs_difference": difference, "bytes": size, "net": metadata["net"]}


def _need_onnx() -> None:
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"ONNX needs packages that are missing ({error}): pip install 'lakerank[onnx]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' advice to use another one, which is not the user's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, ExportArgs, "export", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
