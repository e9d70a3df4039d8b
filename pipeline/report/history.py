"""What happened to the stages of a run, as the log of events tells it: attempts, curves and chunks.

A run may have been worked on in many sessions, from its start to its end or to the moment when its process was gone.
Time is counted as work: the pauses between sessions are left out.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.event_reader import LoggedEvent
from pipeline.events import Kind

Ending = Literal["done", "failed", "interrupted", "killed", "at work"]
FROM_ZERO = "run"
_POINT_OF = "step"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One time that a stage was at work.

    Attributes:
        action: run (from zero), resume or repair; detail: what was said of it when it was decided.
        session: number of the session, from 0; began, ended: seconds since 1970.
        words: what was said at the end; code: that of the error, if it has one.
    """

    stage: str
    action: str
    detail: str
    session: int
    began: float
    ended: float
    ending: Ending = "at work"
    words: str = ""
    code: str = ""

    @property
    def told(self) -> str:
        """What was said at the end, with the code of the error."""
        return ": ".join(filter(None, [self.code, self.words]))


@dataclass(frozen=True, kw_only=True)
class TrainedChunk:
    """A chunk of an epoch that was trained to its end: when, how many samples, how many left out, the mean loss."""

    epoch: int
    chunk: int
    session: int
    at: float
    samples: int
    skipped: int
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class StageHistory:
    """What one stage did; curves are points (step, value) by name, in the order of the steps."""

    attempts: tuple[Attempt, ...] = ()
    curves: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    chunks: tuple[TrainedChunk, ...] = ()
    checkpoint_seconds: tuple[float, ...] = ()

    @property
    def is_cut_short(self) -> bool:
        """Whether the log tells of work, but not of how that ended."""
        return bool(self.attempts) and self.attempts[-1].ending in ("killed", "at work")

    def known_as_done(self) -> StageHistory:
        """Return the history of a stage that was done, whatever the log says of its end."""
        if not self.is_cut_short:
            return self
        words = "the log does not tell of its end" if self.attempts[-1].ending == "killed" else ""
        last = replace(self.attempts[-1], ending="done", words=words)
        return replace(self, attempts=(*self.attempts[:-1], last))


