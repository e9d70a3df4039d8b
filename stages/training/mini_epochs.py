"""Where mini-epochs end: a pure function of the chunks' sizes, the seed and the position."""

from __future__ import annotations

from collections.abc import Sequence

from stages.chunks.order import EpochOrder
from stages.training.progress import ResumePosition


class MiniEpochs:
    """Groups of `num_chunks` chunks in the order of each epoch; an epoch's last group may be smaller.

    A mini-epoch is complete with the batch that takes its last sample, which may reach into the next group.
    """

    def __init__(self, counts: Sequence[int], *, seed: int, num_chunks: int) -> None:
        self._counts = list(counts)
        self._seed = seed
        self._group = num_chunks or max(1, len(self._counts))
        self._places: dict[int, int] = {}
        self._places_epoch = -1
        self._last = (ResumePosition(0, -1, 0), 0)  # asked several times for each step

    @property
    def per_epoch(self) -> int:
        """How many there are in an epoch."""
        return -(-len(self._counts) // self._group)

    @property
    def num_chunks(self) -> int:
        """How many chunks an epoch has."""
        return len(self._counts)

    def chunks_before(self, position: ResumePosition) -> int:
        """Return how many chunks of its epoch lie before `position`."""
        if position.chunk_id < 0:
            return 0
        return self._places_of(position.epoch)[position.chunk_id] + (position.offset >= self._counts[position.chunk_id])

    def chunks_after(self, position: ResumePosition) -> list[int]:
        """Return the numbers of the others, the one at `position` among them, in the order of the epoch."""
        return list(self._places_of(position.epoch))[self.chunks_before(position) :]

    def count(self, chunk_id: int) -> int:
        """Return how many samples a chunk has."""
        return self._counts[chunk_id]

    def completed(self, position: ResumePosition) -> int:
        """Return how many mini-epochs lie before `position`, counted from the start of training."""
        if position == self._last[0]:
            return self._last[1]
        self._last = (position, self._count(position))
        return self._last[1]

    def _count(self, position: ResumePosition) -> int:
        before = position.epoch * self.per_epoch
        if position.chunk_id < 0:
            return before
        # Missing chunks make the position jump over the end of a group; counting what lies before it still sees it.
        num_chunks = self.chunks_before(position)
        return before + (self.per_epoch if num_chunks == len(self._counts) else num_chunks // self._group)

    def _places_of(self, epoch: int) -> dict[int, int]:
        """Return the place of each chunk in the order of an epoch, in that order."""
        if epoch != self._places_epoch:
            order = EpochOrder(counts=self._counts, seed=self._seed, epoch=epoch, is_shuffled=True)
            self._places = {int(chunk_id): place for place, chunk_id in enumerate(order.chunks)}
            self._places_epoch = epoch
        return self._places
