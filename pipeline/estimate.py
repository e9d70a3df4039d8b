"""What a run would take in time and on disk, by what earlier ones took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.config import RuntimeOptions
from pipeline.decide import Action
from pipeline.environment import usable_cores
from pipeline.fingerprint import config_hash
from pipeline.observe import ground
from pipeline.outcomes import StagePlan
from pipeline.records import StageRecord, run_key
from pipeline.space import sizes_under
from pipeline.stage import Stage
from pipeline.workload import Foreseeable, Workload
from pipeline.workspace import Workspace

_WHOLE = Workload(amount=1.0, unit="run", stored=1.0)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a stage would take; None where nothing tells.

    Attributes:
        num_bytes: that would be written and kept.
        basis: what the time follows from, in words.
    """

    seconds: float | None
    num_bytes: int | None
    basis: str = ""


def total_of(estimates: Iterable[Estimate]) -> Estimate:
    """Return what all of them take; None where that is not known of one of them."""
    seconds, sizes = zip(*((each.seconds, each.num_bytes) for each in estimates), strict=True)
    return Estimate(seconds=None if None in seconds else sum(seconds), num_bytes=None if None in sizes else sum(sizes))


@dataclass(frozen=True)
class _Past:
    """An earlier record, and what its time and its bytes were for."""

    record: StageRecord
    work: Workload


class Foresight:
    """Estimates stages from the records of a workspace.

    Only times of stages that were done from their beginning, on as many cores and on the same kind of device, count: a
    run that was continued has the time of its last part alone.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        runtime: RuntimeOptions,
        cores: Callable[[], int] = usable_cores,
    ) -> None:
        self._workspace = workspace
        self._device = runtime.device
        self._num_kept = runtime.keep_checkpoints
        self._num_cores = cores()
        self._records: dict[str, list[StageRecord]] = {}

    def estimate(self, stage: Stage, plan: StagePlan) -> Estimate:
        """Return what carrying out `plan` would take."""
        if plan.decision.action is Action.SKIP:
            return Estimate(seconds=0.0, num_bytes=0)
        if plan.decision.action is Action.REPAIR and plan.record is not None:
            return self._of_repair(plan, plan.record)
        context = None if plan.decision.starts_from_zero else plan.context
        work = stage.workload(context) if isinstance(stage, Foreseeable) else _WHOLE
        past = self._past(stage) if work else []
        if work is None or not past:
            return Estimate(seconds=None, num_bytes=None)
        timed = [each for each in past if each.work.amount and self._is_timed_alike(each.record)]
        num_bytes = self._bytes(work, past[-1])
        if num_bytes is not None and work.stored is None and context is not None:
            num_bytes = max(0, num_bytes - sum(sizes_under(context.state_folder)))
        if not timed:
            return Estimate(seconds=None, num_bytes=num_bytes)
        last = timed[-1]
        seconds = last.record.duration_seconds * work.amount / last.work.amount
        return Estimate(seconds=seconds, num_bytes=num_bytes, basis=_words(work, last))

    def _of_repair(self, plan: StagePlan, record: StageRecord) -> Estimate:
        """Return the part that the damaged artifacts are of all."""
        damaged = sum(each.artifact.size for each in plan.damage)
        total = sum(artifact.size for artifact in record.artifacts)
        if not total or not self._is_timed_alike(record):
            return Estimate(seconds=None, num_bytes=damaged)
        seconds = record.duration_seconds * damaged / total
        return Estimate(seconds=seconds, num_bytes=damaged, basis=f"{damaged / total:.1%} of its bytes")

    def _past(self, stage: Stage) -> list[_Past]:
        """Return what is comparable, with the same settings if there is any such, the most recent last."""
        found: list[_Past] = []
        own = config_hash(stage=stage.name, version=stage.version, config=stage.config)
        for record in self._of(stage.name):
            if isinstance(stage, Foreseeable):
                work = stage.workload_of(record, self._before(stage, record))
            else:
                work = _WHOLE if record.config_hash == own else None
            if work is not None:
                found.append(_Past(record, work))
        same = [each for each in found if each.record.config_hash == own and each.work.amount]
        return same or found

    def _before(self, stage: Stage, record: StageRecord) -> dict[str, StageRecord]:
        return {
            name: each
            for name, kinds in stage.inputs.items()
            for each in self._of(name)
            if record.inputs.get(name) == ground(each, kinds)
        }

    def _of(self, stage: str) -> Sequence[StageRecord]:
        if stage not in self._records:
            self._records[stage] = self._workspace.records.readable(stage)
        return self._records[stage]

    def _is_timed_alike(self, record: StageRecord) -> bool:
        return (
            record.runtime.get("action") == Action.RUN
            and record.runtime.get("device") == self._device
            and record.environment.get("num_cores") == self._num_cores
        )

    def _bytes(self, work: Workload, past: _Past) -> int | None:
        """Return the bytes of a whole run with the half-done work beside its record; None where none of it is left."""
        record = past.record
        state = self._workspace.checkpoints / record.stage / run_key(record.config_hash, record.inputs_digest)
        num_bytes: float = sum(artifact.size for artifact in record.artifacts)
        if work.stored is not None and past.work.stored:
            num_bytes *= work.stored / past.work.stored
        if not work.is_saved:
            return round(num_bytes + sum(sizes_under(state)))
        largest = max((sum(sizes_under(save)) for save in state.glob("*/")), default=None)
        return None if largest is None else round(num_bytes + (self._num_kept + 2) * largest)


def _words(work: Workload, past: _Past) -> str:
    from pipeline.tables import duration

    took, day = duration(past.record.duration_seconds), past.record.finished_at[:10]
    if work.amount == past.work.amount:
        return f"as it took on {day}"
    return f"{work.amount:,.0f} {work.unit}, of which {past.work.amount:,.0f} took {took} on {day}"
