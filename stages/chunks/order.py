"""In which order an epoch takes the chunks, and the samples of each chunk: pure functions of (seed, epoch, counts)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class EpochOrder:
    """The order of one epoch; costs a little per chunk, and nothing per sample until a chunk is asked for.

    Epoch 0 takes the chunks by number, so that training can begin while later chunks are still being written.

    Args:
        counts: number of samples of each chunk; the chunks are numbered by their place here.
        seed: 0 to 2**64 - 1.
        epoch: counts from 0.
        is_shuffled: False takes chunks and samples by number.
    """

    def __init__(self, *, counts: Sequence[int], seed: int, epoch: int, is_shuffled: bool) -> None:
        self._counts = counts
        self._key = (seed, epoch)
        self._is_shuffled = is_shuffled
        is_permuted = is_shuffled and epoch > 0
        self.chunks: Indices = self._permutation(len(counts), stream=0) if is_permuted else np.arange(len(counts))

    def place(self, chunk_id: int) -> int:
        """Return the place of a chunk in the order."""
        return int(np.flatnonzero(self.chunks == chunk_id)[0])

    def samples(self, chunk_id: int) -> Indices:
        """Return the rows of a chunk in the order in which the epoch takes them."""
        count = self._counts[chunk_id]
        return self._permutation(count, stream=chunk_id + 1) if self._is_shuffled else np.arange(count)

    def _permutation(self, size: int, *, stream: int) -> Indices:
        # Raw words of a counter-based generator: NumPy keeps them the same for ever, but not `permutation()` (NEP 19).
        words = np.random.Philox(key=np.array(self._key, np.uint64), counter=np.array([0, stream, 0, 0], np.uint64))
        return words.random_raw(size).argsort(kind="stable")
