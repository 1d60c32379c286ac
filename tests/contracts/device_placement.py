"""A device-placement check that needs no GPU.

Run a training step with its model and batch on ``device="meta"`` inside `DevicePlacement`. It
raises `Misplaced` where a GPU would fail or wait:

* an operation whose tensors live on more than one device (0-d CPU tensors, numbers in disguise,
  are allowed);
* a copy from one device to another;
* a synchronisation: ``.item()``, ``bool(tensor)``, ``nonzero``, ``masked_select``, ``unique``, …

Nothing here runs on a GPU: it finds misplaced tensors, not wrong results. Keep the data loader, the
first ``batch.to(device)`` and ``optimizer.step()`` outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations whose result, or its shape, the host must wait for. (A mask as an index is one too: it
# calls nonzero.)
SYNCHRONISING = {
    "_local_scalar_dense",
    "nonzero",
    "nonzero_numpy",
    "argwhere",
    "masked_select",
    "equal",
    "is_nonzero",
    "bincount",
    "repeat_interleave",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
}
COPYING = {"_to_copy", "copy_", "_copy_from"}


class Misplaced(AssertionError):
    """An operation that would fail, or wait, on a GPU."""


class DevicePlacement(TorchDispatchMode):
    """Checks every operation, of the backward pass too."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # Host tensors may be looked at: it is the device that must not be waited for.
        on_device = any(tensor.device.type != "cpu" for tensor in tensors)
        if on_device and (name in SYNCHRONISING or _masks(name, args)):
            raise Misplaced(f"{func}: the host would wait for the device")
        if name in COPYING and _crosses(tensors, kwargs):
            raise Misplaced(f"{func}: a copy from one device to another")
        devices = {str(tensor.device) for tensor in tensors if not _is_number(tensor)}
        if len(devices) > 1:
            raise Misplaced(f"{func}: tensors on {' and '.join(sorted(devices))}")
        return func(*args, **kwargs)


def _is_number(tensor: Tensor) -> bool:
    return tensor.dim() == 0 and tensor.device.type == "cpu"


def _masks(name: str, args: tuple[Any, ...]) -> bool:
    """Is a Boolean mask read as an index? (`x[mask] = 1` is a masked fill.)"""
    if name != "index":
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])


def _crosses(tensors: list[Tensor], kwargs: dict[str, Any]) -> bool:
    target = kwargs.get("device")
    devices = {tensor.device.type for tensor in tensors}
    if target is not None:
        devices.add(torch.device(target).type)
    return len(devices) > 1


@contextmanager
def placement_check() -> Iterator[DevicePlacement]:
    """`DevicePlacement`, with "meta" known to autocast: its state there is that of the CPU."""
    autocast, enabled, dtype = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype

    def known(device_type: str) -> str:
        return "cpu" if device_type == "meta" else device_type

    with (
        mock.patch.object(
            torch, "autocast", lambda device, *a, **k: autocast(known(device), *a, **k)
        ),
        mock.patch.object(torch, "is_autocast_enabled", lambda device: enabled(known(device))),
        mock.patch.object(torch, "get_autocast_dtype", lambda device: dtype(known(device))),
        DevicePlacement() as mode,
    ):
        yield mode
