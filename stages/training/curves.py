"""Curves for TensorBoard, where the package is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path


class Curves:
    """Writes event files into `folder`; points from `first_step` on that an earlier process wrote are hidden.

    TensorBoard calls that purging: a resumed run's steps continue those that it kept, and none is shown twice.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of the named curves."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand everything to the operating system, so that a kill loses nothing up to here."""
        self._writer.flush()

    def close(self) -> None:
        """Write out the rest."""
        self._writer.close()


def is_installed() -> bool:
    """Return whether TensorBoard's package is there."""
    return importlib.util.find_spec("tensorboard") is not None
