"""What a run would do, or has done, with a stage."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.decide import Decision
from pipeline.observe import Damage
from pipeline.records import StageRecord
from pipeline.stage import StageContext


@dataclass(frozen=True)
class StagePlan:
    """What would be done with a stage.

    Attributes:
        code_changes: told, but they do not make it run.
        damage: the artifacts of the record that are not as it says.
        context: what the stage would be given; None while its inputs are not known.
    """

    decision: Decision
    record: StageRecord | None
    code_changes: tuple[str, ...] = ()
    damage: tuple[Damage, ...] = ()
    context: StageContext | None = None


@dataclass(frozen=True)
class StageOutcome:
    """What was done with a stage, its record, and how long that took."""

    decision: Decision
    record: StageRecord
    seconds: float
