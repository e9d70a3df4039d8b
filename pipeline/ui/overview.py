"""What the first page tells: what a run would do now and why, all runs, and the records that are there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pipeline.decide import Action
from pipeline.descriptions import state_of
from pipeline.errors import PipelineError
from pipeline.holder import stages_at_work
from pipeline.inventory import Work, take_inventory
from pipeline.options import SettingsOptions
from pipeline.orchestrator import Orchestrator
from pipeline.outcomes import StagePlan
from pipeline.plan_text import particulars
from pipeline.records import run_key
from pipeline.session import Session, open_session

# To look at all files of a workspace may take a while: it is done at most a twentieth of the time.
_PAUSE_FACTOR = 20.0
_LEAST_SECONDS = 2.0
_MAX_PARTICULARS = 20


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """What would be done with a stage now: in what state it is, the action, the reason, and the particulars."""

    name: str
    state: str
    action: str
    reason: str
    particulars: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a stage has made, or has half done: `is_current` tells whether the plan builds on it."""

    stage: str
    run: str
    key: str
    finished: str = ""
    seconds: float | None = None
    num_files: int = 0
    num_bytes: int = 0
    is_current: bool = False


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All of it; `trouble` says why there is no plan, with its code."""

    run: str = ""
    stages: tuple[PlannedStage, ...] = ()
    records: tuple[Record, ...] = ()
    trouble: str = ""


class Planner:
    """Tells what the command `plan` would, for the same options.

    Args:
        clock: gives seconds that go on whatever is done to the time of day.
    """

    def __init__(self, options: SettingsOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._turn = threading.Lock()
        self._known = Overview()
        self._stamp = -1
        self._next_at = -1.0
        self._session: Session | None = None
        self._orchestrator: Orchestrator | None = None

    def overview(self, stamp: int) -> Overview:
        """Return how things stand, as they were where it is too early to look again.

        `stamp` changes with what the log tells; what it does not tell, as an edited settings file, is seen as well.
        """
        with self._turn:
            started = self._clock()
            if started >= self._next_at:
                self._known, self._stamp = self._look(), stamp
                took = self._clock() - started
                self._next_at = self._clock() + max(_LEAST_SECONDS, _PAUSE_FACTOR * took)
            return self._known

    def outdated(self, stamp: int) -> float | None:
        """Return after how many seconds things are looked at again; None where nothing was told since they were."""
        with self._turn:
            return None if self._stamp == stamp else max(0.0, self._next_at - self._clock())

    def _look(self) -> Overview:
        try:
            session = open_session(self._options)
            # One orchestrator as long as its settings are the same: it remembers what it has read of files.
            if self._orchestrator is None or self._session is None or self._session.settings != session.settings:
                self._session, self._orchestrator = session, session.orchestrator()
            plans = self._orchestrator.plan()
            at_work = stages_at_work(session.workspace, run=self._orchestrator.run_name)
            works = take_inventory(session.workspace).works
        except PipelineError as error:
            return Overview(trouble=f"error[{error.code}]: {error.message}. {error.hint}".rstrip(". "))
        except OSError as error:  # files come and go while a run is at work
            return Overview(trouble=str(error))
        current = {
            (plan.decision.stage, run_key(plan.record.config_hash, plan.record.inputs_digest))
            for plan in plans
            if plan.record is not None and plan.decision.action is Action.SKIP
        }
        records = [_record(work, is_current=work.place in current) for work in works]
        return Overview(
            run=self._orchestrator.run_name,
            stages=tuple(_planned(plan, at_work) for plan in plans),
            records=tuple(sorted(records, key=_newest_first, reverse=True)),
        )


def _planned(plan: StagePlan, at_work: Collection[str]) -> PlannedStage:
    decision = plan.decision
    told = tuple(particulars(decision))
    shown = told[: _MAX_PARTICULARS + 1]
    return PlannedStage(
        name=decision.stage,
        state=state_of(plan, at_work),
        action=decision.action.upper(),
        reason=decision.reason.value,
        particulars=shown,
    )


def _record(work: Work, *, is_current: bool) -> Record:
    record = work.record
    if record is None:
        return Record(stage=work.stage, run=work.run, key=work.key)
    return Record(
        stage=work.stage,
        run=work.run,
        key=work.key,
        finished=record.finished_at[:19].replace("T", " "),
        seconds=record.duration_seconds,
        num_files=len(record.artifacts),
        num_bytes=sum(artifact.size for artifact in record.artifacts),
        is_current=is_current,
    )


def _newest_first(record: Record) -> tuple[bool, str, str]:
    return not record.finished, record.finished, record.stage
