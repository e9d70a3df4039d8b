"""The sheet of a run, `results/<run>/run.json`: what was asked for, and which records say what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import IntegrityError
from pipeline.reading import read_regular
from pipeline.records import StageRecord
from pipeline.schema import Schema
from pipeline.sealed import MAX_BYTES, load_sealed, sealed_bytes
from pipeline.workspace import Workspace

SCHEMA = Schema("run sheet")
SHEET_NAME = "run.json"
REPORT_NAME = "report.html"
COMPARISON_PREFIX = "compare-"
_SPOILED = ("E0408", "E0409")
_HINT = "`pipeline report` with the options of that run writes it again"


@dataclass(frozen=True, kw_only=True)
class SheetStage:
    """A stage of the run; without a record (`config_hash` is empty) `detail` says how things stand."""

    name: str
    config_hash: str = ""
    inputs_digest: str = ""
    finished_at: str = ""
    duration_seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class RunSheet:
    """What a run was.

    Attributes:
        command: reproduces it.
        settings: for each dotted key its value and where that came from.
        trouble: why the report has no charts; empty where it has them.
    """

    run: str
    profile: str
    command: str
    settings: Mapping[str, Mapping[str, Any]]
    stages: tuple[SheetStage, ...]
    written_by: str = __version__
    trouble: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether every stage has a record."""
        return all(stage.config_hash for stage in self.stages)

    def values(self) -> dict[str, Any]:
        """Return the settings without their origins."""
        return {key: setting["value"] for key, setting in self.settings.items()}

    def to_bytes(self) -> bytes:
        """Return the sheet as it is written; the same sheet gives the same bytes."""
        return sealed_bytes({"schema_version": SCHEMA.version, **asdict(self)})

    def records(self, workspace: Workspace) -> dict[str, StageRecord]:
        """Return the records of the stages that can be read, by name."""
        store, found = workspace.records, {}
        for stage in self.stages:
            path = store.path(stage.name, config_hash=stage.config_hash, inputs_digest=stage.inputs_digest)
            try:
                found[stage.name] = store.load(path)
            except (FileNotFoundError, IntegrityError):
                continue  # removed or spoiled since: a report shows what is there
        return found


def stage_of(name: str, record: StageRecord | None, *, detail: str = "") -> SheetStage:
    """Return the line of the stage `name`."""
    if record is None:
        return SheetStage(name=name, detail=detail)
    return SheetStage(
        name=name,
        config_hash=record.config_hash,
        inputs_digest=record.inputs_digest,
        finished_at=record.finished_at,
        duration_seconds=record.duration_seconds,
    )


def load_sheet(path: Path) -> RunSheet:
    """Read the sheet at `path`; raises FileNotFoundError, IntegrityError, or NewerFormat."""
    try:
        sealed = load_sealed(path)
    except IntegrityError as error:
        if error.code in _SPOILED:
            error.hint = _HINT
        raise
    document = SCHEMA.migrate(sealed, name=str(path))
    try:
        stages = tuple(SheetStage(**stage) for stage in document["stages"])
        known = {name: document[name] for name in ("run", "profile", "command", "settings", "written_by", "trouble")}
    except (KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} is no run sheet",
            code="E0418",
            hint=_HINT,
        ) from error
    return RunSheet(**known, stages=stages)


def is_written(sheet: RunSheet, folder: Path) -> bool:
    """Return whether the report of just this run lies in `folder`."""
    try:
        written = read_regular(folder / SHEET_NAME, max_bytes=MAX_BYTES)
        return written == sheet.to_bytes() and (folder / REPORT_NAME).is_file()
    except (OSError, IntegrityError):
        return False


def named_sheets(results: Path) -> Sequence[str]:
    """Return the runs that have a sheet, the most recent last."""
    found = [path for path in results.glob(f"*/{SHEET_NAME}") if path.is_file()]
    return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime)]
