"""A run as its events tell it: what every display draws, live or from the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.decide import Action
from pipeline.events import Event, Kind, error_words
from pipeline.pace import Pace
from pipeline.records import Target

_ENDS = frozenset({Kind.RUN_FINISHED, Kind.STAGE_FAILED, Kind.INTERRUPTED})
_VALIDATION = "validation_"  # begins the names of figures of the validation split
_MAX_COUNT = 1 << 53  # above it integers are no floats any more, and shares of them cannot be told


class State(StrEnum):
    """What is being done with a stage."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ChunkCount(NamedTuple):
    """How many chunks of an epoch, which counts from 0, are trained."""

    epoch: int
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class StageView:
    """What is known of a stage; moments are in seconds of the clock by which events were taken.

    Attributes:
        action: what was decided: run, resume, repair, skip; empty before, as `reason` and `detail`.
        started: when work began; None before.
        seconds: how long it took; None until it is over.
        done: so many of `total` units are done (`total` 0: not known), as `unit` names them.
        figures: those of the newest progress, by name.
        chunks: of the epoch in training.
        validation: the newest figures on the validation split, by name.
        checkpoint_at: when the state was copied that the newest durable checkpoint holds; None where there is none.
        error: why it failed, or where it was interrupted.
    """

    name: str
    state: State = State.WAITING
    action: str = ""
    reason: str = ""
    detail: str = ""
    started: float | None = None
    seconds: float | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    chunks: ChunkCount | None = None
    validation: Mapping[str, float] = field(default_factory=dict)
    checkpoint_at: float | None = None
    error: str = ""
    pace: Pace | None = None

    def remaining_seconds(self, at: float) -> float | None:
        """Return how long the stage will still take as seen `at` that moment; None where that is not known."""
        if self.state is not State.RUNNING or self.pace is None:
            return None
        # A stage may know better than its pace so far, e.g. of the validations still to come.
        told = self.figures.get("eta_seconds")
        remaining = told if isinstance(told, int | float) else self.pace.remaining_seconds
        return None if remaining is None else max(0.0, remaining - (at - self.pace.last_at))


