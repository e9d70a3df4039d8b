"""A compiled form of the model for whole batches, where that is wanted and there is a compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

Wish = Literal["off", "auto", "on"]


def compiled(
    model: nn.Module, wish: Wish, device: torch.device, *, is_deterministic: bool, warn: Callable[[str], None]
) -> nn.Module | None:
    """Return `model` in compiled form, sharing its weights; None where that is not wanted, or cannot be had.

    `auto` compiles on CUDA, where the network is limited by memory traffic that fused kernels save. Whether there is a
    compiler is tried on a few numbers, so that a missing one costs a warning and not the training.
    """
    if wish == "off" or (wish == "auto" and device.type != "cuda"):
        return None
    compile_it = _compiler(is_deterministic=is_deterministic)
    try:
        # No random numbers: the generators stay where they are.
        numbers = torch.ones(64, device=device, requires_grad=True)
        compile_it(_probe)(numbers).backward()
    except (RuntimeError, ImportError, OSError) as error:
        problem = str(error).strip().partition("\n")[0]
        warn(f"training.compile: nothing can be compiled here, so training goes on without: {problem}")
        return None
    result: nn.Module = compile_it(model)
    return result


def _compiler(*, is_deterministic: bool) -> Callable[[Any], Any]:
    """Return what compiles a function or a module for fixed shapes.

    Shapes that are free would depend on which came first, and so on where a run was interrupted. Deterministic, no
    kernel is chosen by its speed either: which is the fastest may differ from process to process, and so would bits.
    """

    def compile_it(target: Any) -> Any:
        options: dict[str, Any] | None = {"deterministic": True} if is_deterministic else None
        return torch.compile(target, dynamic=False, options=options)

    return compile_it


def _probe(numbers: torch.Tensor) -> torch.Tensor:
    return torch.relu(numbers * 2 - 1).sum()
