"""Our reader, and the floor below every reader: a loop that copies from mapped chunks into two reused buffers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from samples import ARRAYS, BATCH_SIZE, SEED, chunk_files, map_arrays

from stages.chunks.damage import Damage
from stages.chunks.listed import load_chunks
from stages.chunks.manifest import Manifest
from stages.chunks.reader import ChunkReader, Position

Manifest.model_rebuild()  # what pydantic makes of a class when it is first used belongs to the imports, as for others


class Ours:
    """The reader on a manifest, as training opens it; begins with epoch 1, the first that shuffles the chunks too."""

    def __init__(self, manifest: Path, *, is_shuffled: bool) -> None:
        started = time.perf_counter()
        chunks = load_chunks(manifest, split="train")
        self.manifest_seconds = time.perf_counter() - started
        self._reader = ChunkReader(chunks, batch_size=BATCH_SIZE, seed=SEED, is_shuffled=is_shuffled, on_damage=_refuse)
        self._position = Position(1)
        self.loader = self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._reader.reset(self._position)
        self._position = Position(self._position.epoch + 1)
        for batch in self._reader:
            yield {**batch.arrays, "id": batch.sample_ids}

    def state(self, num_batches: int) -> Any:  # noqa: ARG002
        """Return the position: what a checkpoint keeps."""
        return astuple(self._reader.get_state())

    def resume(self, state: Any) -> None:
        """Go on there."""
        self._position = Position(*state)


def _refuse(damage: Damage) -> None:
    raise AssertionError(damage)


class Floor:
    """No verification, no ids checked, no positions: rows in an order that is known beforehand, copied."""

    def __init__(self, folder: Path, *, is_shuffled: bool) -> None:
        self._files = chunk_files(folder)
        self._opened: dict[int, dict[str, np.ndarray]] = {}
        self._buffers: list[dict[str, np.ndarray]] = [{}, {}]
        self._first_batch = 0
        self._batches = _plan(len(self._files), chunk_size=100, is_shuffled=is_shuffled)
        self.loader = self

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for number in range(self._first_batch, len(self._batches)):
            buffers = self._buffers[number % 2]
            start = 0
            for chunk_id, rows in self._batches[number]:
                arrays = self._opened.get(chunk_id)
                if arrays is None:
                    arrays = self._opened[chunk_id] = map_arrays(self._files[chunk_id])
                stop = start + len(rows)
                for name in (*ARRAYS, "sample_id"):
                    if name not in buffers:
                        shape = (BATCH_SIZE, *arrays[name].shape[1:])
                        buffers[name] = np.empty(shape, arrays[name].dtype)
                    np.take(arrays[name], rows, axis=0, out=buffers[name][start:stop], mode="clip")
                start = stop
            yield {"id": buffers["sample_id"][:start], **{name: buffers[name][:start] for name in ARRAYS}}

    def state(self, num_batches: int) -> Any:
        """Return the number of batches."""
        return num_batches

    def resume(self, state: Any) -> None:
        """Begin with that batch."""
        self._first_batch = state


def _plan(num_chunks: int, *, chunk_size: int, is_shuffled: bool) -> list[list[tuple[int, np.ndarray]]]:
    """Return for each batch the rows of each chunk."""
    random = np.random.default_rng(SEED)
    batches: list[list[tuple[int, np.ndarray]]] = [[]]
    num_missing = BATCH_SIZE
    for chunk_id in random.permutation(num_chunks).tolist() if is_shuffled else range(num_chunks):
        rows = random.permutation(chunk_size) if is_shuffled else np.arange(chunk_size)
        while len(rows):
            if not num_missing:
                batches.append([])
                num_missing = BATCH_SIZE
            batches[-1].append((chunk_id, rows[:num_missing]))
            taken = len(batches[-1][-1][1])
            rows, num_missing = rows[taken:], num_missing - taken
    return batches
