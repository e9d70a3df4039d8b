"""What a tracker was given of a run, so that after a kill nothing is given to it twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.reporting import AppendedFile


class Journal:
    """A file of lines that grows with the run.

    Args:
        fresh_id: under which the run is kept if it begins now; where the file is lost, that is a run of its own.

    Attributes:
        id: under which the tracker keeps the run.
    """

    def __init__(self, path: Path, *, fresh_id: str) -> None:
        self.id = ""
        self._fresh_id = fresh_id
        self._steps: dict[str, int] = {}
        for run_id, step, names in _lines(path):
            if run_id != self.id:
                self.id, self._steps = run_id, {}
            self._steps.update(dict.fromkeys(names, step))
        self._file = AppendedFile(path, tell=_nobody)

    def begin(self, *, is_anew: bool) -> None:
        """Take note that the run goes on, or begins: for the first time, or from zero after it had come further."""
        if not self.id or (is_anew and self._steps):
            self.id, self._steps = self._fresh_id, {}
        self.note({}, step=0)

    def missing(self, values: Mapping[str, float], *, step: int) -> dict[str, float]:
        """Return those of `values` that were not given for this step or a later one."""
        return {name: value for name, value in values.items() if step > self._steps.get(name, -1)}

    def note(self, values: Mapping[str, float], *, step: int) -> None:
        """Take note that `values` were given."""
        self._steps.update(dict.fromkeys(values, step))
        self._file.append(json.dumps({"id": self.id, "step": step, "values": list(values)}))


def _lines(path: Path) -> Iterator[tuple[str, int, list[str]]]:
    with suppress(OSError), path.open("rb") as file:
        for line in file:
            with suppress(ValueError, LookupError, TypeError):  # half a line, of a machine that lost its power
                found = json.loads(line)
                yield str(found["id"]), int(found["step"]), [str(name) for name in found["values"]]


def _nobody(_text: str) -> None:
    return None
