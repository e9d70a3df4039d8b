"""The conformance helper: what must be the same, to the bit, however often a training was interrupted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import RecordingReporter
from tiny_task import tiny_stage

from pipeline.errors import Interrupted
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.stage import StageContext, StageResult
from stages.training.checkpoints import METADATA_NAME, open_store
from stages.training.config import TrainingConfig


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it, so nothing is saved after it."""


@dataclass(frozen=True)
class Ending:
    """All that a finished training leaves, but for times: each byte of its last checkpoint, weights, figures, steps."""

    state: dict[str, bytes]
    weights: bytes
    metrics: dict[str, Any]
    samples: dict[int, list[int]] = field(default_factory=dict)


class StepReporter(RecordingReporter):
    """Interrupts a training just after step `step`, by a stop that was asked for or by a kill; 0: never."""

    def __init__(self, *, stop: StopFlag | None = None, stop_after: int = 0, kill_after: int = 0) -> None:
        super().__init__()
        self._stop = stop
        self._stop_after = stop_after
        self._kill_after = kill_after

    def emit(self, event: Event) -> None:
        """Keep `event`, and interrupt if it is the one of the step."""
        super().emit(event)
        if event.kind is Kind.METRICS and "loss" in event.data:
            if self._stop is not None and event.data["step"] == self._stop_after:
                self._stop.set(15)
            if event.data["step"] == self._kill_after:
                raise KilledError


def run_interrupted(
    root: Path, config: TrainingConfig, *, stop_after: int = 0, kill_after: int = 0, **runtime: Any
) -> bool:
    """Train in the workspace `root` until the given step; return whether the training was interrupted there."""
    stop = StopFlag()
    reporter = StepReporter(stop=stop, stop_after=stop_after, kill_after=kill_after)
    stage, context = tiny_stage(root, config, reporter=reporter, stop=stop, sample_log=True, **runtime)
    try:
        stage.execute(context)
    except (Interrupted, KilledError):
        return True
    return False


def run_to_the_end(root: Path, config: TrainingConfig, **runtime: Any) -> Ending:
    """Train in the workspace `root` to the end, from whatever is there."""
    stage, context = tiny_stage(root, config, sample_log=True, **runtime)
    return ending(root, context, stage.execute(context))


def ending(root: Path, context: StageContext, result: StageResult) -> Ending:
    """Collect what a finished training left."""
    newest = open_store(context).checkpoints()[-1]
    files = [path for path in newest.path.iterdir() if path.name != METADATA_NAME]
    return Ending(
        state={path.name: path.read_bytes() for path in files},
        weights=result.outputs[0].path.read_bytes(),
        metrics=json.loads(json.dumps(result.metrics)),
        samples=samples_by_step(root),
    )


def samples_by_step(root: Path) -> dict[int, list[int]]:
    """Return the samples of each step as the log has them; of a step that was taken twice, the last time counts."""
    path = root / "logs" / "samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {line["global_step"]: line["sample_ids"] for line in lines}
