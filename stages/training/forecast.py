"""How long the rest of a training takes, told from what was measured so far."""

from __future__ import annotations

# An interval that was measured when training had taken t seconds counts (t / now)**2: a start that was slow, because
# data were still being made beside it or because memory was not warm, is soon forgotten, and half of all intervals
# still have a say, so that one slow moment moves little.
_FORGETTING = 2
# Before the first validation: it only passes forward, a step also backward, which costs about twice as much.
_FORWARD_SHARE = 1 / 3


class Forecast:
    """Tells the rest from the times of steps and of validations; what is not trained at, such as them, is told apart.

    Args:
        validation_batches: how many batches a validation has; 0 where there is none.
    """

    def __init__(self, *, validation_batches: int) -> None:
        self._validation_batches = validation_batches
        self._trained_seconds = 0.0
        self._seconds = self._steps = 0.0  # weighted sums
        self._is_warm = False
        self._validation_seconds = 0.0
        self._num_validations = 0

    def after_steps(self, num_steps: int, *, seconds: float) -> None:
        """Take note of an interval of training with so many steps; the first one, which is of no use, only begins."""
        if not self._is_warm:
            self._is_warm = num_steps > 0
            return
        before, self._trained_seconds = self._trained_seconds, self._trained_seconds + seconds
        kept = (before / self._trained_seconds) ** _FORGETTING if self._trained_seconds else 0.0
        self._seconds = self._seconds * kept + seconds
        self._steps = self._steps * kept + num_steps

    def after_validation(self, seconds: float) -> None:
        """Take note of a validation."""
        self._validation_seconds += seconds
        self._num_validations += 1

    def remaining_seconds(self, *, num_steps: int, num_validations: int, validated: float = 0.0) -> float | None:
        """Return how long so many steps and validations take; None as long as that is not known.

        `validated` is the part that is done of the first of these validations.
        """
        if not self._steps:
            return None
        step_seconds = self._seconds / self._steps
        if self._num_validations:
            validation_seconds = self._validation_seconds / self._num_validations
        else:
            validation_seconds = self._validation_batches * step_seconds * _FORWARD_SHARE
        return num_steps * step_seconds + max(0.0, num_validations - validated) * validation_seconds
