"""Random numbers that belong to a sample: the same ones whichever samples are made beside it, before it or after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

LAYOUT_STREAM = 0
NOISE_STREAM = 1
_WORDS_PER_STEP = 4  # Philox4x64: one step of its counter gives four 64-bit words


def words(*, seed: int, stream: int, first_sample_id: int, count: int, width: int) -> Words:
    """Return [count, width] random words: sample `i` owns words `i * width` to `(i + 1) * width` of one stream."""
    generator = _generator_at(first_sample_id * width, seed=seed, stream=stream)
    return np.asarray(generator.random_raw(count * width)).reshape(count, width)


def rows_of_words(*, seed: int, stream: int, first_sample_id: int, width: int) -> Iterator[Words]:
    """Yield the rows of `words` one by one, without end: where they are long, all at once would leave the cache."""
    generator = _generator_at(first_sample_id * width, seed=seed, stream=stream)
    while True:
        yield generator.random_raw(width)


def _generator_at(word: int, *, seed: int, stream: int) -> Any:
    """Return NumPy's bit generator, which can start anywhere in its stream and keeps its words for ever (NEP 19)."""
    assert word % _WORDS_PER_STEP == 0
    return np.random.Philox(key=np.array([seed, stream], np.uint64), counter=word // _WORDS_PER_STEP)


class Draws:
    """Uniform numbers in [0, 1), handed out column by column: [count, rows] or [count, rows, num]."""

    def __init__(self, raw: Words, *, rows: int) -> None:
        numbers: Floats = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53  # the 53 bits that a float64 can hold
        self._numbers: Floats = numbers.reshape(len(raw) * rows, -1)
        self._next = 0

    def take(self, num: int) -> Floats:
        """Return the next `num` columns, [count * rows, num]."""
        self._next += num
        assert self._next <= self._numbers.shape[1]
        return self._numbers[:, self._next - num : self._next]

    def one(self) -> Floats:
        """Return the next column, [count * rows]."""
        return self.take(1)[:, 0]

    def between(self, low: Floats | float, high: Floats | float) -> Floats:
        """Return a column of numbers in [low, high)."""
        return low + (high - low) * self.one()
