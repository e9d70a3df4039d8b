"""The outputs of a stage that is still at work, one by one, and the waiting for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import IntegrityError, StageFailed
from pipeline.interrupts import StopFlag

_LOOK_SECONDS = 0.1  # between looks at the stop flag, which a signal sets without waking anybody


class Withheld(Exception):
    """What was waited for does not come any more in this run; the stop flag knows why."""


class Stream:
    """What one stage has released so far, by name; one thread fills it while another takes from it.

    Attributes:
        stage: the stage that makes the outputs.
        promise: what that stage says of its outputs before the first of them is there.
    """

    def __init__(self, stage: str, promise: Mapping[str, Any], *, stop: StopFlag) -> None:
        self.stage = stage
        self.promise = promise
        self._stop = stop
        self._released: dict[str, Mapping[str, Any]] = {}
        self._has_ended = False
        self._changed = threading.Condition()

    def put(self, name: str, facts: Mapping[str, Any]) -> None:
        """Take in that the output `name` is there; raises IntegrityError where it was released as something else."""
        with self._changed:
            if self._released.setdefault(name, facts) != facts:
                raise IntegrityError(
                    f"{self.stage} has made {name} twice, and not the same",
                    code="E0415",
                    hint="run the same command again",
                )
            self._changed.notify_all()

    def end(self) -> None:
        """Take in that nothing more will come."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def wait_for(self, name: str, *, on_wait: Callable[[], None]) -> Mapping[str, Any]:
        """Return what was released as `name`, once it is there; `on_wait` is called when it is not there yet.

        Raises:
            Withheld: a stop was asked for, or the stage failed.
            StageFailed: the stage is done and has never released it.
        """
        if self._stop.is_set:
            raise Withheld
        if name not in self._released:
            on_wait()
        with self._changed:
            while name not in self._released:
                if self._stop.is_set:
                    raise Withheld
                if self._has_ended:
                    raise StageFailed(f"{self.stage} is done, but has not made {name}, which it promised", code="E0104")
                self._changed.wait(_LOOK_SECONDS)
            return self._released[name]
