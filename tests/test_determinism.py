"""The switches of torch: set for a training, and put back."""

from __future__ import annotations

import pytest
import torch

from pipeline.environment import usable_cores
from stages.determinism import numerics, usable_threads


def _switches() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_switches_are_set_and_put_back(is_deterministic: bool) -> None:
    """Inside they are as asked for; afterwards, also after an error, as before."""
    before, threads = _switches(), torch.get_num_threads()
    torch.set_num_threads(5)  # more than this machine may have
    with pytest.raises(KeyError), numerics(is_deterministic=is_deterministic):
        assert _switches() == (is_deterministic, not is_deterministic)
        assert torch.get_num_threads() == min(5, usable_cores())
        raise KeyError
    assert _switches() == before
    assert torch.get_num_threads() == 5
    torch.set_num_threads(threads)


def test_torch_bounds_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller of torch's own number, which heeds OMP_NUM_THREADS, and the usable cores is taken."""
    monkeypatch.setattr("stages.determinism.usable_cores", lambda: 4)
    for own, expected in ((1, 1), (32, 4)):
        monkeypatch.setattr(torch, "get_num_threads", lambda own=own: own)
        assert usable_threads() == expected
