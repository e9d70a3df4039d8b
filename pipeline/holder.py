"""Whether a process works in a workspace, as seen from another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.event_reader import last_start, read_events
from pipeline.events import Kind
from pipeline.lock import read_lease
from pipeline.run_view import RunView, State
from pipeline.workspace import Workspace

# Of a process on another machine all that is known is that it writes its lease every five seconds.
_STALE_SECONDS = 30.0
# None of them tells the beginning or the end of a stage, and they are nearly all of a log.
_WITHIN_STAGES = (Kind.PROGRESS, Kind.METRICS, Kind.CHUNK, Kind.CHECKPOINT)


class Holder:
    """Whoever works in a workspace; of another machine that has fallen silent it is taken to be gone.

    Args:
        clock: gives seconds that go on whatever is done to the time of day.
    """

    def __init__(self, workspace: Workspace, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._clock = clock
        self._lease: dict[str, Any] = {}
        self._moved_at = clock()

    @property
    def is_at_work(self) -> bool:
        """Whether it lives, as far as that can be seen from here; to be asked again and again."""
        if not self._workspace.owner:
            return False
        lease = read_lease(self._workspace.root)
        if lease != self._lease:
            self._lease, self._moved_at = lease, self._clock()
        return self._clock() - self._moved_at < _STALE_SECONDS


def stages_at_work(workspace: Workspace, *, run: str) -> frozenset[str]:
    """Return the stages of `run` at which it works now, as its log tells; none where another process works here."""
    if not workspace.owner:
        return frozenset()
    view, pid = RunView(), None
    with suppress(OSError, IntegrityError):  # without a log nothing is known of stages
        start = last_start(workspace.event_log)
        for logged in read_events(workspace.event_log, offset=start, without=_WITHIN_STAGES):
            if logged.event.kind is Kind.RUN_STARTED:
                pid = logged.event.data.get("pid")
            view.take(logged.event, at=logged.time)
    # The newest run of the log may have been killed, and whoever works here now has not begun a run, or never will.
    if view.run != run or pid != read_lease(workspace.root).get("pid", 0):
        return frozenset()
    return frozenset(name for name, stage in view.stages.items() if stage.state is State.RUNNING)
