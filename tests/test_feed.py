"""The feed: one reader, opened where training stands, without disturbing the random generators."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from stages.chunks.reader import Batch, Position
from stages.training.feed import Feed
from stages.training.progress import ResumePosition
from stages.training.rng import RngState


class _DrawingReader:
    """Draws from the global generator when it is made, reset and first asked, as torch's DataLoader does."""

    def __init__(self) -> None:
        torch.rand(1)
        self.resets: list[Position] = []
        self._offset = 0

    def reset(self, position: Position) -> None:
        """Go to `position`."""
        torch.rand(1)
        self.resets.append(position)
        self._offset = position.offset
        self._has_drawn = False

    def require_unaltered(self) -> None:
        """Nothing is altered."""

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self._has_drawn:
            torch.rand(1)
            self._has_drawn = True
        if self._offset == 2:
            raise StopIteration
        self._offset += 1
        return Batch(0, {}, np.arange(1), (), Position(0, 0, self._offset))


def test_iterators_that_draw_leave_no_trace() -> None:
    """Opened at the start, in the middle of an epoch or at its end, the next random number is the same."""
    rng = RngState()
    rng.seed(0)
    drawn = [float(torch.rand(1))]
    for position in (ResumePosition(0, -1, 0), ResumePosition(0, 0, 1), ResumePosition(1, -1, 0)):
        rng.seed(0)
        Feed(_DrawingReader, rng).next(position)
        drawn.append(float(torch.rand(1)))
    assert len(set(drawn)) == 1


def test_reader_is_opened_once_an_epoch() -> None:
    """Within an epoch the reader goes on by itself; at the next one it is reset, and its end is None."""
    readers: list[_DrawingReader] = []

    def make() -> _DrawingReader:
        readers.append(_DrawingReader())
        return readers[-1]

    feed = Feed(make, RngState())
    assert feed.next(ResumePosition(0, 0, 1)) is not None
    assert feed.next(ResumePosition(0, 0, 2)) is None
    assert feed.next(ResumePosition(1, -1, 0)) is not None
    assert [reader.resets for reader in readers] == [[Position(0, 0, 1), Position(1, -1, 0)]]
