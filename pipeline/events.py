"""What a run says while it works: plain events, sent to any number of reporters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import RLock
from typing import Any, Protocol

from pipeline.secrets import hide


class Kind(StrEnum):
    """What an event tells; `docs/events.md` describes the data of each."""

    RUN_STARTED = "run_started"  # data: run, profile, stages, config_hashes, targets, pid, host, command
    DECISION = "decision"  # data: action, reason, detail
    STAGE_STARTED = "stage_started"  # data: action
    PROGRESS = "progress"  # data: done, total, unit, figures (a mapping of names to numbers or words)
    WAIT = "wait"  # for what another stage is still making; data: text, is_over
    INFO = "info"  # data: text
    WARNING = "warning"  # data: text
    METRICS = "metrics"  # data: step and one number for each metric
    CHUNK = "chunk"  # of training: data: epoch, chunk, done, total, samples, skipped, loss
    CHECKPOINT = "checkpoint"  # of training: data: step, num_bytes, seconds
    STAGE_FINISHED = "stage_finished"  # data: duration_seconds, metrics, outputs
    STAGE_FAILED = "stage_failed"  # data: error, code
    INTERRUPTED = "interrupted"  # data: signal, where
    RUN_FINISHED = "run_finished"  # data: duration_seconds, targets


@dataclass(frozen=True)
class Event:
    """One thing that happened; `stage` is empty when it concerns the whole run."""

    kind: Kind
    stage: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class Reporter(Protocol):
    """Receives events; it must never raise and never block a run for long."""

    def emit(self, event: Event) -> None:
        """Take `event`."""

    def close(self) -> None:
        """Write out what is held back."""


class Reporters:
    """Sends each event to several reporters, in order and one at a time; none of them ever sees a secret."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters
        # Two stages may be at work. Re-entrant: a reporter may have to tell something itself, e.g. of a tracker that is
        # not installed.
        self._turn = RLock()

    def emit(self, event: Event) -> None:
        """Pass `event` on to each reporter."""
        event = replace(event, data=hide(event.data))
        with self._turn:
            for reporter in self._reporters:
                reporter.emit(event)

    def close(self) -> None:
        """Close each reporter."""
        for reporter in self._reporters:
            reporter.close()


def error_words(data: Mapping[str, Any]) -> str:
    """Return what the event of a failure says, with the code of the error; older logs have none."""
    return ": ".join(filter(None, [data.get("code"), str(data["error"])]))
