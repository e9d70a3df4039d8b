"""How the C library deals with memory that is freed: training needs the same amounts again a moment later."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_LARGEST_ON_HEAP = 32 << 20  # bytes; the most that glibc takes
_KEPT = 512 << 20  # bytes; the activations of a step, which are freed while gradients are computed
_OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
_OWN_TUNABLES = re.compile(r"glibc\.malloc\.(trim|mmap)_threshold=")


@contextmanager
def keeping_freed_memory() -> Iterator[bool]:
    """Let glibc keep freed memory for the next step, and give it back at the end; yield whether it does.

    It would give the memory back in each step and ask for it again, and the system would clear each page: 8,000 pages
    for a step of the detector. Each of its arenas may keep up to half a gigabyte beside blocks of 32 MB and more, which
    always go back at once: a process may take somewhat more than without. Another C library, or thresholds that the
    user has set, are left as they are. The thresholds stay: glibc cannot be told to adjust them by itself again.
    """
    library = _glibc()
    if library is None or _has_own_settings():
        yield False
        return
    # Both, because to set one ends glibc's own adjustment of the other.
    is_kept = library.mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP) and library.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield bool(is_kept)
    finally:
        library.malloc_trim(0)


def _glibc() -> Any:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # on Windows there is no library without a name
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _has_own_settings() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(name in os.environ for name in _OWN_SETTINGS) or bool(_OWN_TUNABLES.search(tunables))
