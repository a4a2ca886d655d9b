"""Several processes train one model: started by torchrun, each with its own share of every batch.

Gradients are averaged by DistributedDataParallel, while the backward pass still computes others. It does not broadcast
buffers, which would collide with a discriminator that is called twice before it is updated: running statistics are
averaged where they are shown or saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn


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


def in_parallel(net: nn.Module, world: int) -> nn.Module:
    """Return a network whose backward pass leaves in each gradient its mean over the processes."""
    if world == 1:
        return net
    return nn.parallel.DistributedDataParallel(net, broadcast_buffers=False, gradient_as_bucket_view=True)


def average_buffers(net: nn.Module, world: int) -> None:
    """Replace running statistics by their mean over the processes, so that all of them save and show the same."""
    tensors = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    if world == 1 or not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    distributed.all_reduce(flat)
    flat /= world
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
