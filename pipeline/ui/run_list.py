"""The runs that a log tells of: when each was started, how often it was interrupted, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.event_reader import LoggedEvent
from pipeline.events import Event, Kind
from pipeline.records import Target
from pipeline.run_view import targets_of

RunState = Literal["at work", "done", "failed", "interrupted", "killed"]
_ENDINGS: Mapping[Kind, RunState] = {
    Kind.STAGE_FAILED: "failed",
    Kind.INTERRUPTED: "interrupted",
    Kind.RUN_FINISHED: "done",
}


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run as a line of a list; moments are seconds since 1970.

    Attributes:
        hashes: the config hash of each stage of the pipeline; command: the words of the newest command line.
        state: "at work" means that nothing was said of an end.
        started: when it was first started; last_at: when the newest event was told.
        work_seconds: from start to end of each session, in all.
        num_cuts: how many sessions did not end well.
    """

    name: str
    profile: str = ""
    stages: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    state: RunState = "at work"
    started: float = 0.0
    session_began: float = 0.0
    last_at: float = 0.0
    earlier_seconds: float = 0.0
    num_cuts: int = 0

    @property
    def work_seconds(self) -> float:
        """How long it was worked on, pauses left out."""
        return self.earlier_seconds + max(0.0, self.last_at - self.session_began)

    def as_seen(self, *, is_at_work: bool) -> ListedRun:
        """Return the run with what is known of its process: without one it was killed where it said no last words."""
        if self.state != "at work" or is_at_work:
            return self
        return replace(self, state="killed", num_cuts=self.num_cuts + 1)


class RunList:
    """Folds events into the list of their runs; the one that was started last is the newest."""

    def __init__(self) -> None:
        self._runs: dict[str, ListedRun] = {}
        self.newest = ""

    def take(self, logged: LoggedEvent) -> None:
        """Take in an event; a log may have been written by anybody."""
        with suppress(LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            self._fold(logged)

    def runs(self, *, is_at_work: bool) -> dict[str, ListedRun]:
        """Return all runs by name, the newest first; `is_at_work` tells whether a process works here now."""
        return {
            name: run.as_seen(is_at_work=is_at_work and name == self.newest)
            for name, run in reversed(self._runs.items())
        }

    def _fold(self, logged: LoggedEvent) -> None:
        if logged.event.kind is Kind.RUN_STARTED:
            self._start(logged.event.data, at=logged.time)
            return
        run = self._runs.get(logged.run)
        if run is None:
            return
        run = replace(run, last_at=max(run.last_at, logged.time))
        self._runs[run.name] = _ended(run, logged.event) if logged.event.kind in _ENDINGS else run

    def _start(self, data: Mapping[str, Any], *, at: float) -> None:
        name = str(data["run"])
        if before := self._runs.get(self.newest):
            self._runs[before.name] = before.as_seen(is_at_work=False)
        known = self._runs.pop(name, ListedRun(name=name, started=at, session_began=at, last_at=at))
        self.newest = name
        self._runs[name] = replace(
            known,
            profile=str(data.get("profile", "")),
            stages=tuple(str(stage) for stage in data.get("stages", ())),
            hashes={str(stage): str(digest) for stage, digest in data.get("config_hashes", {}).items()},
            command=tuple(str(word) for word in data.get("command", ())),
            targets=targets_of(data),
            state="at work",
            earlier_seconds=known.work_seconds,
            session_began=at,
            last_at=at,
        )


def _ended(run: ListedRun, event: Event) -> ListedRun:
    state = _ENDINGS[event.kind]
    if state == "done":
        return replace(run, state=state, targets=targets_of(event.data))
    # Of two stages that are stopped together both say so: that is one cut.
    is_news = run.state == "at work"
    return replace(run, state=state if is_news else run.state, num_cuts=run.num_cuts + is_news)
