"""Work on the disk that training does not wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Carries out one piece of work at a time in a thread of its own; what it raises comes up in the caller's thread.

    What was begun is never cut off but by a kill: `close` waits for it.

    Args:
        is_inline: the caller carries out the work itself, at once: the same operations on the disk, in one order.
    """

    def __init__(self, *, is_inline: bool) -> None:
        # No daemon: a daemon is stopped anywhere when the process ends, in the middle of a write too.
        self._threads = None if is_inline else ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._work: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is work that has not ended."""
        return self._work is not None and not self._work.done()

    def begin(self, work: Callable[[], None]) -> None:
        """Wait for the work of before, then begin `work`; raises what that of before has raised."""
        self.wait()
        if self._threads is None:
            work()
        else:
            self._work = self._threads.submit(work)

    def wait(self) -> None:
        """Wait until the work has ended, and raise what it has raised, once."""
        work, self._work = self._work, None
        try:
            if work is not None:
                work.result()
        finally:
            del work  # or it would hold its error, that this frame, and this frame it and all that its caller holds

    def close(self) -> None:
        """Wait for the work, raise what it has raised, and end the thread."""
        try:
            self.wait()
        finally:
            if self._threads is not None:
                self._threads.shutdown()
