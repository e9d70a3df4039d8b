"""What is known before anything is made of the data set and the model, for estimates of what a run will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.records import StageRecord


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """How many samples of what size there will be, and the settings of the model; `image_size` is a side in pixels."""

    num_train: int
    num_test: int
    image_size: int
    task: Mapping[str, Any]

    def has_data_like(self, record: StageRecord | None) -> bool:
        """Return whether `record` is of data whose samples take as long as those of this data set."""
        return record is not None and record.config.get("image_size") == self.image_size

    def has_model_like(self, record: StageRecord | None) -> bool:
        """Return whether `record` is of a model of the same settings."""
        return record is not None and record.config.get("task") == self.task