class RunView:
    """Folds events into a picture of the newest run that they tell of; what is no such event changes nothing.

    Attributes:
        run: its name, `<profile>-<hash8>`; empty before the first event of a run.
        profile: the name of its settings.
        targets: the figures to reach; with values once they are measured.
        stages: what is known of each stage, by name, in order.
        started: when it began, in seconds of the clock by which events were taken.
        seconds: how long it took; None until it is over.
        is_over: whether it has said that it ended; one that was killed never does.
        warnings: what it has warned of, each with its stage.
    """

    def __init__(self) -> None:
        self._begin({}, at=0.0)

    def take(self, event: Event, *, at: float) -> None:
        """Take in `event`, which happened `at` that moment."""
        # A log may have been written by anybody.
        with suppress(LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            self._fold(event, at=at)

    def copy(self) -> RunView:
        """Return the picture as it is now, which later events do not change."""
        found = copy(self)
        found.stages, found.warnings = dict(self.stages), list(self.warnings)
        return found

    def _fold(self, event: Event, *, at: float) -> None:
        if event.kind is Kind.RUN_STARTED:
            self._begin(event.data, at=at)
        elif event.kind is Kind.WARNING:
            text = str(event.data["text"])
            self.warnings.append(f"{event.stage}: {text}" if event.stage else text)
        elif not event.stage:
            self._fold_of_run(event, at=at)
        elif event.kind in _AFTER:
            stage = self.stages.get(event.stage) or StageView(name=event.stage)
            self.stages[event.stage] = _AFTER[event.kind](stage, event.data, at)
        if event.kind is Kind.STAGE_FAILED:
            self._stop_all()
        is_at_work = any(stage.state is State.RUNNING for stage in self.stages.values())
        if event.kind in _ENDS and not is_at_work:
            self.is_over = True
            self._took(at - self.started)

    def _begin(self, data: Mapping[str, Any], *, at: float) -> None:
        names = [str(name) for name in data.get("stages", ())]
        targets = targets_of(data)
        self.run = str(data.get("run", ""))
        self.profile = str(data.get("profile", ""))
        self.targets = targets
        self.stages: dict[str, StageView] = {name: StageView(name=name) for name in names}
        self.started = at
        self.seconds: float | None = None
        self.is_over = False
        self.warnings: list[str] = []

    def _fold_of_run(self, event: Event, *, at: float) -> None:
        if event.kind is Kind.RUN_FINISHED:
            self._took(float(event.data.get("duration_seconds", at - self.started)))
            self.targets = targets_of(event.data)

    def _took(self, seconds: float) -> None:
        if self.seconds is None:
            self.seconds = seconds

    def _stop_all(self) -> None:
        """Take in that a stage has failed: one beside it is stopped for that, and does not say so itself."""
        for name, stage in self.stages.items():
            if stage.state is State.RUNNING:
                self.stages[name] = replace(stage, state=State.INTERRUPTED)


def targets_of(data: Mapping[str, Any]) -> tuple[Target, ...]:
    """Return the targets that an event tells of; raises ValueError and the like where they are none."""
    names = Target.model_fields.keys()
    return tuple(
        Target.model_validate({name: value for name, value in each.items() if name in names})
        for each in data.get("targets", ())
    )


def _count(value: Any) -> int:
    """Return a count; raises ValueError for one that no display can compute with."""
    count = int(value)
    if abs(count) > _MAX_COUNT:
        raise ValueError(count.bit_length())
    return count


def _is_drawable(value: Any) -> bool:
    """Return whether displays can compute with a figure if it is a number."""
    return not isinstance(value, int) or abs(value) <= _MAX_COUNT


def _decided(stage: StageView, data: Mapping[str, Any], _at: float) -> StageView:
    is_skipped = data["action"] == Action.SKIP
    return replace(
        stage,
        action=str(data["action"]),
        reason=str(data["reason"]),
        detail=str(data["detail"]),
        state=State.SKIPPED if is_skipped else stage.state,
    )


def _started(stage: StageView, data: Mapping[str, Any], at: float) -> StageView:
    action = str(data["action"])
    # What is resumed stands where its checkpoint stands.
    checkpoint_at = at if action == Action.RESUME else None
    return replace(stage, state=State.RUNNING, action=action, started=at, checkpoint_at=checkpoint_at)


def _progressed(stage: StageView, data: Mapping[str, Any], at: float) -> StageView:
    done, total, unit = _count(data["done"]), _count(data["total"]), str(data["unit"])
    told = {name: value for name, value in data.get("figures", {}).items() if _is_drawable(value)}
    # Of a training that is continued, they are those of a validation that an earlier process did.
    stage = _measured(stage, {name: told.pop(name) for name in list(told) if name.startswith(_VALIDATION)}, at)
    figures, chunks = told, stage.chunks
    if figures.get("num_chunks"):
        chunks = ChunkCount(_count(figures["epoch"]), _count(figures["chunks_done"]), _count(figures["num_chunks"]))
    known = stage.pace or Pace.begin(done=done, total=total, unit=unit, at=at)
    pace = known.after(done=done, total=total, unit=unit, at=at)
    return replace(stage, done=done, total=total, unit=unit, figures=figures, chunks=chunks, pace=pace)


def _measured(stage: StageView, data: Mapping[str, Any], _at: float) -> StageView:
    found = {
        name.removeprefix(_VALIDATION): float(value)
        for name, value in data.items()
        if name.startswith(_VALIDATION) and value is not None
    }
    if not found:
        return stage
    # The validation is over, whenever the next progress comes.
    figures = {name: value for name, value in stage.figures.items() if name != "validated"}
    return replace(stage, validation={**stage.validation, **found}, figures=figures)


def _trained_chunk(stage: StageView, data: Mapping[str, Any], _at: float) -> StageView:
    return replace(stage, chunks=ChunkCount(_count(data["epoch"]), _count(data["done"]), _count(data["total"])))


def _saved(stage: StageView, data: Mapping[str, Any], at: float) -> StageView:
    return replace(stage, checkpoint_at=at - float(data["seconds"]))


def _finished(stage: StageView, data: Mapping[str, Any], _at: float) -> StageView:
    return replace(stage, state=State.DONE, seconds=float(data["duration_seconds"]))


def _failed(stage: StageView, data: Mapping[str, Any], at: float) -> StageView:
    return replace(stage, state=State.FAILED, error=error_words(data), seconds=_elapsed(stage, at))


def _interrupted(stage: StageView, data: Mapping[str, Any], at: float) -> StageView:
    return replace(stage, state=State.INTERRUPTED, error=str(data["where"]), seconds=_elapsed(stage, at))


def _elapsed(stage: StageView, at: float) -> float | None:
    return None if stage.started is None else at - stage.started


_AFTER: Mapping[Kind, Callable[[StageView, Mapping[str, Any], float], StageView]] = {
    Kind.DECISION: _decided,
    Kind.STAGE_STARTED: _started,
    Kind.PROGRESS: _progressed,
    Kind.METRICS: _measured,
    Kind.CHUNK: _trained_chunk,
    Kind.CHECKPOINT: _saved,
    Kind.STAGE_FINISHED: _finished,
    Kind.STAGE_FAILED: _failed,
    Kind.INTERRUPTED: _interrupted,
}
