"""Whether a process works in a workspace, as seen from another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pipeline.lock import read_lease
from pipeline.workspace import Workspace

# Of a process on another machine all that is known is that it writes its lease every five seconds.
_STALE_SECONDS = 30.0


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
