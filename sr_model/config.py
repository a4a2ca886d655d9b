"""Settings of a training run: defaults here < named config or YAML file < `key=value` or flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lakerank.cli.errors import UserError
from lakerank.cli.settings import AT_LEAST_ONE, FRACTION_BELOW_ONE, NOT_NEGATIVE, POSITIVE, Settings, flag
from sr_model.nets import GENERATORS

NAMED = Path(__file__).parent / "configs"

MODES = ("srresnet", "srgan", "evaluate")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Hold everything that decides what a run computes, and how often it says so."""

    AFTER_STOP = "--resume auto goes on from the last checkpoint, if there is one"

    # --- what
    mode: str = flag("srgan", "srresnet: content loss only; srgan: that, then adversarial; evaluate", choices=MODES)
    data: str = flag("lake/patches/train", "patches that make_patches wrote (the train folder)", metavar="DIR")
    valid: str = flag("", "folder of HR pictures (or HR and LR) to validate on; empty: no validation", metavar="DIR")
    out: str = flag("build/sr", "where checkpoints, logs and samples go", metavar="DIR")
    resume: str = flag("no", "no, auto (go on where `out` stopped, or begin) or a checkpoint file")
    init_from: str = flag("", "generator weights to begin with (.safetensors or checkpoint)", metavar="FILE")
    seed: int = flag(0, "of weights, order and augmentation", within=NOT_NEGATIVE)

    # --- data
    reader: str = flag("petastorm", "how patches are read; both give the same batches", choices=("petastorm", "arrow"))
    workers: int = flag(2, "reading threads", within=AT_LEAST_ONE)
    batch: int = flag(16, "patches per step and process", within=AT_LEAST_ONE)
    crop: int = flag(0, "HR pixels of the random crop from a patch; 0: the whole patch", within=NOT_NEGATIVE)
    augment: bool = flag(True, "random flips and quarter turns")
    cache: str = flag("none", "device: keep all patches in the device's memory", choices=("none", "device"))

    # --- networks and losses
    net: str = flag("srresnet16", "generator", choices=tuple(GENERATORS))
    discriminator: str = flag("srgan", "srgan (Ledig et al.) or seed", choices=("srgan", "seed"))
    discriminator_width: int = flag(
        64, "channels of its first conv; fewer: faster, and seeing less", within=AT_LEAST_ONE
    )
    init: str = flag(
        "",
        "weights at the start: normal002 (the seed's N(0, 0.02)) or default (PyTorch's); empty: each network's own",
        choices=("", "default", "normal002"),
    )
    losses_init: str = flag("mse=1", "content losses of the first phase, NAME=WEIGHT,… (a mapping in YAML)")
    losses: str = flag("mse=1,adversarial=1e-3", "losses of the adversarial phase, NAME=WEIGHT,…")
    adversarial: str = flag("vanilla", "vanilla, wgan, wgan-gp, relativistic or hinge")
    vgg_weights: str = flag("", "VGG19 weights (.pth) for the vgg loss; empty: torchvision's cache", metavar="FILE")
    vgg_layer: str = flag("5,4", "i,j of φ(i,j): the j-th conv before the i-th max-pooling")

    # --- length: epochs, or steps where given, or seconds
    n_epoch_init: int = flag(100, "epochs with the content loss alone", within=NOT_NEGATIVE)
    n_epoch: int = flag(1000, "epochs with the adversarial loss", within=NOT_NEGATIVE)
    steps_init: int = flag(0, "steps of the first phase instead of epochs", within=NOT_NEGATIVE)
    steps: int = flag(0, "steps of the adversarial phase instead of epochs", within=NOT_NEGATIVE)
    seconds: float = flag(0.0, "end each phase after so much training time; 0: no limit", within=NOT_NEGATIVE)
    stop_after: float = flag(0.0, "stop this process after so many seconds, resumable; 0: never", within=NOT_NEGATIVE)

    # --- optimisation
    optimizer: str = flag("adam", "of both networks", choices=("adam", "adamw", "rmsprop", "muon"))
    lr: float = flag(1e-4, "learning rate", within=POSITIVE)
    discriminator_lr: float = flag(0.0, "the discriminator's; 0: as lr", within=NOT_NEGATIVE)
    beta1: float = flag(0.9, "Adam's", within=FRACTION_BELOW_ONE)
    beta2: float = flag(0.999, "Adam's", within=FRACTION_BELOW_ONE)
    schedule: str = flag(
        "step",
        "step: × lr_decay at decay_at; cosine: to 0; linear: from decay_at on to 0",
        choices=("constant", "step", "cosine", "linear"),
    )
    lr_decay: float = flag(0.1, "factor of the step schedule", within=POSITIVE)
    decay_at: float = flag(0.5, "share of a phase after which it falls", within=FRACTION_BELOW_ONE)
    warmup: float = flag(0.0, "share of a phase in which the rate rises to lr", within=FRACTION_BELOW_ONE)
    ema: float = flag(0.999, "decay of the averaged generator; 0: none", within=FRACTION_BELOW_ONE)
    grad_clip: float = flag(0.0, "largest gradient norm of each network; 0: unlimited", within=NOT_NEGATIVE)
    amp: str = flag("auto", "auto: bf16 on a GPU", choices=("auto", "none", "bf16"))
    compile: bool = flag(False, "torch.compile the networks")
    device: str = flag("auto", "auto takes the GPU if there is one", choices=("auto", "cpu", "cuda"))
    threads: int = flag(0, "CPU threads of a process; 0: PyTorch's choice", within=NOT_NEGATIVE)

    # --- what is kept and shown, in steps; 0: never
    log_every: int = flag(50, "steps between lines of progress", within=AT_LEAST_ONE)
    valid_every: int = flag(1000, "steps between validations; 0: at the end only", within=NOT_NEGATIVE)
    sample_every: int = flag(1000, "steps between sample pictures; 0: at the end only", within=NOT_NEGATIVE)
    checkpoint_every: int = flag(1000, "steps between checkpoints; 0: at the end only", within=NOT_NEGATIVE)
    checkpoint_epochs: int = flag(0, "epochs between checkpoints, instead of steps", within=NOT_NEGATIVE)
    keep_last: int = flag(3, "how many checkpoints are kept, besides the best", within=AT_LEAST_ONE)
    leak_check: bool = flag(True, "refuse to train on copies or crops of the validation pictures")
    tensorboard: bool = flag(True, "write curves and samples for TensorBoard into out/tensorboard")

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Return the named configs: one YAML file each beside this module."""
        return {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(NAMED.glob("*.yaml"))}


def as_flags(argv: Sequence[str]) -> list[str]:
    """Rewrite `--config NAME|FILE` and `key=value` in terms of the flags every command has.

    Raises:
        UserError: --config names neither a named config nor a file.
    """
    flags: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name == "--config":
            if not equals and not rest:
                raise UserError(f"--config: needs a name ({', '.join(TrainConfig.presets())}) or a YAML file")
            value = value if equals else rest.pop(0)
            if value in TrainConfig.presets():
                flags += ["--preset", value]
            elif Path(value).is_file():
                flags += ["--conf", value]
            else:
                known = ", ".join(TrainConfig.presets())
                raise UserError(f"--config {value}: neither a file nor one of {known}")
        elif equals and not word.startswith("-") and (not flags or not _wants_value(flags[-1])):
            flags += _pair(name, value)
        else:
            flags.append(word)
    return flags


def _wants_value(word: str) -> bool:
    """Tell whether the next word belongs to this flag (`--losses mse=1`)."""
    plain = word.removeprefix("--").replace("-", "_")
    fields = TrainConfig.__dataclass_fields__
    return word.startswith("--") and plain in fields and fields[plain].type != "bool"


def _pair(key: str, value: str) -> list[str]:
    option = "--" + key.replace("_", "-")
    if value.lower() in ("true", "false"):
        return [option if value.lower() == "true" else option.replace("--", "--no-", 1)]
    return [option, value]
