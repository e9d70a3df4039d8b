"""Training checkpoints: folders from which training continues, whole and verified, or not considered."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pipeline import __version__, files
from pipeline.errors import IntegrityError, NewerFormat
from pipeline.fingerprint import digest_bytes
from pipeline.reading import read_regular, require_lost
from pipeline.schema import Schema, add_writer
from pipeline.sealed import load_sealed, sealed_bytes
from pipeline.stage import StageContext

SCHEMA = Schema("training checkpoint", migrations=(add_writer,))
METADATA_NAME = "checkpoint_metadata.json"
OPTIMIZER_NAME = "optimizer.safetensors"
Check = Callable[[Mapping[str, bytes]], None]
# Only names of exactly this form are ours to read, to rotate and to remove.
NAME = re.compile(r"^checkpoint-step(\d{6,})-loss\S+-\d{8}_\d{6}$")
_SET_ASIDE = re.compile(r"^checkpoint-step\d{6,}-loss\S+-\d{8}_\d{6}\.corrupt-\d+$")


class TrainingFacts(BaseModel):
    """What training says of the moment of a checkpoint.

    Attributes:
        global_step: optimizer steps taken.
        epoch: epoch of the next sample; with `chunk_id` and `offset` the position to continue from.
        loss: mean of the training loss since the mini-epoch began.
        is_best: it was the best by the validation figure when it was saved.
        is_final: training is over; only its results are to be written.
        config: the settings of the run, for people.
        environment: what the bits depend on besides the settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    global_step: int = Field(ge=0)
    total_steps: int = Field(ge=0)
    epoch: int = Field(ge=0)
    chunk_id: int = Field(ge=-1)
    offset: int = Field(ge=0)
    loss: float
    is_best: bool
    is_final: bool
    config: dict[str, Any]
    environment: dict[str, Any]


class StoredFile(BaseModel):
    """Size in bytes and digest of one file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    size: int
    xxh3: str


class CheckpointMetadata(TrainingFacts):
    """The file that makes a folder a checkpoint; written last.

    Attributes:
        generation: counts the checkpoints of a run; orders two of the same step, which no clock is trusted to do.
    """

    schema_version: Literal[2] = 2
    written_by: str = __version__
    generation: int = Field(ge=1)
    created_at: str
    config_hash: str
    inputs_digest: str
    files: dict[Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")], StoredFile]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose metadata could be read; its other files are verified when they are."""

    path: Path
    metadata: CheckpointMetadata

    @property
    def order(self) -> tuple[int, int]:
        """Checkpoints are ordered by step, and by generation where the step is the same."""
        return self.metadata.global_step, self.metadata.generation

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The greatest is continued from: mere weights only where there is nothing whole, whatever their step."""
        return self.has_optimizer, *self.order

    @property
    def has_optimizer(self) -> bool:
        """Whether the state of the optimizer is there; without it there are only weights."""
        return OPTIMIZER_NAME in self.metadata.files and (self.path / OPTIMIZER_NAME).exists()

    @property
    def is_complete(self) -> bool:
        """Whether its files are there with the right sizes; no contents are read. The optimizer's may be missing."""
        return all(
            (self.path / name).is_file() and (self.path / name).stat().st_size == stored.size
            for name, stored in self.metadata.files.items()
            if name != OPTIMIZER_NAME or self.has_optimizer
        )

    def read(self) -> dict[str, bytes]:
        """Return the files by name; raises IntegrityError, naming the file, unless all are as they were written."""
        # Read once, and what was verified is what is used: a second read could give other bytes.
        names = [name for name in self.metadata.files if name != OPTIMIZER_NAME or self.has_optimizer]
        return {name: self._read_file(name) for name in names}

    def _read_file(self, name: str) -> bytes:
        path, expected = self.path / name, self.metadata.files[name]
        try:
            # The size first: a file that grew to gigabytes is not read to find out that it is wrong.
            size = path.stat().st_size
            data = read_regular(path, max_bytes=size) if size == expected.size else b""
        except OSError as error:
            require_lost(error)
            raise IntegrityError(f"{path} cannot be read: {error.strerror}", code="E0462") from error
        if size != expected.size:
            raise IntegrityError(f"{path} has {size} bytes, not the {expected.size} that were written", code="E0462")
        if digest_bytes(data) != expected.xxh3:
            raise IntegrityError(f"{path} was altered after it was written: its digest does not match", code="E0462")
        return data


