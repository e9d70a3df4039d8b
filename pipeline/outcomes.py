"""What a run would do, or has done, with a stage."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.decide import Decision
from pipeline.records import StageRecord


@dataclass(frozen=True)
class StagePlan:
    """What would be done with a stage; `code_changes` are told but do not make it run."""

    decision: Decision
    record: StageRecord | None
    code_changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageOutcome:
    """What was done with a stage, its record, and how long that took."""

    decision: Decision
    record: StageRecord
    seconds: float
