"""A stopwatch around functions that are measured where they stand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any


class Stopwatch:
    """Adds up, part by part, how long the functions take that it is put around; a stopped one counts nothing.

    Attributes:
        seconds: of each part.
        counts: calls of each part.
        is_running: whether calls count.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.seconds = dict.fromkeys(parts, 0.0)
        self.counts: Counter[str] = Counter()
        self.is_running = True

    def put_around(self, part: str, owner: Any, name: str) -> None:
        """Measure each call of the function `name` of a class or module; assert that there is one."""
        assert hasattr(owner, name), f"{name} has another name now: {part} would not be measured"
        setattr(owner, name, self._measured(part, getattr(owner, name)))

    def _measured(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def measured(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                if self.is_running:
                    self.seconds[part] += time.perf_counter() - started
                    self.counts[part] += 1

        return measured