@dataclass(frozen=True, kw_only=True)
class Session:
    """From when to when a process worked on the run, seconds since 1970."""

    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened to the stages of a run, by stage, and the sessions in which it did."""

    stages: Mapping[str, StageHistory]
    sessions: Mapping[int, Session]

    def with_done(self, done: Collection[str]) -> tuple[History, tuple[str, ...]]:
        """Return this history with what is known from elsewhere: that the stages `done` are; and whose end it lacks.

        An end that a run at work has not told yet is not lacking: its record is there a moment before.
        """
        cut_short = [name for name in done if name in self.stages and self.stages[name].is_cut_short]
        known = {name: self.stages[name].known_as_done() for name in cut_short}
        lacking = tuple(name for name in cut_short if self.stages[name].attempts[-1].ending == "killed")
        return replace(self, stages={**self.stages, **known}), lacking

    def newest(self, stage: str) -> Attempt | None:
        """Return the last attempt of a stage; None where the log tells of none."""
        attempts = self.stages[stage].attempts if stage in self.stages else ()
        return attempts[-1] if attempts else None

    def work_seconds(self, session: int, at: float) -> float:
        """Return how much work lies before the moment `at` of a session: the sum of all sessions, without pauses."""
        before = sum(each.ended - each.began for number, each in self.sessions.items() if number < session)
        return before + at - self.sessions[session].began

    def pause_before(self, session: int) -> float:
        """Return the seconds between the session before this one and its begin; 0 for the first."""
        earlier = [each.ended for number, each in self.sessions.items() if number < session]
        return self.sessions[session].began - max(earlier) if earlier else 0.0


def read_history(events: Iterable[LoggedEvent], *, runs: Mapping[str, str], is_running: bool = False) -> History:
    """Fold events into what they tell of some stages; `runs` gives for each stage the run that made what it left.

    `is_running` says that a process works here now: then the last session has not ended.
    """
    fold = HistoryFold(runs)
    for event in events:
        fold.take(event)
    return fold.history(is_running=is_running)


@dataclass
class _Stage:
    attempts: list[Attempt] = field(default_factory=list)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    chunks: dict[tuple[int, int], TrainedChunk] = field(default_factory=dict)
    checkpoint_seconds: list[float] = field(default_factory=list)
    detail: str = ""

    def start(self, attempt: Attempt) -> None:
        if attempt.action == FROM_ZERO:
            if self.attempts and self.attempts[-1].ending == "done":
                self.attempts = []  # what was done then is not what is there now
            self.curves, self.chunks, self.checkpoint_seconds = {}, {}, []
        self.attempts.append(attempt)

    def end(self, ending: Ending, *, at: float, words: str = "", code: str = "") -> None:
        if self.attempts and self.attempts[-1].ending == "at work":
            self.attempts[-1] = replace(self.attempts[-1], ended=at, ending=ending, words=words, code=code)

    def frozen(self) -> StageHistory:
        curves = {name: tuple(sorted(points.items())) for name, points in self.curves.items()}
        chunks = tuple(self.chunks[key] for key in sorted(self.chunks))
        return StageHistory(
            attempts=tuple(self.attempts),
            curves=curves,
            chunks=chunks,
            checkpoint_seconds=tuple(self.checkpoint_seconds),
        )


class HistoryFold:
    """Takes events one after the other, of a run that may still be at work; `runs` as for `read_history`."""

    def __init__(self, runs: Mapping[str, str]) -> None:
        self._runs = runs
        self._stages = {name: _Stage() for name in runs}
        self._sessions: dict[int, Session] = {}
        self._number = -1

    def take(self, logged: LoggedEvent) -> None:
        """Take in one event, of whatever run."""
        kind, name = logged.event.kind, logged.event.stage
        if kind is Kind.RUN_STARTED:
            self._cut()
            self._number += 1
            self._sessions[self._number] = Session(began=logged.time, ended=logged.time)
        if self._number < 0:
            return
        now = self._sessions[self._number]
        # A clock that was set back must not make work of less than no time.
        self._sessions[self._number] = replace(now, ended=max(now.ended, logged.time))
        if self._runs.get(name) == logged.run:
            self._take_of_stage(self._stages[name], logged)

    def history(self, *, is_running: bool) -> History:
        """Return what was told so far; sessions without work on these stages are left out."""
        if not is_running:
            ended = deepcopy(self)  # more may be told later: then it had not ended here
            ended._cut()
            return ended.history(is_running=True)
        stages = {name: stage.frozen() for name, stage in self._stages.items()}
        attempts = [attempt for stage in stages.values() for attempt in stage.attempts]
        worked = sorted({attempt.session for attempt in attempts})
        # From the first work to the last: what a session did besides is not of this run's time.
        sessions = {
            number: Session(
                began=min(attempt.began for attempt in attempts if attempt.session == number),
                ended=max(self._end(attempt) for attempt in attempts if attempt.session == number),
            )
            for number in worked
        }
        known = {
            name: replace(
                stage,
                attempts=tuple(replace(each, ended=self._end(each)) for each in stage.attempts),
                chunks=tuple(each for each in stage.chunks if each.session in sessions),
            )
            for name, stage in stages.items()
        }
        return History(stages=known, sessions=sessions)

    def _end(self, attempt: Attempt) -> float:
        return self._sessions[attempt.session].ended if attempt.ending == "at work" else attempt.ended

    def _cut(self) -> None:
        """End what was at work when the log of its session broke off: nothing was said, so its process was killed."""
        if self._number >= 0:
            for stage in self._stages.values():
                stage.end("killed", at=self._sessions[self._number].ended, words="the log ends here")

    def _take_of_stage(self, stage: _Stage, logged: LoggedEvent) -> None:
        kind, data = logged.event.kind, logged.event.data
        if kind is Kind.DECISION:
            stage.detail = str(data.get("detail", ""))
        elif kind is Kind.STAGE_STARTED:
            begun = {"session": self._number, "began": logged.time, "ended": logged.time}
            action = str(data.get("action", ""))
            stage.start(Attempt(stage=logged.event.stage, action=action, detail=stage.detail, **begun))  # type: ignore[arg-type]
        elif kind is Kind.STAGE_FINISHED:
            stage.end("done", at=logged.time)
        elif kind is Kind.STAGE_FAILED:
            code = str(data.get("code", ""))
            stage.end("failed", at=logged.time, words=str(data.get("error", "")), code=code)
        elif kind is Kind.INTERRUPTED:
            stage.end("interrupted", at=logged.time, words=_interruption(data))
        elif kind is Kind.METRICS:
            _add_points(stage.curves, data)
        elif kind is Kind.CHUNK:
            self._add_chunk(stage, logged)
        elif kind is Kind.CHECKPOINT and (seconds := number(data.get("seconds"))) is not None:
            stage.checkpoint_seconds.append(seconds)

    def _add_chunk(self, stage: _Stage, logged: LoggedEvent) -> None:
        data = logged.event.data
        place = [number(data.get(name)) for name in ("epoch", "chunk")]
        if place[0] is None or place[1] is None:
            return
        epoch, chunk = int(place[0]), int(place[1])
        # Trained again after an interruption before the next checkpoint: the last time is what counts.
        stage.chunks[epoch, chunk] = TrainedChunk(
            epoch=epoch,
            chunk=chunk,
            session=self._number,
            at=logged.time,
            samples=int(number(data.get("samples")) or 0),
            skipped=int(number(data.get("skipped")) or 0),
            loss=number(data.get("loss")),
        )


def number(value: object) -> float | None:
    """Return `value` as a finite number; None for everything else, as a log may hold anything."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _add_points(curves: dict[str, dict[int, float]], data: Mapping[str, Any]) -> None:
    step = number(data.get(_POINT_OF))
    if step is None:
        return
    for name, value in data.items():
        found = number(value)
        if name != _POINT_OF and found is not None:
            curves.setdefault(name, {})[int(step)] = found


def _interruption(data: Mapping[str, Any]) -> str:
    signal_number = number(data.get("signal"))
    try:
        name = signal.Signals(int(signal_number or 0)).name
    except ValueError:
        name = ""
    where = str(data.get("where", ""))
    return where if name in where else " ".join(filter(None, [name, where]))
