"""How far training has come, chunk by chunk: the position to continue from, as a JSON document that people can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.schema import Schema
from pipeline.sealed import load_sealed, save_sealed

SCHEMA = Schema("training progress")
PROGRESS_NAME = "training_progress.json"


class ResumePosition(NamedTuple):
    """The next sample to train: `offset` samples of the order of `chunk_id` are behind (-1: the epoch's first)."""

    epoch: int
    chunk_id: int
    offset: int

    def describe(self, *, global_step: int, total_steps: int) -> str:
        """Say it in words, with the same numbers as in the files, which count from 0; `total_steps` 0: not known."""
        where = f"chunk {self.chunk_id}, sample {self.offset}" if self.chunk_id >= 0 else "first chunk, sample 0"
        return f"epoch {self.epoch}, {where} (step {global_step}{f' of {total_steps}' if total_steps else ''})"


class ChunkProgress(BaseModel):
    """What was trained of one chunk in the current epoch; `last_offset` is the next position in its order."""

    model_config = ConfigDict(extra="forbid")

    chunk_id: int = Field(ge=0)
    samples_trained: int = Field(0, ge=0)
    last_offset: int = Field(0, ge=0)
    completed: bool = False


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    seed: int
    global_step: int = Field(0, ge=0)
    epoch: int = Field(0, ge=0)
    current_chunk_id: int = Field(-1, ge=-1)
    current_offset: int = Field(0, ge=0)
    chunk_progress: dict[str, ChunkProgress] = Field(default_factory=dict)
    total_samples_trained: int = Field(0, ge=0)


class TrainingProgressTracker:
    """Keeps the position, committed after each optimizer step, and what was trained of each chunk of the epoch.

    Args:
        path: where `save` and `load` keep it.
        seed: of the order of the samples; the progress of another order is refused.
    """

    def __init__(self, path: Path, *, seed: int) -> None:
        self.path = path
        self._seed = seed
        self._document = _Document(seed=seed)

    @property
    def global_step(self) -> int:
        """Number of optimizer steps taken."""
        return self._document.global_step

    @property
    def epoch(self) -> int:
        """Number of complete epochs."""
        return self._document.epoch

    def update(
        self, *, global_step: int, epoch: int, chunk_id: int, offset: int, samples_in_batch: int, chunk_size: int
    ) -> None:
        """Commit what one step trained of one chunk; a batch that straddles chunks commits each of them in turn.

        Args:
            global_step: number of optimizer steps taken, this one included.
            epoch: the epoch that the samples belong to.
            chunk_id: the chunk that they come from.
            offset: position in the chunk's order of the sample after them: the next one to train.
            samples_in_batch: how many samples of this chunk were trained.
            chunk_size: samples in the chunk; it is complete when `offset` reaches this.
        """
        # Plain attribute writes, no validation: this runs after every step and takes about 2 microseconds.
        document = self._document
        if epoch != document.epoch:
            document.chunk_progress = {}
        document.global_step = global_step
        document.epoch = epoch
        document.current_chunk_id = chunk_id
        document.current_offset = offset
        document.total_samples_trained += samples_in_batch
        key = str(chunk_id)
        chunk = document.chunk_progress.get(key)
        if chunk is None:
            chunk = document.chunk_progress[key] = ChunkProgress(chunk_id=chunk_id)
        chunk.samples_trained += samples_in_batch
        chunk.last_offset = offset
        chunk.completed = offset >= chunk_size

    def mark_epoch_complete(self) -> None:
        """Move to the start of the next epoch."""
        document = self._document
        document.epoch += 1
        document.current_chunk_id = -1
        document.current_offset = 0
        document.chunk_progress = {}

    def get_resume_position(self) -> ResumePosition:
        """Return the next sample to train."""
        document = self._document
        return ResumePosition(document.epoch, document.current_chunk_id, document.current_offset)

    def should_skip_chunk(self, chunk_id: int) -> bool:
        """Return whether all of a chunk was trained in the current epoch."""
        chunk = self._document.chunk_progress.get(str(chunk_id))
        return chunk is not None and chunk.completed

    def get_chunk_offset(self, chunk_id: int) -> int:
        """Return how many positions of a chunk's order are behind in the current epoch."""
        chunk = self._document.chunk_progress.get(str(chunk_id))
        return chunk.last_offset if chunk is not None else 0

    def get_chunk_samples(self, chunk_id: int) -> int:
        """Return how many samples of a chunk were trained in the current epoch."""
        chunk = self._document.chunk_progress.get(str(chunk_id))
        return chunk.samples_trained if chunk is not None else 0

    def has_progress(self) -> bool:
        """Return whether any step was taken."""
        return self._document.global_step > 0

    def get_statistics(self) -> dict[str, int]:
        """Return counts: steps, epochs, chunks completed and begun in this epoch, samples in it and in total."""
        chunks = self._document.chunk_progress.values()
        return {
            "global_step": self._document.global_step,
            "epoch": self._document.epoch,
            "chunks_completed": sum(chunk.completed for chunk in chunks),
            "chunks_begun": len(chunks),
            "samples_this_epoch": sum(chunk.samples_trained for chunk in chunks),
            "total_samples_trained": self._document.total_samples_trained,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as a JSON document."""
        return self._document.model_dump()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a document of `state_dict`; raises IntegrityError when it is none, or belongs to another seed."""
        hint = "start this training from zero with `pipeline progress reset`"
        try:
            document = _Document.model_validate(SCHEMA.migrate(dict(state), name="the training progress"))
        except ValidationError as error:
            raise IntegrityError(
                f"this is no training progress: {error.errors()[0]['msg']}", code="E0465", hint=hint
            ) from error
        if document.seed != self._seed:
            raise IntegrityError(
                f"this progress belongs to seed {document.seed}, not to {self._seed}", code="E0465", hint=hint
            )
        self._document = document

    def save(self) -> None:
        """Write it to `path`, atomically."""
        save_sealed(self.path, self.state_dict())

    def load(self) -> bool:
        """Read it from `path`; return False where there is none. Raises IntegrityError when it cannot be used."""
        try:
            self.load_state_dict(load_sealed(self.path))
        except FileNotFoundError:
            return False
        return True

    def reset(self) -> None:
        """Forget all progress and remove its file."""
        self._document = _Document(seed=self._seed)
        files.remove(self.path)
