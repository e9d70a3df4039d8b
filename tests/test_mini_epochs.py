"""Mini-epochs: where they end is known from the position alone."""

from __future__ import annotations

import pytest

from stages.chunks.order import EpochOrder
from stages.training.mini_epochs import MiniEpochs
from stages.training.progress import ResumePosition

_COUNTS = (4, 4, 4, 4, 2)


def _chunks(epoch: int) -> list[int]:
    order: list[int] = EpochOrder(counts=_COUNTS, seed=1, epoch=epoch, is_shuffled=True).chunks.tolist()
    return order


@pytest.mark.parametrize("epoch", [0, 3])
def test_groups_follow_the_order_of_the_epoch(epoch: int) -> None:
    """With two chunks a group, the 2nd and 4th chunk of the epoch's own order and its last one end a mini-epoch."""
    groups = MiniEpochs(_COUNTS, seed=1, num_chunks=2)
    assert groups.per_epoch == 3
    done = [
        tuple(groups.completed(ResumePosition(epoch, chunk, offset)) for offset in (1, _COUNTS[chunk]))
        for chunk in _chunks(epoch)
    ]
    first = epoch * 3
    assert done == [
        (first, first),
        (first, first + 1),
        (first + 1, first + 1),
        (first + 1, first + 2),
        (first + 2, first + 3),
    ]


def test_end_of_an_epoch_is_the_start_of_the_next() -> None:
    """Both ways to say where an epoch ends count the same, so nothing happens twice there."""
    groups = MiniEpochs(_COUNTS, seed=1, num_chunks=2)
    last = _chunks(0)[-1]
    at_end = groups.completed(ResumePosition(0, last, _COUNTS[last]))
    assert at_end == groups.completed(ResumePosition(1, -1, 0)) == 3


def test_zero_means_a_whole_epoch() -> None:
    """Without groups a mini-epoch is an epoch."""
    groups = MiniEpochs(_COUNTS, seed=1, num_chunks=0)
    assert groups.per_epoch == 1
    assert groups.completed(ResumePosition(0, _chunks(0)[3], 4)) == 0
    assert groups.completed(ResumePosition(2, -1, 0)) == 2


def test_groups_larger_than_the_data_are_an_epoch() -> None:
    """More chunks a group than there are never delays the end of the epoch."""
    groups = MiniEpochs(_COUNTS, seed=1, num_chunks=99)
    assert groups.completed(ResumePosition(0, 4, 2)) == 1


@pytest.mark.parametrize("epoch", [0, 3])
def test_chunks_are_counted_in_the_order_of_the_epoch(epoch: int) -> None:
    """Before and after a position; the one in training belongs to those that come."""
    groups, order = MiniEpochs(_COUNTS, seed=1, num_chunks=2), _chunks(epoch)
    assert groups.num_chunks == 5
    assert (groups.chunks_before(ResumePosition(epoch, -1, 0)), groups.chunks_after(ResumePosition(epoch, -1, 0))) == (
        0,
        order,
    )
    for place, chunk in enumerate(order):
        inside, end = ResumePosition(epoch, chunk, 1), ResumePosition(epoch, chunk, _COUNTS[chunk])
        assert (groups.chunks_before(inside), groups.chunks_after(inside)) == (place, order[place:])
        assert (groups.chunks_before(end), groups.chunks_after(end)) == (place + 1, order[place + 1 :])