class CheckpointStore:
    """The checkpoints of one run, in a folder of their own; files and folders of other names are never touched.

    Args:
        keep: how many are kept besides the best one, at least two: the newest and the one that was resumed from.
        promised_digest: checkpoints that were saved before the inputs were there have this for their inputs' digest.
        warn: told of each checkpoint that cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        config_hash: str,
        inputs_digest: str,
        promised_digest: str = "",
        warn: Callable[[str], None],
    ) -> None:
        assert keep >= 2, "else the newest or the one that was resumed from would have to go"
        self.folder = folder
        self._keep = keep
        self._owner = (config_hash, inputs_digest)
        self._owners = {self._owner, (config_hash, promised_digest)}
        self._warn = warn
        self._resumed_from: Path | None = None

    def checkpoints(self) -> list[Checkpoint]:
        """Return those of this run with readable metadata, the newest last; nothing is changed on disk."""
        found = []
        for path in self._folders(NAME):
            with suppress(IntegrityError):  # reported when something to resume from is looked for
                found.append(open_checkpoint(path))
        return sorted((item for item in found if self._is_own(item)), key=lambda checkpoint: checkpoint.order)

    def preferred(self) -> Checkpoint | None:
        """Return the one that `newest` would look at first; nothing is verified, and nothing is changed on disk."""
        return max(self.checkpoints(), key=lambda checkpoint: checkpoint.rank, default=None)

    def newest(self, *, check: Check = lambda _: None) -> tuple[Checkpoint, dict[str, bytes]] | None:
        """Return the newest checkpoint that verifies, with its files; what does not verify is set aside, aloud.

        A checkpoint without optimizer state is taken only where there is no whole one: continuing from an older
        whole one gives the exact result, continuing from mere weights does not. What is then too many is removed: a
        kill may have come between a save and its rotation.

        Args:
            check: looks into the files of a checkpoint, and raises IntegrityError where they must not be used.

        Raises:
            IntegrityError: a checkpoint was written by a newer version of this program.
        """
        steps = [int(found[1]) for path in self._folders(NAME) if (found := NAME.match(path.name))]
        # First the folders whose place in the order cannot be known, so that none is passed over in silence.
        num_foreign = self._set_aside_unreadable()
        for checkpoint in sorted(self.checkpoints(), key=lambda candidate: candidate.rank, reverse=True):
            try:
                contents = checkpoint.read()
                _require(check, checkpoint, contents)
            except IntegrityError as problem:
                self._set_aside(checkpoint.path, problem)
                continue
            self._tell_choice(checkpoint, newest=self.checkpoints()[-1])
            self._resumed_from = checkpoint.path
            self._rotate()
            return checkpoint, contents
        if len(steps) > num_foreign:
            self._warn(f"no checkpoint is left to continue from: all {max(steps)} steps are done again from zero")
        return None

    def save(self, contents: Iterable[tuple[str, bytes | memoryview]], facts: TrainingFacts) -> Checkpoint:
        """Write a checkpoint durably, its metadata last; then remove old ones, and those that were set aside.

        Raises:
            ResourceExhausted: the disk is full; all earlier checkpoints are as they were.
        """
        path = self._free_path(facts)
        stored: dict[str, StoredFile] = {}
        metadata: list[CheckpointMetadata] = []
        generation = 1 + max((checkpoint.metadata.generation for checkpoint in self.checkpoints()), default=0)

        def written() -> Iterator[tuple[str, bytes | memoryview]]:
            # The digest is that of the bytes in memory, so a disk that stores others is found out.
            for name, data in contents:
                yield name, data
                stored[name] = StoredFile(size=len(data), xxh3=digest_bytes(data))
            config_hash, inputs_digest = self._owner
            metadata.append(
                CheckpointMetadata(
                    **facts.model_dump(),
                    generation=generation,
                    created_at=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    config_hash=config_hash,
                    inputs_digest=inputs_digest,
                    files=stored,
                )
            )
            yield METADATA_NAME, sealed_bytes(metadata[0].model_dump(mode="json"))

        files.write_folder(path, written())
        # Only now: had the write failed, what there was would be all there is.
        self._rotate()
        for aside in self._folders(_SET_ASIDE):
            files.remove(aside)
        return Checkpoint(path, metadata[0])

    def discard(self) -> None:
        """Remove all checkpoints, those set aside too, and the folder if nothing else is in it."""
        for path in [*self._folders(NAME), *self._folders(_SET_ASIDE)]:
            files.remove(path)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            files.remove(self.folder)

    def _folders(self, pattern: re.Pattern[str]) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if pattern.match(path.name) and path.is_dir())

    def _is_own(self, checkpoint: Checkpoint) -> bool:
        return (checkpoint.metadata.config_hash, checkpoint.metadata.inputs_digest) in self._owners

    def _set_aside_unreadable(self) -> int:
        """Return how many belong to other runs; they are left alone."""
        num_foreign = 0
        for path in self._folders(NAME):
            try:
                if not self._is_own(open_checkpoint(path)):
                    num_foreign += 1
                    self._warn(f"{path} belongs to a run with other settings or other data; it is left alone")
            except NewerFormat:
                raise
            except IntegrityError as problem:
                self._set_aside(path, problem)
        return num_foreign

    def _set_aside(self, path: Path, problem: IntegrityError) -> None:
        aside = files.set_aside(path)
        self._warn(
            f"{problem.message}; it was set aside as {aside.name} until the next checkpoint is saved, and an older "
            "checkpoint is looked for"
        )

    def _tell_choice(self, chosen: Checkpoint, *, newest: Checkpoint) -> None:
        if not newest.has_optimizer and chosen.has_optimizer:
            self._warn(
                f"{newest.path.name} holds only weights, no optimizer state; training continues from the older "
                f"{chosen.path.name}, which is whole and gives the exact result"
            )
        elif not chosen.has_optimizer:
            self._warn(
                f"{chosen.path.name} holds only weights, no optimizer state: training continues from them with a "
                "fresh optimizer, so the result will differ from that of an uninterrupted run"
            )

    def _free_path(self, facts: TrainingFacts) -> Path:
        """Return a name that is not taken: the same step may be saved twice within a second."""
        # For people only; a clock that jumps changes the name and nothing else.
        moment = time.time()
        while True:
            stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(moment))
            path = self.folder / f"checkpoint-step{facts.global_step:06d}-loss{facts.loss:.4f}-{stamp}"
            if not path.exists():
                return path
            moment += 1

    def _rotate(self) -> None:
        for checkpoint in superseded(self.checkpoints(), keep=self._keep, resumed_from=self._resumed_from):
            files.remove(checkpoint.path)


def open_store(context: StageContext) -> CheckpointStore:
    """Return the checkpoints of the run of `context`."""
    return CheckpointStore(
        context.state_folder,
        keep=context.runtime.keep_checkpoints,
        config_hash=context.config_hash,
        inputs_digest=context.work_digest,
        promised_digest=context.promised_digest,
        warn=context.warn,
    )


def _require(check: Check, checkpoint: Checkpoint, contents: Mapping[str, bytes]) -> None:
    try:
        check(contents)
    except IntegrityError as problem:
        raise IntegrityError(f"{checkpoint.path}: {problem.message}", code=problem.code, hint=problem.hint) from problem


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the metadata of the checkpoint at `path`; raises IntegrityError."""
    try:
        document = load_sealed(path / METADATA_NAME)
    except OSError as error:
        require_lost(error)
        raise IntegrityError(f"{path / METADATA_NAME} cannot be read: {error.strerror}", code="E0462") from error
    document = SCHEMA.migrate(document, name=str(path))
    try:
        return Checkpoint(path, CheckpointMetadata.model_validate(document))
    except ValidationError as error:
        raise IntegrityError(f"{path} is no training checkpoint: {error.errors()[0]['msg']}", code="E0463") from error


def superseded(checkpoints: list[Checkpoint], *, keep: int, resumed_from: Path | None) -> list[Checkpoint]:
    """Choose which of `checkpoints` are removed: all but the best and `keep` others.

    These are, in this order: the one that would be continued from, `resumed_from`, and the next newest ones.
    """
    ranked = sorted(checkpoints, key=lambda checkpoint: checkpoint.rank, reverse=True)
    best = next((item for item in ranked if item.metadata.is_best), None)
    ranked[1:] = sorted(ranked[1:], key=lambda item: item.path != resumed_from)
    return [item for item in ranked[keep:] if item is not best]
