"""Memory that is freed and needed again: kept, on the C library that gives it back otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Activations and gradients of 4 MB each: what a step takes and frees, and glibc would give back.
_PROGRAM = """
import resource
import torch
from torch import nn
from stages.allocator import keep_freed_memory

torch.set_num_threads(1)
kept = keep_freed_memory()
layers = [nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(6)]
model, images = nn.Sequential(*layers), torch.randn(4, 16, 128, 128)

def steps():
    for _ in range(5):
        model.zero_grad()
        model(images).square().mean().backward()

steps()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_MANY = 10_000  # pages, where at least six layers in five steps are asked for again; 37,000 where this was written


def _run(**environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    kept, num_faults = done.stdout.split()
    return kept, int(num_faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_a_step_takes_the_memory_of_the_one_before() -> None:
    """Hardly a page is asked for in later steps; with settings of the user's own, which come first, most are."""
    kept, num_faults = _run()
    assert kept == "True"
    assert num_faults < _MANY / 4
    kept, num_faults = _run(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert kept == "False"
    assert num_faults > _MANY
