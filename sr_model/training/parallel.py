"""Several processes train one model: started by torchrun, each with its own share of every batch.

Gradients are averaged by one all-reduce a step instead of by DistributedDataParallel, whose buffer broadcasts
collide with a discriminator that is called twice before it is updated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn


@contextmanager
def process_group(device: torch.device) -> Iterator[tuple[int, int]]:
    """Join the process group: (rank, world) as torchrun says, (0, 1) without it; leaves the group at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield distributed.get_rank(), world
    finally:
        distributed.destroy_process_group()


def local_device(kind: str) -> torch.device:
    """Return the device of this process; raises nothing: the caller checks that CUDA is there."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")


def average_gradients(net: nn.Module, world: int) -> None:
    """Replace each gradient by its mean over the processes."""
    if world > 1:
        average([p.grad for p in net.parameters() if p.grad is not None], world)


def average_buffers(net: nn.Module, world: int) -> None:
    """Replace running statistics by their mean over the processes, so that all of them save and show the same."""
    if world > 1:
        average([b for b in net.buffers() if b.is_floating_point()], world)


def average(tensors: list[Tensor], world: int) -> None:
    """Average in place, in one message."""
    if not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    distributed.all_reduce(flat)
    flat /= world
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
