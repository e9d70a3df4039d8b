"""Samples that are left out because their chunk is damaged: told, counted, remembered, and limited."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.errors import IntegrityError
from stages.chunks.reader import Damage


class _DamagedChunk(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    problem: str
    sample_ids: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.file} ({self.problem}): {len(self.sample_ids)} samples left out"


class SkippedSamples:
    """The damage met in one split; a run that is continued leaves out the same samples.

    Args:
        num_samples: size of the split.
        max_fraction: part of it that may be left out.
        root: the workspace; files in it are named relative to it.
        warn: told of each damaged chunk.
    """

    def __init__(self, *, num_samples: int, max_fraction: float, root: Path, warn: Callable[[str], None]) -> None:
        self._num_samples = num_samples
        self._limit = math.floor(num_samples * max_fraction)
        self._root = root
        self._warn = warn
        self._chunks: dict[int, _DamagedChunk] = {}

    @property
    def sample_ids(self) -> list[int]:
        """The ids of all samples left out."""
        return sorted(sample_id for chunk in self._chunks.values() for sample_id in chunk.sample_ids)

    @property
    def files(self) -> list[str]:
        """The files of the damaged chunks."""
        return sorted(chunk.file for chunk in self._chunks.values())

    def on_damage(self, damage: Damage) -> None:
        """Take note of a damaged chunk; raises IntegrityError when that makes too many samples."""
        file = damage.file
        name = file.relative_to(self._root).as_posix() if file.is_relative_to(self._root) else str(file)
        known = self._chunks[damage.chunk_id].sample_ids if damage.chunk_id in self._chunks else ()
        lost = tuple(sorted({*known, *damage.sample_ids}))
        chunk = self._chunks[damage.chunk_id] = _DamagedChunk(file=name, problem=damage.problem, sample_ids=lost)
        self._warn(str(chunk))
        total = len(self.sample_ids)
        if total > self._limit:
            raise IntegrityError(
                f"{total} of {self._num_samples} samples are lost, and {self._limit} may be: {chunk}",
                code="E0457",
                hint="run the same command again: damaged chunks are made anew before training continues; "
                "or raise training.max_skipped_fraction",
            )

    def warnings(self) -> tuple[str, ...]:
        """Return a line for each damaged chunk."""
        return tuple(str(chunk) for _, chunk in sorted(self._chunks.items()))

    def state_dict(self) -> dict[str, Any]:
        """Return what was left out, by chunk."""
        return {str(chunk_id): chunk.model_dump(mode="json") for chunk_id, chunk in self._chunks.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Leave out the same again."""
        self._chunks = {int(chunk_id): _DamagedChunk.model_validate(chunk) for chunk_id, chunk in state.items()}
