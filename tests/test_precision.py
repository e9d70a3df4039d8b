"""The number format: chosen by the hardware once, and then kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.training.precision import autocast, has_bf16, new_scaler, resolve_precision

_CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", "bf16"), ("amx_bf16 amx_tile", "bf16"), ("avx2 avx512f avx512_bf16x", "fp32")],
)
def test_auto_follows_the_flags_of_the_processor(tmp_path: Path, flags: str, expected: str) -> None:
    """bf16 only where there are instructions for it; emulated it would be slower than fp32."""
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert resolve_precision("auto", _CPU, cpu_info=cpu_info) == expected


def test_unknown_processor_gets_fp32(tmp_path: Path) -> None:
    """Where nothing can be read, or nothing is said, the safe format is taken."""
    assert not has_bf16(_CPU, cpu_info=tmp_path / "none")
    (tmp_path / "arm").write_text("processor: 0\n")
    assert not has_bf16(_CPU, cpu_info=tmp_path / "arm")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_settings_are_obeyed(precision: str) -> None:
    """What is asked for is taken; autocast computes in it, and only fp16 needs its gradients scaled."""
    assert resolve_precision(precision, _CPU) == precision
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    with autocast(precision, _CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtypes[precision]
    assert new_scaler(precision, _CPU).is_enabled() == (precision == "fp16")
