"""Running out of memory, on the host or on the device, as an error that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import ResourceExhausted

# How torch says it where it has no class of its own for it: the host's allocator, CUDA outside of its caching
# allocator, and the libraries under it.
_WORDS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory, of the host or of the device, ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # what mapping a file raises
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def telling_of_memory(*, hint: str) -> Iterator[None]:
    """Turn running out of memory into ResourceExhausted with `hint`; all other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceExhausted(f"out of memory: {said(error)}", hint=hint) from error


def said(error: BaseException) -> str:
    """Return what `error` says, in its first sentence: torch adds advice that fills a screen."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(".")
