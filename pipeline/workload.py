"""How much a stage has to do, so that what it took before tells what it will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.records import StageRecord
from pipeline.stage import StageContext


@dataclass(frozen=True, kw_only=True)
class Workload:
    """An amount of work.

    Attributes:
        amount: what the time is proportional to, in `unit`s.
        stored: what the disk space of the artifacts is proportional to; None where that is the same for any amount.
        is_saved: whether half-done work is saved now and then, each time as a folder. `runtime.keep_checkpoints` of
            them stay, the best, and one more while the next is being written.
    """

    amount: float
    unit: str
    stored: float | None = None
    is_saved: bool = False


@runtime_checkable
class Foreseeable(Protocol):
    """A stage that can tell how much it has to do; of others only a run with the same settings tells anything."""

    def workload(self, context: StageContext | None) -> Workload | None:
        """Return what is still to be done; all of it without a context, when its inputs are not known yet.

        None where that cannot be told.
        """

    def workload_of(self, record: StageRecord, before: Mapping[str, StageRecord]) -> Workload | None:
        """Return what the time and the artifacts of an earlier record of this stage were for.

        `before` holds the records of the stages whose outputs it stood on, as far as they are still there. None where
        the settings differ in something that changes how long one unit takes, or where it cannot be known.
        """
