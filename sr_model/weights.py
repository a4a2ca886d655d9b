"""A generator's weights in one file: safetensors with the net's name, which cannot run code when read.

Training checkpoints (`.pt`) are read too: their averaged weights are taken if there are any. So are the weights of
other projects (`.pth`, `.safetensors`), from which spandrel builds their net (`sr_model.nets.community`).
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from sr_model import zoo
from sr_model.nets import GENERATORS, make_generator
from sr_model.nets.community import COMMUNITY, build_community, unwrapped
from sr_model.zoo import MODELS

FORMAT = "lakerank-generator-1"
_CHECKSUM = "sha256"  # of the tensors: safetensors has none of its own
# How files of torch.save began before PyTorch 1.6: a pickle, protocol 2, of a ten-byte number. Old ESRGANs are such.
_OLD_SIGN = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def as_bytes(generator: nn.Module, net: str, metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialize the weights as a safetensors file.

    Args:
        generator: whose weights.
        net: its key in `GENERATORS`.
        metadata: what else to store: training data, steps, figures.
    """
    return tensors_as_bytes(generator.state_dict(), net, {**(metadata or {}), "scale": "4"})


def tensors_as_bytes(tensors: Mapping[str, Tensor], net: str, metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialize what `read_weights` returns as a safetensors file, which `generator_of` reads.

    Args:
        tensors: by name.
        net: a key of `GENERATORS`, or `COMMUNITY`.
        metadata: what else to store.
    """
    # Copies, since safetensors takes no two names for one memory, which other projects' files have.
    copied = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    return save(copied, metadata={**(metadata or {}), "format": FORMAT, "net": net, _CHECKSUM: fingerprint(copied)})


def save_generator(generator: nn.Module, net: str, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write `as_bytes`; the file is there whole or not at all.

    Args:
        generator, net, metadata: see `as_bytes`.
        path: ends in `.safetensors`.
    """
    # Not safetensors' `save_file`: it makes a file that its owner alone can read.
    write_file(path, as_bytes(generator, net, metadata))


def load_generator(checkpoint: str | Path, device: str | torch.device = "cpu", net: str = "") -> nn.Module:
    """Load a generator in evaluation mode with the weights of a checkpoint.

    Args:
        checkpoint: see `read_weights`.
        device: where to put it.
        net: refuse the checkpoint unless it holds this net; empty accepts any.

    Raises:
        UserError: see `read_weights`; or it holds another net.
    """
    held, generator = read_generator(checkpoint)
    if net and held != net:
        raise UserError(f"{checkpoint}: holds the net `{held}`, not `{net}`; give --net {held} or another checkpoint")
    return generator.to(device)


def read_generator(checkpoint: str | Path) -> tuple[str, nn.Module]:
    """Read the net's name, and the generator in evaluation mode on the CPU.

    Args:
        checkpoint: see `read_weights`.

    Raises:
        UserError: see `read_weights` and `build_generator`.
    """
    net, tensors = read_weights(checkpoint)
    return net, build_generator(net, tensors, str(checkpoint))


def generator_of(content: bytes, name: str) -> nn.Module:
    """Load a generator on the CPU from a safetensors file's content; `name` is for messages."""
    return build_generator(*_of_safetensors(content, name), name)


def read_weights(checkpoint: str | Path) -> tuple[str, Mapping[str, Tensor]]:
    """Read the net's name and the tensors.

    Args:
        checkpoint: a name of the zoo; or a file: `.safetensors` written by `save_generator`, a training checkpoint
            `.pt`, or either of another project. A file called like a model of the zoo is given as `./NAME`.

    Returns:
        The net is a key of `GENERATORS`, or `COMMUNITY` for another project's.

    Raises:
        UserError: no such file, a damaged one, a net that this version does not know, or weights of another project
            where spandrel is not installed.
    """
    name, path = str(checkpoint), Path(checkpoint)
    if name in MODELS:
        held, tensors = _of_safetensors(zoo.content(name), name)
    elif not path.is_file():
        raise UserError(
            f"{path}: no such checkpoint; give a file, e.g. one that `python -m sr_model.train` wrote, or one of "
            f"{', '.join(MODELS)}"
        )
    elif path.suffix == ".safetensors":
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        held, tensors = _of_safetensors(content, name)
    else:
        held, tensors = _read_checkpoint(path)
    if held not in (*GENERATORS, COMMUNITY):
        raise UserError(f"{path}: holds the net `{held}`, which this version does not know ({', '.join(GENERATORS)})")
    return held, tensors


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of the tensors alone, the same for a training checkpoint and the file made of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def build_generator(net: str, tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """Build a generator in evaluation mode on the CPU from what `read_weights` returns.

    Args:
        net: a key of `GENERATORS`, or `COMMUNITY`.
        tensors: by name.
        where: of the file, for messages.

    Raises:
        UserError: the tensors are another net's, or none that spandrel knows.
    """
    if net == COMMUNITY:
        return build_community(tensors, where)
    generator = make_generator(net)
    try:
        generator.load_state_dict(dict(tensors))
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:  # the last three: what are no tensors
        told = (str(error).splitlines() or [""])[-1].strip()[:200]
        raise UserError(f"{where}: its tensors do not fit `{net}` ({told})") from error
    return generator.eval()


def _of_safetensors(content: bytes, where: str) -> tuple[str, Mapping[str, Tensor]]:
    try:
        tensors = load(content)
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a type of numbers that PyTorch lacks
        raise UserError(f"{where}: not a sound safetensors file ({error})") from error
    # The header, which is sound by now; `load` does not give its metadata.
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
    if metadata.get("format") != FORMAT or "net" not in metadata:
        return COMMUNITY, unwrapped(tensors, where)
    if metadata.get(_CHECKSUM, "") not in ("", fingerprint(tensors)):  # earlier versions wrote none
        raise UserError(f"{where}: damaged, the checksum of its tensors is another; copy it again or write it anew")
    return metadata["net"], tensors


def _read_checkpoint(path: Path) -> tuple[str, Mapping[str, Tensor]]:
    saved = read_pt(path)
    if "config" not in saved or not saved.keys() & {"ema", "generator"}:
        return COMMUNITY, unwrapped(saved, str(path))
    try:
        net, tensors = saved["config"]["net"], saved["ema"] or saved["generator"]
    except KeyError as error:
        raise UserError(f"{path}: no training checkpoint of ours ({error} is missing)") from error
    except (TypeError, RuntimeError, ValueError) as error:  # other types, and tensors where a mapping is expected
        raise UserError(f"{path}: no training checkpoint of ours (its config or its weights are no mapping)") from error
    if not isinstance(net, str) or not isinstance(tensors, Mapping):
        raise UserError(f"{path}: no training checkpoint of ours (its config or its weights are no mapping)")
    return net, tensors


def read_pt(path: Path) -> dict[str, Any]:
    """Read what `torch.save` wrote, today's format or the one before 1.6, tensors and plain values only.

    Such a file cannot run code: PyTorch's own unpickler takes nothing but what a state dict consists of.

    Raises:
        UserError: not readable as that, or another file than was written: `torch.load` compares no checksums.
    """
    try:
        saved = load_pt(path)
    except Exception as error:  # unpickling foreign bytes raises nearly anything
        told = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path}: not a sound checkpoint ({told})") from error
    if not isinstance(saved, dict):
        raise UserError(f"{path}: no training checkpoint of ours (it holds a {type(saved).__name__})")
    return saved


def load_pt(path: Path) -> Any:
    """Read what `torch.save` wrote and compare it with its checksums, which `torch.load` does not.

    Files that PyTorch wrote before version 1.6 have none. Where the name ends in the beginning of their SHA-256, as
    those of torchvision do, that is compared.

    Args:
        path: the file.

    Raises:
        Exception: nearly any; `ValueError` if it is a program, cut short or altered.
    """
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            _compare_crcs(file, path.stat().st_size)
        else:
            file.seek(0)
            if not file.read(len(_OLD_SIGN)).startswith(_OLD_SIGN):  # `torch.load` would fail in words for nobody
                raise ValueError("it is neither a .safetensors file nor what torch.save writes, or it is cut short")
            file.seek(0)
            named = re.search(r"-([0-9a-f]{8,64})\.pth?$", path.name)
            if named and not hashlib.file_digest(file, "sha256").hexdigest().startswith(named[1]):
                raise ValueError("it is damaged: its SHA-256 is not the one in its name")
    return torch.load(path, map_location="cpu", weights_only=True)


def _compare_crcs(file: IO[bytes], size: int) -> None:
    """Compare the parts of what `torch.save` wrote with their checksums, in bounded memory.

    Raises:
        ValueError: one is altered, or packed, as `torch.save` leaves none.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise ValueError("it is TorchScript, which is a program; give the weights it was made from")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or (
            sum(member.file_size for member in members) > size
        ):
            raise ValueError("its parts are packed, which torch.save does not do")
        try:
            altered = archive.testzip()
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error) as error:
            raise ValueError(f"it is damaged: {error}") from error
        if altered is not None:
            raise ValueError(f"it is damaged: the checksum of {altered} is another")
