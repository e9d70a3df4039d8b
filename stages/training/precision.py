"""The number format of forward and backward pass, and how the hardware decides it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})  # without them bf16 is emulated and slower than fp32


def resolve_precision(requested: str, device: torch.device, *, cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """Return "fp32", "bf16" or "fp16"; `auto` becomes bf16 where the device computes in it, else fp32."""
    if requested != "auto":
        return requested
    return "bf16" if has_bf16(device, cpu_info=cpu_info) else "fp32"


def has_bf16(device: torch.device, *, cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether `device` computes in bf16 rather than emulate it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(_CPU_FLAGS.intersection(flags.split()))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which forward passes run; one that does nothing for fp32."""
    return torch.autocast(device.type, dtype=_DTYPES[precision]) if precision in _DTYPES else nullcontext()


def new_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return the scaler that keeps small fp16 gradients from becoming 0; for other formats it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
