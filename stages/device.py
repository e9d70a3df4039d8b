"""Where the stages compute."""

from __future__ import annotations

import torch

from pipeline.errors import UsageError


def choose_device(requested: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; raises UsageError where there is no such device."""
    has_cuda = torch.cuda.is_available()
    if requested == "cuda" and not has_cuda:
        raise UsageError(
            "runtime.device is cuda, but torch finds no CUDA device", code="E0251", hint="use --device auto or cpu"
        )
    return torch.device("cuda", torch.cuda.current_device()) if has_cuda and requested != "cpu" else torch.device("cpu")
