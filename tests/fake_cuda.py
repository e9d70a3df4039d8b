"""A CUDA device that does not exist: operations on it have shapes, types and devices, and no numbers.

What makes the host wait for the device, or would have to, can be seen without one: reading a number, an operation whose
result has a size that depends on numbers, and a copy between host and device that is not asked for as non-blocking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")

# Of these the host needs a number, or the size of the result.
_READING = (
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "_unique2", "unique_dim",
    "unique_consecutive", "repeat_interleave", "bincount", "nonzero_static",
)  # fmt: skip


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the names of all operations, and of those for which the host waits."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self.names: set[str] = set()
        self.num_operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if func.namespace == "aten":
            self.num_operations += 1
            self.names.add(name)
            if name in _READING or _is_masked(name, args) or _is_blocking_copy(name, args, kwargs):
                self.found.append(name)
        return func(*args, **kwargs)


def _is_masked(name: str, args: tuple[Any, ...]) -> bool:
    if name not in ("index", "index_put", "index_put_"):
        return False
    indices = [index for index in args[1] if index is not None]
    has_mask = name == "index" and any(index.dtype in (torch.bool, torch.uint8) for index in indices)
    return has_mask or any(index.device != args[0].device for index in indices)


def _is_blocking_copy(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    # All other operations refuse tensors of two devices.
    if name == "_to_copy":
        device = torch.device(kwargs.get("device") or args[0].device)
        return device.type != args[0].device.type and not kwargs.get("non_blocking")
    if name == "copy_":
        is_non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        return bool(args[0].device.type != args[1].device.type and not is_non_blocking)
    return False


def with_numbers(build: Callable[..., Result]) -> Callable[..., Result]:
    """Let `build` work with real tensors: drawing first weights for tensors without numbers crashes the process."""

    def built(*args: Any) -> Result:
        with unset_fake_temporarily():
            return build(*args)

    return built


def put_on_fake_cuda(model: nn.Module) -> nn.Module:
    """Replace weights and buffers by such without numbers; `Module.to` cannot do it with these tensors."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(_like(weight))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)
    return model


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tensors be made on "cuda"; what asks the driver about the device gets an answer."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a device without numbers")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    move = nn.Module.to

    def moved(module: nn.Module, **wanted: Any) -> nn.Module:
        return put_on_fake_cuda(module) if "device" in wanted else move(module, **wanted)

    monkeypatch.setattr(nn.Module, "to", moved)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
