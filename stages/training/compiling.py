"""A compiled form of the model for whole batches, where that is wanted and there is a compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from pipeline.errors import StageFailed
from pipeline.memory import is_out_of_memory, said

Wish = Literal["off", "auto", "on"]
_COMPILER_ERRORS = "TorchDynamoException"  # of torch, the base of all; importing it takes a second where none is raised


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


def compiler_failure(error: BaseException) -> StageFailed | None:
    """Return what an error of a step is to the user if the compiler raised it for the model itself; else None.

    The model is compiled by its first step, forward and then backward, so that the probe has not seen it.
    """
    is_of_compiler = any(base.__name__ == _COMPILER_ERRORS for base in type(error).__mro__)
    if not is_of_compiler or is_out_of_memory(error):
        return None
    cause = getattr(error, "inner_exception", error)  # the outer one begins with the backend's name alone
    return StageFailed(
        f"the model cannot be compiled: {type(cause).__name__}: {said(cause)}",
        code="E0152",
        hint="--set training.compile=off trains without the compiler",
    )


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
