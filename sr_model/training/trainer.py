"""One step of training, in both phases, and the state that goes on from step to step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from lakerank.cli.errors import UserError
from sr_model.config import TrainConfig
from sr_model.losses import ContentLoss, TotalLoss
from sr_model.losses.adversarial import feature_distance, gradient_penalty
from sr_model.nets import make_generator
from sr_model.nets.discriminators import Discriminator, make_discriminator
from sr_model.nets.init import initialise
from sr_model.training.optim import Optimizer, make_optimizer
from sr_model.training.parallel import in_parallel

Net = TypeVar("Net", bound=nn.Module)


class Trainer:
    """Hold the networks and their optimisers, and change them by one batch.

    Args:
        config: the run's settings.
        device: where it computes.
        world: processes that train together; each has its own part of the batch.
    """

    def __init__(self, config: TrainConfig, device: torch.device, world: int = 1) -> None:
        self.config, self.device, self.world = config, device, world
        torch.manual_seed(config.seed)  # the same weights in every process
        self.generator = _placed(self._initialised(make_generator(config.net)), device)
        self.discriminator: Discriminator | None = None
        self.average: AveragedModel | None = None
        self.optimizer_g: Optimizer
        self.optimizer_d: Optimizer | None = None
        self.bf16 = config.amp == "bf16" or (config.amp == "auto" and device.type == "cuda")
        self.losses: TotalLoss

    def begin(self, losses: TotalLoss, patch: int) -> None:
        """Start a phase: fresh optimisers, and the average from the weights as they are.

        Args:
            losses: of this phase; with an adversarial one there is a discriminator.
            patch: side of the HR patches, which some discriminators need to know.
        """
        self.losses = replace(losses, content={name: self._fast(*loss) for name, loss in losses.content.items()})
        self.optimizer_g = make_optimizer(self.generator, self.config)
        self.updates = 0
        if self.config.ema:
            self.average = AveragedModel(self.generator, multi_avg_fn=self._move_average).requires_grad_(False)
            self.average.update_parameters(self.generator)  # the first update copies; `_move_average` has all others
        if losses.adversarial:
            torch.manual_seed(self.config.seed + 1)
            made = make_discriminator(self.config.discriminator, patch, self.config.discriminator_width)
            self.discriminator = _placed(self._initialised(made), self.device)
            of_d = replace(self.config, lr=self.config.discriminator_lr or self.config.lr)
            self.optimizer_d = make_optimizer(self.discriminator, of_d)
        # These forms share the weights; state is kept and restored through the plain one. The generator's update looks
        # through a discriminator that gets no gradients, so that there is nothing for the processes to average.
        self._g = self._compiled(in_parallel(self.generator, self.world))
        self._d = self._compiled(self.discriminator) if self.discriminator else None
        self._d_trained = self._compiled(in_parallel(self.discriminator, self.world)) if self.discriminator else None

    @property
    def ema_model(self) -> nn.Module:
        """Return the generator that is validated, sampled and saved: the averaged one if there is one."""
        return self.average.module if self.average else self.generator

    def step(self, lr_NCHW: Tensor, hr_NCHW: Tensor, lr_factor: float) -> dict[str, Tensor]:
        """Train on one batch; return the losses, still on the device.

        Args:
            lr_NCHW: (N, 3, h, w) in [-1, 1].
            hr_NCHW: (N, 3, 4h, 4w) in [-1, 1].
            lr_factor: factor of the learning rates.
        """
        self.generator.train()
        self.optimizer_g.scale(lr_factor)
        with self._autocast():
            sr_NCHW = self._g(lr_NCHW)
        sr_NCHW = sr_NCHW.float()
        parts: dict[str, Tensor] = {}
        if self.losses.adversarial:
            parts["d"] = self.update_discriminator(sr_NCHW.detach(), hr_NCHW, lr_factor)
        parts |= self.update_generator(sr_NCHW, hr_NCHW)
        self.update_ema()
        return parts

    def update_discriminator(self, sr_NCHW: Tensor, hr_NCHW: Tensor, lr_factor: float) -> Tensor:
        """Update the discriminator on real and made pictures, and nothing else; return its loss."""
        kind = self.losses.adversarial
        assert kind is not None
        assert self.discriminator is not None
        assert self._d_trained is not None
        assert self.optimizer_d is not None
        self.discriminator.train().requires_grad_(True)
        self.optimizer_d.scale(lr_factor)
        self.optimizer_d.zero_grad()
        with self._autocast():
            d_real, d_fake = self._d_trained(hr_NCHW), self._d_trained(sr_NCHW)
        loss = kind.discriminator_loss(d_real.float(), d_fake.float())
        if kind.penalty:
            loss = loss + kind.penalty * gradient_penalty(self.discriminator, hr_NCHW, sr_NCHW)
        loss.backward()  # type: ignore[no-untyped-call]
        self._finish(self.discriminator, self.optimizer_d)
        if kind.clip:
            with torch.no_grad():
                for param in self.discriminator.parameters():
                    param.clamp_(-kind.clip, kind.clip)
        return loss.detach()

    def update_generator(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> dict[str, Tensor]:
        """Update the generator by content and adversarial losses, and nothing else; return the parts."""
        with self._autocast():
            total, parts = self.losses(sr_NCHW, hr_NCHW)
        kind = self.losses.adversarial
        if kind is not None:
            assert self.discriminator is not None
            self.discriminator.requires_grad_(False)
            d_real: Tensor | None
            with self._autocast():
                if self.losses.features_weight:
                    made, d_fake = self.discriminator.features_and_logits(sr_NCHW)
                    with nullcontext() if kind.needs_real else torch.no_grad():
                        true, d_real = self.discriminator.features_and_logits(hr_NCHW)
                    features = feature_distance(made, [seen.detach() for seen in true])
                    total = total + self.losses.features_weight * features
                    parts = {**parts, "features": features.detach()}
                else:
                    d_fake = self._d_logits(sr_NCHW)
                    d_real = self._d_logits(hr_NCHW) if kind.needs_real else None
            adversarial = kind.generator_loss(d_fake.float(), None if d_real is None else d_real.float())
            total = total + self.losses.adversarial_weight * adversarial
            parts = {**parts, "adversarial": adversarial.detach()}
        self.optimizer_g.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._finish(self.generator, self.optimizer_g)
        return {**parts, "total": total.detach()}

    def update_ema(self) -> None:
        """Move the average of the weights on by one step, if there is one; its buffers are the generator's."""
        self.updates += 1
        if self.average:
            self.average.update_parameters(self.generator)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that goes on: networks, optimisers, average, generators of random numbers."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.average.module.state_dict() if self.average else None,
            "discriminator": self.discriminator.state_dict() if self.discriminator else None,
            "optimizer_g": self.optimizer_g.state_dict(),
            "optimizer_d": self.optimizer_d.state_dict() if self.optimizer_d else None,
            "updates": self.updates,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of another trainer; `begin` must have started the same phase."""
        self.generator.load_state_dict(state["generator"])
        if self.average and state["ema"] is not None:
            self.average.module.load_state_dict(state["ema"])
        if self.discriminator and state["discriminator"] is not None:
            assert self.optimizer_d is not None
            self.discriminator.load_state_dict(state["discriminator"])
            self.optimizer_d.load_state_dict(state["optimizer_d"])
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        self.updates = state["updates"]
        torch.set_rng_state(state["rng"])
        if state["rng_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng_cuda"], self.device)

    def check_finite(self, parts: dict[str, Tensor], step: int, kept: str) -> None:
        """Stop a run whose losses are no numbers any more, before it is saved.

        Raises:
            UserError: a loss is NaN or infinite.
        """
        for name, value in parts.items():
            if not bool(torch.isfinite(value)):
                raise UserError(
                    f"step {step}: the loss `{name}` is {float(value)}: training has diverged; {kept}. "
                    "Lower lr, set grad_clip=1, or give the adversarial loss less weight"
                )

    def _initialised(self, net: Net) -> Net:
        """Give a network the fresh weights that the settings ask for, if they do."""
        if self.config.init == "default":
            for part in net.modules():
                if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                    part.reset_parameters()
        elif self.config.init:
            initialise(net, self.config.init)
        return net

    def _compiled(self, net: nn.Module) -> nn.Module:
        return cast(nn.Module, torch.compile(net)) if self.config.compile else net

    def _fast(self, weight: float, loss: ContentLoss) -> tuple[float, ContentLoss]:
        """Give a loss that is a network the layout and the form that networks are fastest in."""
        return weight, self._compiled(_placed(loss, self.device)) if isinstance(loss, nn.Module) else loss

    def _d_logits(self, x_NCHW: Tensor) -> Tensor:
        assert self._d is not None
        return cast(Tensor, self._d(x_NCHW))

    def _finish(self, net: nn.Module, optimizer: Optimizer) -> None:
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(net.parameters(), self.config.grad_clip)
        optimizer.step()

    def _move_average(self, averaged: PARAM_LIST, current: PARAM_LIST, _: Tensor | int) -> None:
        """Move the average towards the weights; faster in the first steps, when it still holds the beginning."""
        # Counted here: the count that AveragedModel gives is a tensor, and reading it would wait for a GPU.
        decay = min(self.config.ema, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def _placed(net: Net, device: torch.device) -> Net:
    """Move a network to the device, in the layout that convolutions are fastest with."""
    return net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
