"""Train a generator ×4 from patches: first with content losses, then against a discriminator (SRGAN).

`python -m sr_model.train --config debug --data lake/patches/train --out build/sr` and any `key=value`.
Several GPUs: `torchrun --nproc-per-node 4 -m sr_model.train …`. A killed run goes on with `--resume auto`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.cli.progress import progress
from lakerank.cli.stores import at_hand
from sr_model.config import TrainConfig, as_flags
from sr_model.data.open_stream import open_stream
from sr_model.data.stream import Batch, PatchStream
from sr_model.device import Degrade, pick_device, to_device
from sr_model.leaks import refuse_leaks
from sr_model.losses import LossSettings, make_losses
from sr_model.nets import SCALE
from sr_model.nets.discriminators import make_discriminator
from sr_model.scoring.validation import load_pairs, validate
from sr_model.training.batches import Batches
from sr_model.training.checkpoint import BEST, Checkpoints, git_commit, read_checkpoint, read_newest
from sr_model.training.optim import lr_factor
from sr_model.training.parallel import average_buffers, local_device, process_group
from sr_model.training.samples import plot_curve, read_history, sample_grid, save_grid
from sr_model.training.trainer import Trainer
from sr_model.weights import load_generator, save_generator

# Steps after which processes with a GPU each agree on their time and on whether to stop: each such message waits for
# the GPU. On CPUs there is nothing to wait for, and steps are long.
_AGREE_EVERY = 16
_SAMPLE = 64  # LR pixels that a sample is wide and high, where the pictures are that large


@dataclass(frozen=True)
class Phase:
    """Describe a stretch of training with one set of losses.

    Attributes:
        name: `init` or `gan`.
        steps: how many, None if only time ends it.
        losses: name → weight.
    """

    name: str
    steps: int | None
    losses: str


def phases(config: TrainConfig, steps_per_epoch: float) -> list[Phase]:
    """List the phases that the settings ask for, in order.

    Raises:
        UserError: nothing to do.
    """

    def phase(name: str, steps: int, epochs: int, losses: str) -> list[Phase]:
        if not steps and not epochs:
            return []
        total = steps or (None if config.seconds else math.ceil(epochs * steps_per_epoch))
        return [Phase(name, total, losses)]

    plan = phase("init", config.steps_init, config.n_epoch_init, config.losses_init)
    if config.mode == "srgan":
        plan += phase("gan", config.steps, config.n_epoch, config.losses)
    if not plan:
        raise UserError(f"mode {config.mode}: nothing to train; set n_epoch_init or steps_init (and n_epoch or steps)")
    return plan


class Run:
    """Run a training: trainer, data, and what is kept and shown of it.

    Args:
        config: the settings.
        device: where it computes.
        rank: this process among `world`; only rank 0 writes.
        stream: the patches.
    """

    def __init__(self, config: TrainConfig, device: torch.device, rank: int, world: int, stream: PatchStream) -> None:
        self.config, self.device, self.rank, self.world, self.stream = config, device, rank, world, stream
        self.out = Path(config.out)
        self.checkpoints = Checkpoints(self.out / "checkpoints", config.keep_last)
        self.trainer = Trainer(config, device, world)
        self.degrade = Degrade(SCALE).to(device)
        self.pairs = load_pairs(Path(config.valid)) if config.valid and rank == 0 else []
        self.samples = self._sample_patches() if rank == 0 else None
        self.writer: Any = None
        self.phase = 0
        self.phase_step = 0
        self.step = 0
        self.seconds = 0.0  # of training in this phase, without what is shown and kept
        self.seconds_before = 0.0  # in the phases before
        self.batches: Batches  # of the phase under way
        self.waited = 0.0  # seconds without a batch to compute on
        self.best = -math.inf
        self.psnr: float | None = None
        self.last_kept: Path | None = None
        self.commit = git_commit()

    def train(self, plan: Sequence[Phase]) -> bool:
        """Train all phases, or what is left of them; return False if it was told to stop before the end."""
        saved = self._saved()
        if self.rank == 0 and self.config.tensorboard:
            self.writer = self._tensorboard(saved["step"] + 1 if saved else None)
        # Made before the first step: what is wrong with the last phase is better known now than after a night.
        losses = [make_losses(phase.losses, self._loss_settings(), self.device, self.stream.patch) for phase in plan]
        if any(loss.adversarial for loss in losses):
            with torch.device("meta"):
                make_discriminator(self.config.discriminator, self.stream.patch, self.config.discriminator_width)
        if saved:
            self.phase = saved["phase"]
        elif self.config.init_from:
            given = load_generator(self.config.init_from, self.device, self.config.net)
            self.trainer.generator.load_state_dict(given.state_dict())
        for index in range(self.phase, len(plan)):
            self.phase = index
            if index > 0 and not saved:
                self.trainer.generator.load_state_dict(self.trainer.ema_model.state_dict())
                self.seconds_before += self.seconds
                self.phase_step, self.seconds, self.best = 0, 0.0, -math.inf
            self.trainer.begin(losses[index], self.stream.patch)
            if saved:
                self._restore(saved)
                saved = None
            if not self.train_phase(plan[index]):
                return False
        return True

    def train_phase(self, phase: Phase) -> bool:
        """Train one phase, batch by batch; return whether it came to its end."""
        config, trainer = self.config, self.trainer
        told_to_stop = _Signals()
        started = time.perf_counter()
        images, elapsed = 0, 0.0
        parts: dict[str, Tensor] = {}
        meter = progress(
            phase.steps or math.ceil(config.seconds), f"train {phase.name}", "step" if phase.steps else "s"
        )
        meter.disable = self.rank > 0
        meter.update(self.phase_step if phase.steps else int(self.seconds))
        epoch_steps = self.stream.steps_per_epoch
        batches = self.batches = Batches(self.stream, self.device, self.degrade)
        while (share := self._share(phase)) < 1:
            begun = time.perf_counter()
            lr_NCHW, hr_NCHW = next(batches)
            parts = trainer.step(lr_NCHW, hr_NCHW, lr_factor(config, share))
            batches.fetch_ahead()
            self.step += 1
            self.phase_step += 1
            images += len(hr_NCHW) * self.world
            stop = told_to_stop.seen or 0 < config.stop_after <= time.perf_counter() - started
            every = _AGREE_EVERY if self.device.type == "cuda" else 1
            agree = self.world == 1 or self._due(every) or self.phase_step == phase.steps
            if agree and self.world > 1 and self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # or the time would be that of giving orders
            elapsed += time.perf_counter() - begun
            if agree:
                agreed, stop = self._agreed(elapsed, stop)
                self.seconds += agreed
                elapsed = 0.0
            else:
                stop = False
            meter.update(1 if phase.steps else int(self.seconds) - meter.n)
            if self._due(config.log_every) or self.device.type == "cpu":
                trainer.check_finite(parts, self.step, self._kept())
            if self._due(config.log_every) or self._share(phase) >= 1:
                lasted = max(time.perf_counter() - started, 1e-9)
                speed = {"images_per_second": images / lasted, "waiting": batches.waited() / lasted}
                self._log(phase, {**parts, **speed}, epoch_steps, share)
                meter.set_postfix_str(self._words(parts), refresh=False)
            if stop or self._share(phase) >= 1:
                break  # what is due at the last step is done below, once
            valid, sample = self._due(config.valid_every), self._due(config.sample_every)
            save = self._due(config.checkpoint_every) or self._due(round(config.checkpoint_epochs * epoch_steps))
            if valid or sample or save:
                batches.pause()
            if valid:
                self._validate()
            if sample:
                self._write_samples(phase)
            if save:
                self._save_checkpoint(parts)
        meter.close()
        self.waited += batches.waited()
        batches.close()
        finished = self._share(phase) >= 1
        if parts:
            trainer.check_finite(parts, self.step, self._kept())
            if finished or self._due(config.valid_every):
                self._validate()
            if finished or self._due(config.sample_every):
                self._write_samples(phase)
            self._save_checkpoint(parts)
        if finished and self.rank == 0:
            metadata = {"steps": str(self.step), "commit": self.commit, "psnr_y": f"{self.psnr or math.nan:.4f}"}
            save_generator(trainer.ema_model, config.net, self.out / f"{phase.name}.safetensors", metadata)
        return finished

    def _loss_settings(self) -> LossSettings:
        return LossSettings(self.config.adversarial, self.config.vgg_weights, self.config.vgg_layer)

    def _share(self, phase: Phase) -> float:
        """Return the share of the phase that is done, 0 to 1 and beyond."""
        of_steps = self.phase_step / phase.steps if phase.steps else 0.0
        of_time = self.seconds / self.config.seconds if self.config.seconds else 0.0
        return max(of_steps, of_time)

    def _due(self, every: int) -> bool:
        return every > 0 and self.phase_step % every == 0

    def _agreed(self, elapsed: float, stop: bool) -> tuple[float, bool]:
        """Agree on the slowest process's time, and whether any wants to stop: all leave the loop at the same step."""
        if self.world == 1:
            return elapsed, stop
        both = torch.tensor([elapsed, float(stop)], device=self.device)
        torch.distributed.all_reduce(both, torch.distributed.ReduceOp.MAX)
        return float(both[0]), bool(both[1])

    def _words(self, parts: Mapping[str, Tensor]) -> str:
        words = [f"{name} {float(value):.4g}" for name, value in parts.items() if name != "total"]
        return ", ".join(words + ([f"PSNR {self.psnr:.2f} dB"] if self.psnr else []))

    def _log(self, phase: Phase, parts: Mapping[str, Tensor | float], epoch_steps: float, share: float) -> None:
        if self.rank > 0:
            return
        values = {name: float(value) for name, value in parts.items()} | {
            "lr": self.config.lr * lr_factor(self.config, share)
        }
        self._append_history({"epoch": self.step / epoch_steps, **values})
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(f"{phase.name}/{name}", value, self.step)

    def _append_history(self, values: Mapping[str, float]) -> None:
        """Append a line of history, which plots and people read."""
        line = {"step": self.step, "seconds": round(self.seconds_before + self.seconds, 3), **values}
        with (self.out / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _validate(self) -> None:
        """Score the weights as they are, and keep them if they are the best so far."""
        self._average_buffers()
        if not self.pairs:
            return
        with _any_shape():
            scores = validate(self.trainer.ema_model, self.pairs)
        self.psnr = scores["psnr_y"]
        if self.psnr > self.best:
            self.best = self.psnr
            self.checkpoints.save_best(self._state())
        self._append_history(scores)
        if self.writer:
            for name, value in scores.items():
                self.writer.add_scalar(f"valid/{name}", value, self.step)

    def _write_samples(self, phase: Phase) -> None:
        if self.samples is None:
            return
        with _any_shape():
            grid = sample_grid(self.trainer.ema_model, *self.samples)
        save_grid(grid, self.out / "samples" / f"{self.step:09}.png")
        if self.writer:
            self.writer.add_image("LR, bicubic, SR, HR", grid, self.step, dataformats="HWC")

    def _save_checkpoint(self, parts: Mapping[str, Tensor]) -> None:
        """Save a checkpoint, never of broken numbers."""
        self.trainer.check_finite(dict(parts), self.step, self._kept())
        self._average_buffers()
        if self.rank == 0:
            self.last_kept = self.checkpoints.save(self.step, self._state())

    def _average_buffers(self) -> None:
        average_buffers(self.trainer.generator, self.world)
        if self.trainer.average:
            average_buffers(self.trainer.ema_model, self.world)

    def _state(self) -> dict[str, Any]:
        """Return all that a run needs to go on."""
        return {
            "config": dataclasses.asdict(self.config),
            "commit": self.commit,
            "phase": self.phase,
            "phase_step": self.phase_step,
            "step": self.step,
            "seconds": self.seconds,
            "seconds_before": self.seconds_before,
            "best": self.best,
            "psnr": self.psnr,
            "stream": self.stream.state_dict() | {"position": self.batches.position},
            **self.trainer.state_dict(),
        }

    def _kept(self) -> str:
        return f"the last good checkpoint is {self.last_kept}" if self.last_kept else "no checkpoint was written yet"

    def _saved(self) -> dict[str, Any] | None:
        """Read the checkpoint to go on from; a fresh run does not begin in a folder that has some."""
        last = self.checkpoints.last()
        if self.config.resume == "no":
            if last:
                raise UserError(
                    f"--out {self.out}: holds a run already; --resume auto goes on with it, or choose another"
                )
            return None
        if self.config.resume != "auto":
            return read_checkpoint(Path(self.config.resume), dataclasses.asdict(self.config))
        saved = read_newest(self.checkpoints, dataclasses.asdict(self.config))
        if saved is None:
            print(f"train: nothing to resume in {self.out}; beginning", flush=True)
        return saved

    def _restore(self, saved: dict[str, Any]) -> None:
        self.trainer.load_state_dict(saved)
        self.stream.load_state_dict(saved["stream"])
        self.phase_step, self.step = saved["phase_step"], saved["step"]
        self.seconds, self.seconds_before = saved["seconds"], saved["seconds_before"]
        self.best, self.psnr = saved["best"], saved["psnr"]
        if self.rank == 0:
            path = self.out / "history.jsonl"
            kept = [json.dumps(line) + "\n" for line in read_history(path) if line["step"] <= self.step]
            write_file(path, "".join(kept))
            print(f"train: goes on after step {self.step}", flush=True)

    def _sample_patches(self) -> tuple[Tensor, Tensor]:
        """Take the middles of the first validation pictures, else the first patches: the same throughout the run."""
        if not self.pairs:
            with open_stream(self.config.data, batch=4, shuffle=False, augment=False, epochs=1) as stream:
                return to_device(next(iter(stream)), self.device, self.degrade)
        chosen = self.pairs[:4]
        side = min(_SAMPLE, *(min(pair.lr.shape[:2]) for pair in chosen))
        lr, hr = [], []
        for pair in chosen:
            top, left = ((size - side) // 2 for size in pair.lr.shape[:2])
            lr.append(pair.lr[top : top + side, left : left + side])
            hr.append(pair.hr[top * SCALE : (top + side) * SCALE, left * SCALE : (left + side) * SCALE])
        return to_device(Batch(np.stack(hr), np.stack(lr), np.arange(len(hr))), self.device, self.degrade)

    def _tensorboard(self, purge_step: int | None) -> Any:
        """Open TensorBoard's log; what a run that was stopped has logged from a step on is replaced."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional
        except ImportError as error:
            raise UserError(
                f"tensorboard is not installed ({error}): pip install 'lakerank[sr]', or give tensorboard=false"
            ) from error
        return SummaryWriter(str(self.out / "tensorboard"), purge_step=purge_step)


@contextmanager
def _any_shape() -> Iterator[None]:
    """Have cuDNN take the usual algorithms: pictures of many sizes would each be tried with all of them."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class _Signals:
    """Remember whether the process was asked to stop: then it ends after the step it is in (of several GPUs within
    `_AGREE_EVERY` steps), with a checkpoint.

    SIGTERM and Ctrl-C ask; a second Ctrl-C does not wait for the step.
    """

    def __init__(self) -> None:
        self.seen = False
        with suppress(ValueError):  # not in the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.seen = True


def chosen_device(config: TrainConfig) -> torch.device:
    """Choose the device of this process.

    Raises:
        UserError: a GPU was asked for and there is none.
    """
    device = local_device(pick_device(config.device))
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # all batches have the same shape
    elif config.threads:
        torch.set_num_threads(config.threads)
    return device


def run(config: TrainConfig) -> Mapping[str, Any]:
    """Train or evaluate as the settings say; return the summary."""
    with at_hand(config, ("data", "valid", "resume", "init_from"), ("out",)) as here:
        return train_or_evaluate(here)


def train_or_evaluate(config: TrainConfig) -> Mapping[str, Any]:
    """Do what `run` does, with all files on this machine."""
    if config.mode == "evaluate":
        return evaluate_run(config)
    device = chosen_device(config)
    started = time.perf_counter()
    with ExitStack() as stack:
        if config.valid and config.leak_check:
            # In each process, and before they join: others would wait for it in a message that has a time limit.
            refuse_leaks(Path(config.data), Path(config.valid))
        rank, world = stack.enter_context(process_group(device))
        stream = stack.enter_context(
            open_stream(
                config.data,
                reader=config.reader,
                batch=config.batch,
                crop=config.crop or None,
                seed=config.seed,
                rank=rank,
                world=world,
                augment=config.augment,
                workers=config.workers,
                cache=config.cache,
                device=device,
            )
        )
        plan = phases(config, stream.steps_per_epoch)
        training = Run(config, device, rank, world, stream)
        finished = training.train(plan)
        history = read_history(training.out / "history.jsonl")
        if rank == 0 and history:
            plot_curve(history, training.out / "curve.png")
    if rank == 0:
        where = f"{training.out}/{plan[training.phase].name}.safetensors" if finished else training.last_kept
        print(f"train: {'done' if finished else 'stopped, go on with --resume auto'}: {where}")
    return {
        "finished": finished,
        "steps": training.step,
        "psnr_y": training.psnr,
        "best_psnr_y": training.best if math.isfinite(training.best) else None,
        "training_seconds": round(training.seconds_before + training.seconds, 3),
        "seconds": round(time.perf_counter() - started, 3),
        "waiting_seconds": round(training.waited, 3),
        "peak_gpu_mib": torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else None,
        "weights": str(where) if rank == 0 else None,
    }


def evaluate_run(config: TrainConfig) -> Mapping[str, Any]:
    """Evaluate the run's best checkpoint, else its last, on the validation pictures."""
    from sr_model.evaluate import main as evaluate

    found = Checkpoints(Path(config.out) / "checkpoints", config.keep_last)
    best = found.folder / BEST
    path = best if best.exists() else found.last()
    if path is None:
        raise UserError(f"--out {config.out}: holds no checkpoint to evaluate; train one first")
    if not config.valid:
        raise UserError("mode evaluate: needs --valid, a folder of HR pictures")
    code = evaluate(["--checkpoint", str(path), "--data", config.valid, "--out", f"{config.out}/evaluation"])
    if code:
        raise UserError("the evaluation did not succeed; its message stands above")
    return {"checkpoint": str(path), "scores": f"{config.out}/evaluation/scores.json"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        flags = as_flags(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"train: error: {error}", file=sys.stderr)
        return 2
    return run_command(run, TrainConfig, "train", __doc__, flags)


if __name__ == "__main__":
    sys.exit(main())
