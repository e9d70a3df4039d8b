"""Stand-ins: a context without an orchestrator, a reporter that remembers, disks that refuse or lose something."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.config import RuntimeOptions
from pipeline.events import Event, Kind, Reporter
from pipeline.fingerprint import config_hash, digest_file, digest_json
from pipeline.interrupts import StopFlag
from pipeline.records import Artifact, StageRecord
from pipeline.stage import Stage, StageContext, StageResult
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    import pytest


class RecordingReporter:
    """Keeps all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep `event`."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing is held back."""

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the data of all events of one kind, in order."""
        return [event.data for event in self.events if event.kind == kind]

    def texts(self, kind: Kind) -> list[str]:
        """Return the texts of all INFO or WARNING events, in order."""
        return [data["text"] for data in self.of(kind)]


def make_context(
    stage: Stage,
    root: Path,
    *,
    reporter: Reporter | None = None,
    stop: StopFlag | None = None,
    runtime: RuntimeOptions | None = None,
    inputs: Mapping[str, StageRecord] | None = None,
    profile: str = "test",
) -> StageContext:
    """Return what the orchestrator would give to `stage` in the workspace `root`."""
    records = dict(inputs or {})
    digests = {
        name: digest_json([[a.kind, a.xxh3] for a in records[name].artifacts if not kinds or a.kind in kinds])
        for name, kinds in stage.inputs.items()
        if name in records
    }
    return StageContext(
        stage=stage.name,
        run=f"{profile}-00000000",
        profile=profile,
        workspace=Workspace.at(root),
        config_hash=config_hash(stage=stage.name, version=stage.version, config=stage.config),
        input_digests=digests,
        inputs=records,
        settings={stage.name: stage.config.model_dump(mode="json")},
        runtime=runtime or RuntimeOptions(),
        reporter=reporter or RecordingReporter(),
        stop=stop or StopFlag(),
    )


def make_record(stage: Stage, context: StageContext, result: StageResult) -> StageRecord:
    """Return the record that the orchestrator would write of `result`, for stages further down."""
    artifacts = tuple(
        Artifact(
            kind=output.kind,
            path=context.workspace.relative(output.path),
            size=output.path.stat().st_size,
            xxh3=digest_file(output.path),
        )
        for output in result.outputs
    )
    return StageRecord(
        stage=stage.name,
        stage_version=stage.version,
        run=context.run,
        config_hash=context.config_hash,
        config=stage.config.model_dump(mode="json"),
        inputs_digest=context.inputs_digest,
        inputs={},
        artifacts=artifacts,
        metrics=dict(result.metrics),
        targets=tuple(result.targets),
        warnings=tuple(result.warnings),
        code={},
        runtime=context.runtime.model_dump(mode="json"),
        environment={},
        started_at="2000-01-01T00:00:00+0000",
        finished_at="2000-01-01T00:00:01+0000",
        duration_seconds=1.0,
    )


def fail_to_write(monkeypatch: pytest.MonkeyPatch, name: str, *, error: Exception) -> None:
    """Let every write of a file of this name raise `error`; all others are made."""
    write = files.write_bytes

    def failing(path: Path, data: bytes) -> None:
        if path.name == name:
            raise error
        write(path, data)

    monkeypatch.setattr(files, "write_bytes", failing)


def let_vanish(monkeypatch: pytest.MonkeyPatch, folder: Path, *, after: int) -> None:
    """Let `folder` be gone when it, or what is in it, was looked at `after` times, as a run removes a checkpoint."""
    looks = count(1)
    genuine = {name: getattr(os, name) for name in ("stat", "lstat")}

    def looking(name: str) -> Any:
        def look(path: Any, *arguments: Any, **options: Any) -> Any:
            found = genuine[name](path, *arguments, **options)
            if str(path).startswith(str(folder)) and next(looks) == after:
                for each, function in genuine.items():
                    monkeypatch.setattr(os, each, function)
                shutil.rmtree(folder)
            return found

        return look

    for name in genuine:
        monkeypatch.setattr(os, name, looking(name))
