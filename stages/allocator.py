"""How the C library deals with memory that is freed: training needs the same amounts again a moment later."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_LARGEST_ON_HEAP = 32 << 20  # bytes; the most that glibc takes
_KEPT = 512 << 20  # bytes; the activations of a step, which are freed while gradients are computed
_OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let glibc keep up to half a gigabyte of freed memory for the next step; return whether it does.

    It would give the memory back at the end of each step and ask for it again, and the system would clear each page:
    8,000 pages for a step of the detector, 4 to 6 % of its time. The most that the process ever takes stays the same.
    Another C library, or settings of its user, are left as they are.
    """
    if any(name in os.environ for name in _OWN_SETTINGS):
        return False
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; on Windows there is no library without a name
        return False
    # Both, because to set one ends glibc's own adjustment of the other.
    return bool(change(_MMAP_THRESHOLD, _LARGEST_ON_HEAP) and change(_TRIM_THRESHOLD, _KEPT))
