"""Random numbers that belong to a sample."""

from __future__ import annotations

import numpy as np
import pytest

from stages.data_generation.draws import Draws, words


def _words(
    first_sample_id: int, count: int, *, seed: int = 5, stream: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return words(seed=seed, stream=stream, first_sample_id=first_sample_id, count=count, width=8)


@pytest.mark.parametrize("first", [0, 7, 1_000_000_000, 2_000_000_123])
def test_a_sample_has_the_same_numbers_in_any_company(first: int) -> None:
    """Drawn alone or among others: the numbers of a sample are its own."""
    together = _words(first, 6)
    for index in range(6):
        assert (_words(first + index, 1)[0] == together[index]).all()


def test_samples_seeds_and_streams_share_no_numbers() -> None:
    """No word turns up twice: not in another sample, under another seed, or in another stream."""
    drawn = [
        _words(0, 50),
        _words(0, 50, seed=6),
        _words(0, 50, stream=1),
        _words(10**9, 50),
        _words(0, 50, seed=2**63 - 1),
    ]
    assert len(np.unique(np.concatenate(drawn))) == 5 * 50 * 8


def test_numbers_are_the_same_for_ever() -> None:
    """The words are fixed by the algorithm (Philox4x64-10), not by a library's version."""
    assert _words(3, 1)[0, :2].tolist() == [8532758894102737859, 17987248728591708759]


def test_columns_are_uniform_and_handed_out_once() -> None:
    """Numbers lie in [0, 1) around a half, and no column is given twice."""
    draws = Draws(words(seed=1, stream=0, first_sample_id=0, count=4000, width=4), rows=1)
    columns = [draws.one(), draws.one(), *draws.take(2).T]
    assert all(column.min() >= 0 and column.max() < 1 and abs(column.mean() - 0.5) < 0.02 for column in columns)
    assert abs(np.corrcoef(columns) - np.eye(4)).max() < 0.06
    with pytest.raises(AssertionError):
        draws.one()
