"""Work on the disk that training does not wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Background:
    """Carries out one piece of work at a time in a thread of its own; what it raises comes up in the caller's thread.

    The work goes on while the caller leaves the `with` block, and the block is left when it has ended: what was begun
    is never cut off but by a kill.

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

    def look(self) -> None:
        """Raise what the work has raised, if it has ended; do not wait for it."""
        if self._work is not None and self._work.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the work has ended, and raise what it has raised, once."""
        work, self._work = self._work, None
        if work is not None:
            work.result()

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for the work; its error replaces one of the block, which came later."""
        try:
            self.wait()
        finally:
            if self._threads is not None:
                self._threads.shutdown()
