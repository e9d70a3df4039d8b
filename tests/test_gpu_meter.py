"""What is told of a GPU: what torch holds of its memory, and how busy the driver says it is."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.training import gpu_meter
from stages.training.gpu_meter import GpuMeter

_CUDA = torch.device("cuda", 0)


class _Driver:
    """Stands for the driver's library, on a machine with one GPU."""

    def __init__(self, *, opens: int = 0, reads: int = 0) -> None:
        self._opens = opens
        self._reads = reads
        self.asked: list[bytes] = []
        self.num_reads = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802 - the driver's own name
        return self._opens

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        del handle
        self.asked.append(uuid)
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, use: Any) -> int:  # noqa: N802
        del handle
        self.num_reads += 1
        use._obj.gpu = 87
        return self._reads


def _meter(monkeypatch: pytest.MonkeyPatch, driver: _Driver | None) -> GpuMeter:
    def load(name: str) -> _Driver:
        assert name == "libnvidia-ml.so.1"
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="12-34"))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3_456_000_000)
    return GpuMeter(_CUDA)


def test_memory_and_use_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is found by its own id, whatever CUDA_VISIBLE_DEVICES makes of its number."""
    driver = _Driver()
    assert _meter(monkeypatch, driver).figures() == {"gpu_memory_gb": 3.46, "gpu_use": 0.87}
    assert driver.asked == [b"GPU-12-34"]


@pytest.mark.parametrize("driver", [None, _Driver(opens=9)], ids=["no library", "no driver"])
def test_without_a_driver_memory_is_told_alone(monkeypatch: pytest.MonkeyPatch, driver: _Driver | None) -> None:
    """Where there is no library, or nothing behind it, training goes on without it."""
    assert _meter(monkeypatch, driver).figures() == {"gpu_memory_gb": 3.46}


def test_what_the_driver_cannot_tell_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a GPU has no use of its own."""
    driver = _Driver(reads=3)
    meter = _meter(monkeypatch, driver)
    assert [meter.figures() for _ in range(2)] == [{"gpu_memory_gb": 3.46}] * 2
    assert driver.num_reads == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_tells_its_memory() -> None:
    """Whatever the driver says of its use, if it says anything, is a part of the time."""
    kept = torch.ones(64 << 20, device="cuda")
    figures = GpuMeter(_CUDA).figures()
    assert figures["gpu_memory_gb"] >= kept.nbytes / 1e9 - 0.01
    assert 0 <= figures.get("gpu_use", 0.0) <= 1


def test_the_module_has_the_struct_of_the_driver() -> None:
    """Two unsigned numbers, the use of the processor first."""
    assert ctypes.sizeof(gpu_meter._Utilization) == 8
    assert gpu_meter._Utilization.gpu.offset == 0
