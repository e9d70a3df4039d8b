"""How much of a GPU is in use: its memory as torch knows it, its time as the driver knows it."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

_LIBRARY = "libnvidia-ml.so.1"  # comes with the driver


class _Utilization(ctypes.Structure):
    """nvmlUtilization_t: percent of the last second or less in which a kernel ran, or memory was moved."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class GpuMeter:
    """Reads figures of the CUDA device of this process; neither waits for the device.

    What the driver cannot tell (a part of a GPU, another maker's) is left out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._library, self._handle = _open(device)

    def figures(self) -> dict[str, float]:
        """Return `gpu_memory_gb`, what torch holds of it, and `gpu_use`, 0 to 1, where it can be had."""
        figures = {"gpu_memory_gb": round(torch.cuda.memory_reserved(self._device) / 1e9, 2)}
        use = _Utilization()
        if self._library is not None:
            failure = self._library.nvmlDeviceGetUtilizationRates(self._handle, ctypes.byref(use))
            if failure:
                self._library = None  # it will not be better the next time
            else:
                figures["gpu_use"] = use.gpu / 100
        return figures


def _open(device: torch.device) -> tuple[Any, ctypes.c_void_p]:
    """Return the driver's library and its handle of `device`; None for the library where there is none."""
    handle = ctypes.c_void_p()
    try:
        library = ctypes.CDLL(_LIBRARY)
        # By its own id: the driver's numbers are not those of CUDA_VISIBLE_DEVICES.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        failure = library.nvmlInit_v2() or library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle))
    except (OSError, AttributeError, AssertionError, RuntimeError):
        return None, handle
    return (None if failure else library), handle
