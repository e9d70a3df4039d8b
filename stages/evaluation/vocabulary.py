"""The classes of the detector and of a data set, brought together by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Vocabulary:
    """The classes that a detector and a data set have between them.

    Attributes:
        classes: those of the detector, in its order, and behind them those that only the data set has.
        labels: for each class of the data set its place in `classes`, [n].
        num_detected: how many of `classes` are the detector's.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    num_detected: int

    @property
    def shared(self) -> tuple[int, ...]:
        """The places in `classes` of those that both know; figures per class can be had of these alone."""
        return tuple(sorted({int(label) for label in self.labels if label < self.num_detected}))


def bring_together(detected: Sequence[str], named: Sequence[str]) -> Vocabulary:
    """Match the classes of a data set (`named`) with those of the detector: the same but for upper and lower case."""
    places = {name.casefold(): place for place, name in enumerate(detected)}
    foreign = [name for name in dict.fromkeys(named) if name.casefold() not in places]
    places |= {name.casefold(): len(detected) + place for place, name in enumerate(foreign)}
    labels = np.array([places[name.casefold()] for name in named], np.int64)
    return Vocabulary((*detected, *foreign), labels, len(detected))
