"""Serialize a generator for worker processes: plain values that travel, made a net once in each process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from lakerank.cli.errors import UserError
from sr_model.images import BrokenImage, reason_of
from sr_model.inference.pictures import encode_picture
from sr_model.inference.upscaler import Upscaler
from sr_model.nets.community import COMMUNITY
from sr_model.weights import build_generator, fingerprint, generator_of, read_weights, tensors_as_bytes

# Bytes of weights that travel with the work. Spark Connect takes messages of at most 128 MiB; classic Spark broadcasts
# what is large, and 2 GiB is the most that it pickles.
MOST_WEIGHTS = 1_000_000_000
MOST_WEIGHTS_CONNECT = 120_000_000
ROW = pa.schema(
    {
        "width": pa.int32(),
        "height": pa.int32(),
        "content": pa.binary(),
        "notes": pa.list_(pa.string()),
        "seconds": pa.float64(),
    }
)
_MOST_CONTENT = 1 << 30  # bytes of one result: a value in a table ends at 2 GiB, and is copied on its way there


@dataclass(frozen=True)
class UpscaleRecipe:
    """Hold by what and how pictures are upscaled.

    Attributes:
        model: the zoo's name, or the name of the checkpoint's file.
        weights: of the generator, as a safetensors file.
        tile, kind, quality, self_ensemble: see `Upscaler` and `write_picture`.
        packages: what workers need, as pip takes it.
        key: SHA-256 of all that decides the result; the same weights in another file have the same.
    """

    model: str
    weights: bytes
    tile: int
    kind: str
    quality: int
    self_ensemble: bool
    packages: str
    key: str


@dataclass(frozen=True)
class UpscaledFile:
    """Hold an upscaled and encoded picture.

    Attributes:
        content: the file.
        width, height: in pixels.
        notes: sentences about what could not be kept.
        seconds: of this process's processor time that decoding, upscaling and encoding took.
    """

    content: bytes
    width: int
    height: int
    notes: tuple[str, ...]
    seconds: float


def serialize(
    checkpoint: str,
    tile: int = 256,
    kind: str = "png",
    quality: int = 95,
    self_ensemble: bool = False,
    most_weights: int | None = None,
) -> UpscaleRecipe:
    """Read and check here what workers need, so that they need to see no file of it.

    Args:
        checkpoint: see `read_weights`.
        tile, kind, quality, self_ensemble: see `UpscaleRecipe`.
        most_weights: bytes; None: `MOST_WEIGHTS`.

    Raises:
        UserError: see `read_weights`, `build_generator` and `margin_of`; or the weights are too large to travel.
    """
    net, tensors = read_weights(checkpoint)
    # A net that cannot be built or cut into tiles is refused before anything travels.
    Upscaler(build_generator(net, tensors, checkpoint), tile)
    weights = tensors_as_bytes(tensors, net)
    most = MOST_WEIGHTS if most_weights is None else most_weights
    if len(weights) > most:
        raise UserError(
            f"{checkpoint}: {len(weights) / 1e6:.0f} MB of weights are more than travel to workers "
            f"({most / 1e6:.0f} MB; {MOST_WEIGHTS / 1e6:.0f} without Spark Connect); use python -m sr_model.upscale"
        )
    lossy = quality if kind in ("jpeg", "webp") else 0
    # Without the ensemble nothing is added: what was made before there was one still counts as made.
    decisive = f"{fingerprint(tensors)} {tile} {kind} {lossy}{' x8' if self_ensemble else ''}"
    key = hashlib.sha256(decisive.encode()).hexdigest()
    packages = "lakerank[spandrel]" if net == COMMUNITY else "lakerank[sr]"
    return UpscaleRecipe(Path(checkpoint).name, weights, tile, kind, quality, self_ensemble, packages, key)


def upscale_file(recipe: UpscaleRecipe, content: bytes) -> UpscaledFile:
    """Upscale one picture, as `python -m sr_model.upscale` does.

    Args:
        recipe: from `serialize`.
        content: of a picture's file.

    Raises:
        BrokenImage: see `Upscaler.enlarge`; or the result is too large for a table.
    """
    begun = time.process_time()
    try:
        picture = _upscaler(recipe).enlarge(content, recipe.kind)
        made, picture = encode_picture(picture, recipe.kind, recipe.quality)
    except (MemoryError, RuntimeError) as error:  # PyTorch says by the latter that the memory of a CPU is full
        raise BrokenImage(reason_of(error)) from error
    if len(made) > _MOST_CONTENT:
        raise BrokenImage(f"becomes a file of {len(made) / 2**30:.1f} GiB, more than goes into a table; cut it first")
    height, width = picture.pixels.shape[:2]
    return UpscaledFile(made, width, height, picture.notes, time.process_time() - begun)


def row_function(recipe: UpscaleRecipe) -> Callable[[bytes | str], dict[str, Any]]:
    """Return the function from a picture's file, or why it cannot be read, to its `ROW`; `reason` if it is rejected."""

    def row(content: bytes | str) -> dict[str, Any]:
        torch.set_num_threads(1)  # there is a task for each core already
        try:
            if isinstance(content, str):
                raise BrokenImage(content)
            return vars(upscale_file(recipe, content))
        except (UserError, ImportError):  # of this worker, not of the picture
            raise
        except Exception as error:  # one picture of a million must not end the job, whatever it does to whom
            return {"reason": reason_of(error)}

    return row


_ready: dict[str, Upscaler] = {}  # of this process, which may serve many tasks


def _upscaler(recipe: UpscaleRecipe) -> Upscaler:
    if recipe.key not in _ready:
        _ready.clear()  # a process works by one recipe at a time
        generator = generator_of(recipe.weights, recipe.model)
        _ready[recipe.key] = Upscaler(generator, recipe.tile, self_ensemble=recipe.self_ensemble)
    return _ready[recipe.key]
