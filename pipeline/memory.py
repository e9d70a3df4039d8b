"""Running out of memory, on the host or on a device, as an error that says what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import ResourceExhausted

# How libraries say it that have no MemoryError for it: torch's allocators on the host and on CUDA, what lies under
# them, and the kernel when it gives no thread.
_WORDS = re.compile(
    r"not enough memory|can't allocate memory|out of memory|_STATUS_ALLOC_FAILED|can't start new thread", re.IGNORECASE
)
_TORCH_CLASS = "OutOfMemoryError"  # of torch, which is not needed to recognise it


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory, of the host or of the device, ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # what mapping a file raises
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == _TORCH_CLASS or _WORDS.search(str(error)) is not None
    )


@contextmanager
def telling_of_memory(*, hint: str) -> Iterator[None]:
    """Turn running out of memory into ResourceExhausted with `hint`; all other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceExhausted(f"out of memory: {said(error)}", code="E0603", hint=hint) from error


def said(error: BaseException) -> str:
    """Return what `error` says, in its first two sentences: torch adds advice that fills a screen."""
    text = str(error).strip() or type(error).__name__
    return ". ".join(text.splitlines()[0].split(". ")[:2]).rstrip(".")
