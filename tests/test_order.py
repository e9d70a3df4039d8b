"""The order of an epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.chunks.order import EpochOrder

_COUNTS = (5, 8, 1, 6)


def _order(epoch: int, *, seed: int = 3, is_shuffled: bool = True) -> EpochOrder:
    return EpochOrder(counts=_COUNTS, seed=seed, epoch=epoch, is_shuffled=is_shuffled)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 1000),
)
def test_every_chunk_and_every_sample_comes_once(counts: list[int], seed: int, epoch: int) -> None:
    """An epoch leaves nothing out and repeats nothing, for any seed."""
    order = EpochOrder(counts=counts, seed=seed, epoch=epoch, is_shuffled=True)
    assert sorted(order.chunks) == list(range(len(counts)))
    for chunk_id, count in enumerate(counts):
        assert sorted(order.samples(chunk_id)) == list(range(count))


def test_the_first_epoch_takes_the_chunks_by_number() -> None:
    """So training can begin while later chunks are being written; its samples are shuffled all the same."""
    order = _order(0)
    assert list(order.chunks) == [0, 1, 2, 3]
    assert any(list(order.samples(chunk_id)) != sorted(order.samples(chunk_id)) for chunk_id in range(4))


def test_later_epochs_differ_from_each_other() -> None:
    """Chunks and samples are shuffled anew in every epoch."""
    chunks = {tuple(_order(epoch).chunks) for epoch in range(1, 9)}
    samples = {tuple(_order(epoch).samples(1)) for epoch in range(8)}
    assert len(chunks) > 4
    assert len(samples) > 6


def test_chunks_of_one_size_are_shuffled_apart() -> None:
    """The order of one chunk tells nothing of the order of another."""
    order = EpochOrder(counts=[50, 50], seed=0, epoch=0, is_shuffled=True)
    assert list(order.samples(0)) != list(order.samples(1))


def test_another_seed_gives_another_order() -> None:
    """The seed matters for chunks and for samples."""
    assert list(_order(2, seed=1).chunks) != list(_order(2, seed=2).chunks)
    assert list(_order(2, seed=1).samples(1)) != list(_order(2, seed=2).samples(1))


def test_unshuffled_means_by_number() -> None:
    """Evaluation reads the samples as they were numbered."""
    order = _order(7, is_shuffled=False)
    assert list(order.chunks) == [0, 1, 2, 3]
    assert list(order.samples(1)) == list(range(8))


@pytest.mark.parametrize(
    ("epoch", "chunks", "samples"),
    [(0, [0, 1, 2, 3], [6, 0, 7, 3, 5, 2, 4, 1]), (5, [0, 2, 1, 3], [6, 2, 4, 5, 0, 7, 3, 1])],
)
def test_the_order_is_the_same_on_every_machine_and_for_ever(epoch: int, chunks: list[int], samples: list[int]) -> None:
    """A checkpoint of today continues in the same order with the libraries of tomorrow."""
    assert list(_order(epoch).chunks) == chunks
    assert list(_order(epoch).samples(1)) == samples


def test_ten_million_samples_cost_only_their_chunks() -> None:
    """Nothing is drawn for a sample before its chunk is asked for."""
    order = EpochOrder(counts=[100] * 100_000, seed=0, epoch=1, is_shuffled=True)
    assert len(order.chunks) == 100_000
    assert sorted(order.samples(99_999)) == list(range(100))


def test_the_place_of_a_chunk_is_where_it_comes() -> None:
    """Looking a chunk up in the order gives the place at which the order has it."""
    order = _order(5)
    assert [order.place(int(chunk_id)) for chunk_id in order.chunks] == [0, 1, 2, 3]
