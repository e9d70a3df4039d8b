"""What can go wrong, as a tree of exceptions that carry a sentence, a remedy and an exit code.

PipelineError                     1
├── StageFailed                   1   a stage gave up; what it had finished is kept
├── UsageError                    2   command line or settings cannot be used
├── TargetsMissed                 3   all is done, but the figures are below the targets
├── IntegrityError                4   bytes on disk are not those that were written
│   └── NewerFormat               4   a later version of this program wrote them
├── WorkspaceLocked               5   another run works in this workspace
├── ResourceExhausted             6   out of disk or memory
└── Interrupted            75 or 130  stopped by a signal at a point from which it resumes
"""

from __future__ import annotations

import signal
from functools import partial
from typing import Any, ClassVar


class PipelineError(Exception):
    """Say what happened and where (`message`) and what to do next (`hint`)."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StageFailed(PipelineError):
    """A stage could not finish."""

    exit_code = 1


class UsageError(PipelineError):
    """A command-line argument or a setting is unknown, of the wrong type or out of bounds."""

    exit_code = 2


class TargetsMissed(PipelineError):
    """The run is complete, and at least one target was not met (only with `--require-targets`)."""

    exit_code = 3


class IntegrityError(PipelineError):
    """A file is missing, cut short, altered, or of an unknown schema."""

    exit_code = 4


class NewerFormat(IntegrityError):
    """A later version of this program wrote a file; it is refused, not damaged."""


class WorkspaceLocked(PipelineError):
    """Another process holds the run lock of this workspace."""

    exit_code = 5


class ResourceExhausted(PipelineError):
    """Disk or memory ran out."""

    exit_code = 6


class Interrupted(PipelineError):
    """A signal stopped the run at a safe point; the same command resumes it."""

    def __init__(self, signal_number: int, *, where: str = "") -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}{f' at {where}' if where else ''}")
        self.signal_number = signal_number
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        # It may come from another process, and exceptions are otherwise made again from their message alone.
        return partial(Interrupted, where=self.where), (self.signal_number,)

    @property
    def code(self) -> int:
        """Exit code: 130 after Ctrl+C, 75 (EX_TEMPFAIL) after any other signal."""
        return 130 if self.signal_number == signal.SIGINT else 75
