"""Thin helpers over ``torchrun``; in a single process none of them does anything.

``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK; ``setup`` joins the group. Everything here may be
called in a single process without ``setup``.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def setup(device: torch.device) -> None:
    """Join the process group that ``torchrun`` announces (nccl on CUDA, gloo on CPU)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def shutdown() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; known from the environment already before ``setup``."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """The number of processes that have joined; 1 before ``setup``."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """True in the one process that writes files and talks to the user."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Replace ``tensor`` by its sum over processes, in place; returns it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def gather(tensor: Tensor) -> list[Tensor]:
    """Every process's ``tensor`` (same shape and dtype everywhere), by rank."""
    if world_size() == 1:
        return [tensor]
    # NCCL moves only CUDA tensors; the round trip is for rare calls (checkpoints, ends of epochs).
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    here = tensor.to(device).contiguous()
    everyone = [torch.empty_like(here) for _ in range(world_size())]
    dist.all_gather(everyone, here)
    return [one.to(tensor.device) for one in everyone]


def wrap(module: nn.Module, device: torch.device, unused: bool = False) -> nn.Module:
    """DistributedDataParallel around ``module``, or the module itself in a single process.

    ``unused``: some parameters play no part in the loss, and DDP must not wait for their gradients.

    DDP *averages* gradients over processes. For the gradient of Σ_global loss / N_global, a learner
    divides its local sum by ``sum_over_processes(N_local)`` and multiplies by ``world_size()``.
    """
    if world_size() == 1:
        return module
    devices = [device] if device.type == "cuda" else None
    # Every process has the same buffers already, and some are large: they are not sent each step.
    return nn.parallel.DistributedDataParallel(
        module, device_ids=devices, find_unused_parameters=unused, broadcast_buffers=False
    )
