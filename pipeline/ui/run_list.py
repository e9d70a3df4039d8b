"""The runs that a log tells of: when each was started, how often it was interrupted, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.event_reader import LoggedEvent
from pipeline.events import Event, Kind
from pipeline.fingerprint import digest_bytes
from pipeline.records import Target
from pipeline.run_view import targets_of

# As names of runs are made, and neither empty nor "..".
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
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
        end: the offset behind its newest line in the log, in bytes.
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
    end: int = 0

    @property
    def address(self) -> str:
        """The run in the address of its page: its name, or a digest of one that browsers would not leave as it is."""
        if _PLAIN.fullmatch(self.name):
            return self.name
        return f"~{digest_bytes(self.name.encode())[:16]}"

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
            self._start(logged.event.data, at=logged.time, end=logged.end)
            return
        run = self._runs.get(logged.run)
        if run is None:
            return
        run = replace(run, last_at=max(run.last_at, logged.time), end=logged.end)
        self._runs[run.name] = _ended(run, logged.event) if logged.event.kind in _ENDINGS else run

    def _start(self, data: Mapping[str, Any], *, at: float, end: int) -> None:
        name = str(data["run"])
        name.encode()  # what is no text, as half of a pair of surrogates, is no name
        before, known = self._runs.get(self.newest), self._runs.get(name)
        if before is not None:
            before = before.as_seen(is_at_work=False)
            known = before if before.name == name else known
        known = known or ListedRun(name=name, started=at, session_began=at, last_at=at)
        # All of it before anything is changed: where one of these is not what it should be, no run was started.
        run = replace(
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
            end=end,
        )
        if before is not None:
            self._runs[before.name] = before
        self._runs.pop(name, None)
        self._runs[name] = run
        self.newest = name


def _ended(run: ListedRun, event: Event) -> ListedRun:
    state = _ENDINGS[event.kind]
    if state == "done":
        return replace(run, state=state, targets=targets_of(event.data))
    # Of two stages that are stopped together both say so: that is one cut.
    is_news = run.state == "at work"
    return replace(run, state=state if is_news else run.state, num_cuts=run.num_cuts + is_news)
