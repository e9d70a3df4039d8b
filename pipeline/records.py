"""The JSON checkpoint of a stage: proof that it is whole, and of what it is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import __version__, files
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_json
from pipeline.schema import Schema, add_writer
from pipeline.sealed import load_sealed, save_sealed

SCHEMA = Schema("stage record", migrations=(add_writer,))


class Artifact(BaseModel):
    """A file that a stage left: what it is for (`kind`), where (relative to the workspace), how large, its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    kind: str
    path: str
    size: int
    xxh3: str


class Target(BaseModel):
    """A figure that a run should reach; `value` is None where it could not be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    data_set: str
    metric: str
    minimum: float
    value: float | None

    @property
    def is_met(self) -> bool:
        """Whether the figure was measured and reaches the minimum."""
        return self.value is not None and self.value >= self.minimum


class StageRecord(BaseModel):
    """What is known of a finished stage."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[2] = 2
    written_by: str = __version__
    stage: str
    stage_version: int
    run: str
    config_hash: str
    config: dict[str, Any]
    inputs_digest: str
    inputs: dict[str, str]
    artifacts: tuple[Artifact, ...]
    metrics: dict[str, Any]
    targets: tuple[Target, ...] = ()
    warnings: tuple[str, ...] = ()
    code: dict[str, str]
    runtime: dict[str, Any]
    environment: dict[str, Any]
    started_at: str
    finished_at: str
    duration_seconds: float


class _RecalledRecord(StageRecord):
    """A record that was read before and is unchanged; its artifacts are read again when somebody asks for them."""

    _path: Path

    def __getattr__(self, name: str) -> Any:
        if name != "artifacts":
            return super().__getattr__(name)  # type: ignore[misc]
        try:
            artifacts = RecordStore(self._path.parent.parent).load(self._path).artifacts
        except IntegrityError as error:
            # Its stat says that it is unchanged, so it was believed up to here.
            hint = "after a run that ends with this, the next one believes no stat and makes anew what is damaged"
            raise IntegrityError(error.message, code=error.code, hint=hint) from error
        self.__dict__["artifacts"] = artifacts
        return artifacts


class RecordStore:
    """The records of one workspace: `checkpoints/<stage>/<config hash>[-<inputs digest>].json`.

    A stage with inputs has one record for each ground it stood on, so that going back to an earlier data set is a
    cache hit for the stages behind it too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, stage: str, *, config_hash: str, inputs_digest: str) -> Path:
        """Return where the record of this run of `stage` is or would be."""
        return self.folder / stage / f"{run_key(config_hash, inputs_digest)}.json"

    def path_of(self, record: StageRecord) -> Path:
        """Return where `record` is."""
        return self.path(record.stage, config_hash=record.config_hash, inputs_digest=record.inputs_digest)

    def save(self, record: StageRecord) -> Path:
        """Write `record` durably; from now on the stage counts as whole."""
        path = self.path_of(record)
        save_sealed(path, record.model_dump(mode="json"))
        return path

    def load(self, path: Path) -> StageRecord:
        """Read the record at `path`; raises FileNotFoundError, IntegrityError, or NewerFormat."""
        document = SCHEMA.migrate(load_sealed(path), name=str(path))
        try:
            return StageRecord.model_validate(document)
        except ValidationError as error:
            raise IntegrityError(f"{path} is not a stage record: {error.errors()[0]['msg']}", code="E0410") from error

    def recalled(self, path: Path, without_artifacts: Mapping[str, Any]) -> StageRecord:
        """Return the record at `path`, of which all is known but its artifacts; they are read when asked for."""
        targets = tuple(Target.model_construct(**target) for target in without_artifacts["targets"])
        record = _RecalledRecord.model_construct(**{**without_artifacts, "targets": targets})
        record._path = path
        return record

    def remove(self, path: Path) -> None:
        """Remove the record at `path`: from now on the stage does not count as whole."""
        files.remove(path)

    def begin(self, state_folder: Path, *, code: Mapping[str, str], **known: Any) -> None:
        """Note beside the folder of half-done work with which code it begins; the first note counts.

        `known` is what else there is to say of it (`run`, `config`, `inputs`): `gc` knows by it what it needs.
        """
        note = _note_of(state_folder)
        if not note.exists():
            save_sealed(note, {"code": dict(code), **known})

    def begun(self, state_folder: Path) -> dict[str, Any] | None:
        """Return the note of `begin`; None where there is none, empty where it cannot be read."""
        try:
            return load_sealed(_note_of(state_folder))
        except FileNotFoundError:
            return None
        except IntegrityError:
            return {}

    def code_at_begin(self, state_folder: Path) -> dict[str, str]:
        """Return the code with which the unfinished work of this run began; empty where that is not known."""
        return dict((self.begun(state_folder) or {}).get("code", {}))

    def end(self, state_folder: Path) -> None:
        """Drop the note of `begin`: the work is done, or starts from zero."""
        files.remove(_note_of(state_folder))

    def drop_superseded(self, record: StageRecord) -> None:
        """Remove the records of the same stage whose artifacts were overwritten by those of `record`."""
        digests = {artifact.path: artifact.xxh3 for artifact in record.artifacts}
        for other in self.readable(record.stage):
            if any(digests.get(artifact.path, artifact.xxh3) != artifact.xxh3 for artifact in other.artifacts):
                self.remove(self.path_of(other))

    def readable(self, stage: str) -> list[StageRecord]:
        """Return all records of `stage` that can be read, the most recently finished last."""
        records = []
        for path in sorted((self.folder / stage).glob("*.json")):
            try:
                records.append(self.load(path))
            except IntegrityError:
                continue  # reported where it matters: when its own run is observed
        return sorted(records, key=lambda record: record.finished_at)


def _note_of(state_folder: Path) -> Path:
    return state_folder.with_name(f"{state_folder.name}.begun")  # not *.json: no record


def run_key(config_hash: str, inputs_digest: str) -> str:
    """Return the name that a run of a stage has on disk: its config hash and, if it has inputs, their digest."""
    return f"{config_hash}-{inputs_digest[:8]}" if inputs_digest else config_hash


def promise(stage: str, config_hash: str, inputs: Mapping[str, str]) -> str:
    """Return a digest of all that determines the outputs of a stage, which stands for theirs until they are there."""
    return digest_json({"stage": stage, "config_hash": config_hash, "inputs": dict(inputs)})
