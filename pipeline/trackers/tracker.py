"""What a tracker is to a run: four verbs, called one after the other in a process of the tracker's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker is told of a run before anything else; secrets are hidden in all of it.

    Attributes:
        id: the same for all parts of a run that was interrupted; another one where it is done from zero.
        name: of the run, `<profile>-<hash8>`; whoever can shows this.
        project: under which name the tracker keeps runs together.
        config: every setting, by its dotted key.
        logs: folder for what the tracker keeps; what is of this run alone lies in folders of the run's name there.
        is_online: whether the user allows the network to be used.
    """

    id: str
    name: str
    project: str
    config: Mapping[str, Any]
    logs: Path
    is_online: bool


class Tracker(Protocol):
    """Keeps what runs measure and make; may raise anything, and take as long as it wants: it stops no run.

    Attributes:
        rewrites: whether a value at an earlier step hides what was there from this step on. Where not, values that the
            tracker has already are not given to it again.
    """

    rewrites: bool

    def start(self, run: TrackedRun) -> None:
        """Begin or continue the run of this id."""

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Take values at a training step; without a step they are figures of the run as a whole."""

    def artifact(self, path: Path) -> None:
        """Take a file that the run has made."""

    def finish(self, status: str, /) -> None:
        """Write out everything; `status` is "done", "failed", "interrupted" or "killed"."""
