"""What can go wrong, as a tree of exceptions that carry a code, a sentence, a remedy and an exit code.

PipelineError                     1
├── StageFailed                   1   a stage gave up; what it had finished is kept
├── UsageError                    2   command line or settings cannot be used
├── TargetsMissed                 3   all is done, but the figures are below the targets
├── IntegrityError                4   bytes on disk are not those that were written
│   └── NewerFormat               4   a later version of this program wrote them
├── WorkspaceLocked               5   another run works in this workspace
├── ResourceExhausted             6   out of disk or memory
└── Interrupted            75 or 130  stopped by a signal at a point from which it resumes

Codes: the first two digits of E0417 say with which exit code it ends: 01 to 06 as above, 07 stopped by a signal, 09 a
bug. Of the other two, 00 to 49 are errors of the orchestrator and 50 to 99 those of the built-in stages. What a code
means stands in `explanations/E0417.md` beside the code that raises it; `pipeline explain` shows it. A pipeline of your
own has codes and explanations of its own: `PipelineDefinition.explanations`.
"""

from __future__ import annotations

import signal
from typing import Any


class PipelineError(Exception):
    """Say what happened and where (`message`), which error that is (`code`) and what to do next (`hint`)."""

    exit_code: int = 1

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # It may come from another process, and exceptions are otherwise made again from their message alone.
        return _made_again, (type(self), self.message, self.__dict__)


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
        name, is_by_hand = signal.Signals(signal_number).name, signal_number == signal.SIGINT
        super().__init__(f"stopped by {name}{f' at {where}' if where else ''}", code="E0701" if is_by_hand else "E0702")
        self.exit_code = 130 if is_by_hand else 75  # EX_TEMPFAIL: try again later
        self.signal_number = signal_number


def _made_again(kind: type[PipelineError], message: str, attributes: dict[str, Any]) -> PipelineError:
    """Return an error as it was, whatever its class takes to make a new one."""
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error
