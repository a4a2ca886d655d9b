"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from sr_model.config import TrainConfig


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is orthogonalised, for conv kernels (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    A kernel (O, I, h, w) is taken as the matrix (O, I·h·w). PyTorch's own Muon takes matrices only.

    Args:
        params: tensors of 2 or more dimensions.
        lr: size of a step, in spectral norm.
        momentum: Nesterov's.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; kernels of one shape are orthogonalised together."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                mean = state.setdefault("momentum", torch.zeros_like(param))
                mean.lerp_(param.grad, 1 - group["momentum"])
                matrix = param.grad.lerp(mean, group["momentum"]).reshape(len(param), -1)
                alike.setdefault((matrix.shape[0], matrix.shape[1]), []).append((param, matrix))
            for (rows, columns), pairs in alike.items():
                steps = _orthogonal(torch.stack([matrix for _, matrix in pairs]))
                stretch = max(1.0, rows / columns) ** 0.5
                for (param, _), step in zip(pairs, steps, strict=True):
                    param.add_(step.reshape(param.shape), alpha=-group["lr"] * stretch)


def _orthogonal(matrices: Tensor) -> Tensor:
    """Compute the nearest (semi-)orthogonal matrices, roughly: five Newton-Schulz steps with Jordan's coefficients.

    Args:
        matrices: (n, rows, columns).
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return cast(Tensor, x.mT if tall else x)


class Optimizer:
    """Step, scale and save one or two torch optimisers as one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        self.base = [[cast(float, group["lr"]) for group in part.param_groups] for part in parts]

    def scale(self, factor: float) -> None:
        """Set every learning rate to its base times `factor`."""
        for part, rates in zip(self.parts, self.base, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update the parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state, as `load_state_dict` takes it."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore the state of another."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def make_optimizer(net: nn.Module, config: TrainConfig) -> Optimizer:
    """Make the optimiser that `config` asks for, over all parameters of `net`."""
    params = list(net.parameters())
    betas = (config.beta1, config.beta2)
    fused = all(p.is_cuda for p in params)  # one kernel for all tensors; on a CPU it is no faster
    match config.optimizer:
        case "adam":
            return Optimizer([torch.optim.Adam(params, config.lr, betas=betas, fused=fused)])
        case "adamw":
            return Optimizer([torch.optim.AdamW(params, config.lr, betas=betas, fused=fused)])
        case "rmsprop":
            # TensorFlow's decay, which the seed ran with; PyTorch's default is 0.99.
            return Optimizer([torch.optim.RMSprop(params, config.lr, alpha=0.9, eps=1e-10)])
    # Muon for what lies between the first and the last layer, Adam for those, biases and norms.
    kernels = [p for p in params if p.ndim == 4]
    inner = kernels[1:-1]
    rest = [p for p in params if not any(p is k for k in inner)]
    adam = torch.optim.Adam(rest, config.lr, betas=betas, fused=fused)
    return Optimizer([Muon(inner, 10 * config.lr), adam] if inner else [adam])


def lr_factor(config: TrainConfig, share: float) -> float:
    """Compute the factor of the learning rate after `share` (0 to 1) of a phase."""
    warm = min(1.0, share / config.warmup) if config.warmup else 1.0
    match config.schedule:
        case "step":
            return warm * (config.lr_decay if share >= config.decay_at else 1.0)
        case "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        case "linear":
            return warm * min(1.0, max(0.0, 1.0 - share) / (1.0 - config.decay_at))
    return warm
