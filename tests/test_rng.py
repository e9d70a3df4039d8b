"""The global random generators: saved, restored, and protected from what is none of their business."""

from __future__ import annotations

import random

import numpy as np
import torch

from stages.training.rng import RngState
from stages.training.state import TrainState


def _draw() -> list[float]:
    """Draw from all generators, in a way that leaves half-used states behind (a cached Gaussian)."""
    return [
        float(torch.rand(1)),
        float(np.random.rand()),  # noqa: NPY002
        float(np.random.standard_normal()),  # noqa: NPY002
        random.random(),  # noqa: S311
        random.gauss(0, 1),
    ]


def test_all_generators_continue_where_they_were() -> None:
    """After a round trip through files the next numbers are the same, cached Gaussians included."""
    rng = RngState()
    rng.seed(5)
    _draw()
    files = dict(TrainState({"rng": rng}).files())
    expected = [_draw(), _draw()]
    rng.seed(6)
    TrainState({"rng": rng}).load(files)
    assert [_draw(), _draw()] == expected


def test_seed_decides_all_of_them() -> None:
    """The same seed gives the same numbers, another seed others."""
    rng = RngState()
    drawn = []
    for seed in (2**32 - 1, 2**32 - 1, 0):
        rng.seed(seed)
        drawn.append(_draw())
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_preserved_undoes_what_was_drawn() -> None:
    """What is drawn inside does not move the generators, also when it fails."""
    rng = RngState()
    rng.seed(1)
    expected = _draw()
    rng.seed(1)
    try:
        with rng.preserved():
            _draw()
            raise KeyError
    except KeyError:
        pass
    assert _draw() == expected
