"""Switches of torch that decide whether the same numbers come out every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic

from pipeline.environment import usable_cores


def usable_threads() -> int:
    """Return how many threads can really run: torch's own number (which heeds OMP_NUM_THREADS), within usable cores."""
    return min(torch.get_num_threads(), usable_cores())


@contextmanager
def numerics(*, is_deterministic: bool) -> Iterator[None]:
    """Set threads and determinism for training or evaluation, and put all of it back afterwards.

    Without determinism cuDNN may try out which algorithms are the fastest; the choice differs from run to run.
    """
    # cuBLAS reads this when CUDA starts; torch's documentation asks for it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(usable_threads())
    before = torch.are_deterministic_algorithms_enabled()
    fill_before = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark_before = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(is_deterministic)
    # Filling fresh memory with NaN finds bugs and costs time; it does not change what correct code computes.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not is_deterministic
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark_before
