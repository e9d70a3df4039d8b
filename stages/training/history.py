"""What each mini-epoch came to; which was the best, and whether to stop, follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from stages.training.config import EarlyStoppingConfig, ValidationConfig


class Entry(BaseModel):
    """A mini-epoch: how many are complete with it, where it ended, mean training losses, validation figures.

    A figure is None where it was not a finite number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mini_epoch: int
    epoch: int
    global_step: int
    lr: float
    losses: dict[str, float]
    figures: dict[str, float | None]


class History:
    """The entries of all complete mini-epochs, in order; each is added exactly once."""

    def __init__(self, validation: ValidationConfig, early_stopping: EarlyStoppingConfig | None) -> None:
        self._metric = validation.metric
        self._sign = 1.0 if validation.goal == "max" else -1.0
        self._early_stopping = early_stopping
        self.entries: list[Entry] = []
        self._judged: tuple[int, bool] = (0, False)  # after how many entries, whether to stop: asked before each step

    @property
    def mini_epoch(self) -> int:
        """Number of mini-epochs that are entered."""
        return self.entries[-1].mini_epoch if self.entries else 0

    @property
    def best(self) -> Entry | None:
        """The entry with the best validation figure; of equal ones the first."""
        scored = [entry for entry in self.entries if self._score(entry) is not None]
        return max(scored, key=lambda entry: self._score(entry) or 0.0, default=None)

    @property
    def is_newest_best(self) -> bool:
        """Whether the newest entry is the best one."""
        return bool(self.entries) and self.best is self.entries[-1]

    @property
    def is_stopping(self) -> bool:
        """Whether as many validations as early stopping allows brought nothing better."""
        if self._judged[0] != len(self.entries):
            self._judged = (len(self.entries), self._judge())
        return self._judged[1]

    def _judge(self) -> bool:
        if self._early_stopping is None or self.best is None:
            return False
        # Computed anew from all entries, a few hundred at most, rather than kept: no state can disagree with them.
        reached, num_since = float("-inf"), 0
        for entry in self.entries:
            score = self._score(entry)
            is_better = score is not None and score > reached + self._early_stopping.min_delta
            reached, num_since = (score, 0) if score is not None and is_better else (reached, num_since + 1)
        return num_since >= self._early_stopping.patience

    def add(self, entry: Entry) -> None:
        """Enter a mini-epoch that was just completed."""
        assert entry.mini_epoch > self.mini_epoch, "a mini-epoch is validated once"
        self.entries.append(entry)

    def state_dict(self) -> dict[str, Any]:
        """Return the entries."""
        return {"entries": [entry.model_dump() for entry in self.entries]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over entries of `state_dict`."""
        self.entries = [Entry.model_validate(entry) for entry in state["entries"]]
        self._judged = (0, False)

    def _score(self, entry: Entry) -> float | None:
        """Return the validation figure so that more is better."""
        figure = entry.figures.get(self._metric)
        return None if figure is None else self._sign * figure
