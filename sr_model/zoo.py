"""The bundled generators: what each is, how good it is, and its weights, checked before they are used.

`python -m sr_model.zoo` lists them; `--checkpoint NAME` takes one. A model is an entry of `MODELS`, its weights in
`sr_model/pretrained/NAME.safetensors` and its card in `docs/models/NAME.md`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import Settings

DEFAULT = "tiny"  # what `sr_model.upscale` takes when nobody says otherwise
MOST_BYTES = 8_000_000  # of one model's weights: they are part of the repository and of the wheel
CHECKPOINT_HELP = (
    "generator: a bundled model (python -m sr_model.zoo), .safetensors, a checkpoint .pt, or another project's weights "
    "(.pth, .safetensors; needs lakerank[spandrel])"
)
SETS = ("Set5", "Set14")

_FOLDER = resources.files("sr_model") / "pretrained"  # inside a wheel too, which is no folder

Scores = Mapping[str, Mapping[str, float]]  # set → metric of `sr_model.metrics` → mean over its pictures


@dataclass(frozen=True)
class Model:
    """Describe one generator with weights.

    Attributes:
        name: what `--checkpoint` takes; the files are called so too.
        net: its key in `sr_model.nets.GENERATORS`.
        parameters: how many numbers it has learned.
        sha256: of the file with the weights.
        purpose: what it is for, in a few words.
        scores: on `SETS`, as `sr_model.evaluate` prints them: on Y, border 4, LR as the sets give it.
        training: what it was trained with, how long, on what.
        pictures: what it was trained on, each source with its licence.
    """

    name: str
    net: str
    parameters: int
    sha256: str
    purpose: str
    scores: Scores
    training: str
    pictures: str

    @property
    def file(self) -> str:
        """Return the name of the file with the weights."""
        return f"{self.name}.safetensors"


BICUBIC: Scores = {"Set5": {"psnr_y": 28.43, "ssim_y": 0.8111}, "Set14": {"psnr_y": 26.09, "ssim_y": 0.7048}}

_PICTURES = (
    "376 photographs and drawings: CLIC 2025 and Pop!_OS and elementary wallpapers (Unsplash), CID22 (CC BY-SA 4.0), "
    "Budgie (CC0), Solus (CC BY, BY-SA, CC0), Sceaux Castle (openMVG), Ubuntu MATE and KDE wallpapers (CC BY-SA)"
)

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="tiny",
            net="tiny",
            parameters=97_424,
            sha256="460900631afee55d07c60b5bc7c711bc3149178eab2b29b486d08f49e9a09f9c",
            purpose="true to the original, fast on a CPU",
            scores={"Set5": {"psnr_y": 31.30, "ssim_y": 0.8823}, "Set14": {"psnr_y": 28.11, "ssim_y": 0.7691}},
            training="4,700 s on two CPU cores, 153,705 steps, `--config tiny`, seed 0",
            pictures=_PICTURES,
        ),
        Model(
            name="tiny-gan",
            net="tiny",
            parameters=97_424,
            sha256="054c8d2a7e94fb5818982c8a26fe2eb43fb8dfb98ceb2fbcd414adf1614dc104",
            purpose="sharp, with texture that is made up",
            scores={
                "Set5": {"psnr_y": 29.42, "ssim_y": 0.8488, "gmsd": 0.0592},
                "Set14": {"psnr_y": 26.72, "ssim_y": 0.7384, "gmsd": 0.0854},
            },
            training="`--config tiny-cpu` (300 s), then `--config tiny-gan`: 800 steps against a discriminator, seed 0",
            pictures=_PICTURES,
        ),
    )
}


def content(name: str) -> bytes:
    """Read the file with a model's weights.

    Args:
        name: a key of `MODELS`.

    Raises:
        UserError: it is missing, or is not the one that the zoo knows.
    """
    model = MODELS[name]
    where = f"model `{name}`: {_FOLDER / model.file}"
    try:
        found = (_FOLDER / model.file).read_bytes()
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); install lakerank again") from error
    if hashlib.sha256(found).hexdigest() != model.sha256:
        raise UserError(f"{where}: damaged, its SHA-256 is not {model.sha256[:12]}…; install lakerank again")
    return found


def card_table(model: Model) -> str:
    """Format the part of a model's card that is made from its entry."""
    lines = [
        ("weights", f"`sr_model/pretrained/{model.file}`, {len(content(model.name)):,} bytes"),
        ("SHA-256", f"`{model.sha256}`"),
        ("net", f"`{model.net}`, {model.parameters:,} parameters"),
        *((name, f"{_scores(model.scores, name)}; bicubic {_scores(BICUBIC, name)}") for name in SETS),
        ("trained", model.training),
        ("trained on", model.pictures),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in lines)]) + "\n"


def as_markdown() -> str:
    """Format the list of models, `docs/models/README.md`."""
    lines = [
        "# Bundled models",
        "",
        "Generated from `sr_model/zoo.py` by `make docs`; a test fails when it is stale. PSNR (dB) and SSIM on Y,",
        "border 4, LR as the sets give it. `--checkpoint NAME` of `sr_model.upscale`, `evaluate`, `export` and of the",
        f"job `upscale_images` takes a model; without it `upscale` and `upscale_images` take `{DEFAULT}`.",
        "",
        "| model | net | parameters | bytes | " + " | ".join(SETS) + " | what for |",
        "|" + "---|" * (5 + len(SETS)),
    ]
    for name, *cells in _rows():
        lines.append(f"| {f'[{name}]({name}.md)' if name in MODELS else name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[tuple[str, ...]]:
    for model in MODELS.values():
        scores = (_scores(model.scores, name) for name in SETS)
        size = f"{len(content(model.name)):,}"
        yield model.name, model.net, f"{model.parameters:,}", size, *scores, model.purpose
    yield "bicubic", "", "", "", *(_scores(BICUBIC, name) for name in SETS), "for comparison"


def _scores(scores: Scores, name: str) -> str:
    of = scores[name]
    more = [f"{metric} {value:g}" for metric, value in of.items() if metric not in ("psnr_y", "ssim_y")]
    return ", ".join([f"{of['psnr_y']:.2f} dB / {of['ssim_y']:.4f}", *more])


@dataclass(frozen=True)
class ZooArgs(Settings):
    """The list has no settings of its own."""


def run(_: ZooArgs) -> dict[str, Any]:
    """Print the list; return the summary."""
    rows = [("model", "net", "parameters", "bytes", *SETS, "what for"), *_rows()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return {"default": DEFAULT, "models": {name: dict(model.scores) for name, model in MODELS.items()}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(run, ZooArgs, "zoo", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
