"""What a tracker was given of a run, so that after a kill nothing is given to it twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.reporting import AppendedFile


class Journal:
    """A file of lines that grows with the run; one that is lost costs values that are given twice, no more.

    Attributes:
        attempt: counts from 1 how often the run began from zero.
    """

    def __init__(self, path: Path) -> None:
        self.attempt = 1
        self._path = path
        self._steps: dict[str, int] = {}
        for attempt, step, names in _lines(path):
            if attempt > self.attempt:
                self.attempt, self._steps = attempt, {}
            self._steps.update(dict.fromkeys(names, step))
        self._file = AppendedFile(path, tell=_nobody)

    def begin_anew(self) -> None:
        """Take note that the run begins from zero; nothing happens where nothing was given yet."""
        if self._steps:
            self.attempt, self._steps = self.attempt + 1, {}

    def missing(self, values: Mapping[str, float], *, step: int) -> dict[str, float]:
        """Return those of `values` that were not given for this step or a later one."""
        return {name: value for name, value in values.items() if step > self._steps.get(name, -1)}

    def note(self, values: Mapping[str, float], *, step: int) -> None:
        """Take note that `values` were given."""
        self._steps.update(dict.fromkeys(values, step))
        self._file.append(json.dumps({"attempt": self.attempt, "step": step, "values": list(values)}))


def _lines(path: Path) -> Iterator[tuple[int, int, list[str]]]:
    with suppress(OSError), path.open("rb") as file:
        for line in file:
            with suppress(ValueError, LookupError, TypeError):  # half a line, of a machine that lost its power
                found = json.loads(line)
                yield int(found["attempt"]), int(found["step"]), [str(name) for name in found["values"]]


def _nobody(_text: str) -> None:
    return None
