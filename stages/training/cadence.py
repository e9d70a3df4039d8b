"""When to save next: at fixed intervals, or so that saves cost training a given part of its time."""

from __future__ import annotations

from pipeline.config import RuntimeOptions

# A process that starts again takes about that long until its next step: to save more often would spare nobody much,
# and only wear the disk.
_LEAST_SECONDS = 5.0
# Of the time, at most, a disk is written to, however little training notices of that.
_WRITE_SHARE = 0.25
# Of the newest cost in the estimate. The parts of a cost in all later estimates add up to the whole of it: all of it is
# paid for by longer intervals, but one slow save does not put off the next one for minutes.
_NEWEST = 0.3


class Cadence:
    """Measures what saves cost, and decides by it whether one is due; fixed intervals take the place of the budget.

    A save costs the time for which it stops training, and by how much the steps during its writing take longer than
    those before it. Each save, also one that was not due (after a validation, say), is paid for by training for its
    cost over the budget before another is due. Time is counted in steps alone: a validation, or waiting for data that
    are still being made, neither costs nor pays. Steps take longer or shorter for other reasons too: a save that seems
    to have gained time evens that out.

    Attributes:
        estimate_seconds: of the cost of the next save; 0 before the first.
        total_seconds: what all saves have cost.
    """

    def __init__(self, runtime: RuntimeOptions) -> None:
        self.estimate_seconds = self.total_seconds = 0.0
        self._every_steps = runtime.checkpoint_interval_steps
        self._every_seconds = runtime.checkpoint_interval_seconds
        self._budget = runtime.checkpoint_budget
        self._trained_seconds = self._saved_at = self._paid_until = 0.0
        self._is_known = False
        self._least_seconds = _LEAST_SECONDS
        self._blocked_seconds: float | None = None
        self._plain_seconds, self._num_plain = 0.0, 0
        self._slowed_seconds, self._num_slowed = 0.0, 0

    def after_step(self, seconds: float) -> None:
        """Take note of a step that took `seconds`."""
        self._trained_seconds += seconds
        if self._blocked_seconds is None:
            self._plain_seconds += seconds
            self._num_plain += 1
        else:
            self._slowed_seconds += seconds
            self._num_slowed += 1

    def begin_save(self, *, blocked_seconds: float) -> None:
        """Take note of a save that has stopped training for so long; it slows down the steps until `end_save`."""
        self._blocked_seconds = blocked_seconds
        self._saved_at = self._trained_seconds

    def end_save(self, *, write_seconds: float) -> None:
        """Take note that the save is durable, so long after it was begun; only the first call after it counts."""
        if self._blocked_seconds is None:
            return
        cost = self._blocked_seconds
        if self._num_plain:
            slowdown = self._slowed_seconds - self._num_slowed * self._plain_seconds / self._num_plain
            # No more than the writing took: where other programs slow down long steps, that is not what the save cost.
            cost += min(slowdown, max(0.0, write_seconds - self._blocked_seconds))
        known = self.estimate_seconds
        self.estimate_seconds = known + _NEWEST * (cost - known) if self._is_known else cost
        self._is_known = True
        self.total_seconds += cost
        self._least_seconds = max(_LEAST_SECONDS, write_seconds / _WRITE_SHARE)
        if self._budget:
            self._paid_until = max(self._paid_until, self._saved_at) + max(0.0, self.estimate_seconds) / self._budget
        self._blocked_seconds = None
        self._plain_seconds, self._num_plain = 0.0, 0
        self._slowed_seconds, self._num_slowed = 0.0, 0

    def is_due(self, *, step: int, is_writing: bool) -> bool:
        """Return whether to save after `step` steps.

        While a save is in flight (`is_writing`) the next would stop training until it ends: then only one by steps is
        due, as the steps at which these are made are those that were asked for.
        """
        if self._every_steps and step % self._every_steps == 0:
            return True
        if is_writing:
            return False
        age = self._trained_seconds - self._saved_at
        if self._every_seconds:
            return age >= self._every_seconds
        if self._every_steps or not self._budget:
            return False
        return age >= self._least_seconds and self._trained_seconds >= self._paid_until
