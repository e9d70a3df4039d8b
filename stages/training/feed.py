"""Where the training loop's batches come from: one epoch at a time, from any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from stages.chunks.reader import Batch, Position
from stages.training.progress import ResumePosition
from stages.training.rng import RngState


class Reader(Protocol):
    """Yields the batches of one epoch from a position on."""

    def reset(self, position: Position) -> None:
        """Make the sample at `position` the next one."""

    def require_unaltered(self) -> None:
        """Raise IntegrityError where what was read was altered meanwhile."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...


class Feed:
    """Opens the reader at the position of the progress, and again at the start of each epoch.

    The global random generators are put back after each opening: an iterator that draws from them when it is made (as
    torch's DataLoader does) would otherwise make a resumed run differ from one that was never interrupted.

    Args:
        make_reader: called when the first batch is asked for, when all state is restored.
    """

    def __init__(self, make_reader: Callable[[], Reader], rng: RngState) -> None:
        self._make_reader = make_reader
        self._rng = rng
        self._reader: Reader | None = None
        self._epoch = -1

    def next(self, position: ResumePosition) -> Batch | None:
        """Return the next batch, or None at the end of the epoch; `position` is where training stands."""
        if self._reader is not None and position.epoch == self._epoch:
            return next(self._reader, None)
        with self._rng.preserved():
            self._reader = self._reader or self._make_reader()
            self._reader.reset(Position(*position))
            self._epoch = position.epoch
            return next(self._reader, None)

    def require_unaltered(self) -> None:
        """Raise IntegrityError where data were altered while they were read; call it before anything is kept."""
        if self._reader is not None:
            self._reader.require_unaltered()
