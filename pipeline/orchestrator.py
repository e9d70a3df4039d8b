"""The loop: observe each stage, decide, execute, record, report."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.code_digest import code_digests
from pipeline.config import RuntimeOptions
from pipeline.decide import Action, Decision, Observation, Reason, decide, describe_code_changes
from pipeline.environment import describe_environment
from pipeline.errors import IntegrityError, Interrupted, StageFailed
from pipeline.events import Event, Kind, Reporter
from pipeline.fingerprint import config_hash, digest_json
from pipeline.graph import ordered, up_to
from pipeline.interrupts import StopFlag
from pipeline.observe import Sight, digest_inputs, find_changed_inputs, observe
from pipeline.records import Artifact, StageRecord
from pipeline.reset import Removal, configs_of, everything_of
from pipeline.stage import (
    ProgressReport,
    ReadsFiles,
    Repairable,
    ReportsProgress,
    Resumable,
    Stage,
    StageContext,
    StageResult,
)
from pipeline.stat_cache import StatCache
from pipeline.validation import Validation, validate_stage
from pipeline.workspace import Workspace, now


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


class Orchestrator:
    """One pipeline with its settings in one workspace."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        workspace: Workspace,
        profile: str,
        runtime: RuntimeOptions,
        reporter: Reporter,
        stop: StopFlag,
        reruns_on_code_change: bool = False,
    ) -> None:
        self.stages = ordered(stages)
        self.workspace = workspace
        self._profile = profile
        self._runtime = runtime
        self._reporter = reporter
        self._stop = stop
        self._reruns_on_code_change = reruns_on_code_change
        self._cache = StatCache(workspace.checkpoints / ".stat_cache")
        self._hashes = {
            stage.name: config_hash(stage=stage.name, version=stage.version, config=stage.config) for stage in stages
        }
        self.run_name = f"{profile}-{digest_json(self._hashes)[:8]}"

    def plan(self, *, forced: Collection[str] = (), until: str | None = None) -> tuple[StagePlan, ...]:
        """Return what `run` would do with each stage, as far as that is known now; touches nothing."""
        plans: list[StagePlan] = []
        records: dict[str, StageRecord] = {}
        for stage in self._selected(until):
            pending = tuple(name for name in stage.inputs if name not in records)
            if pending:
                decision = decide(Observation(stage=stage.name, pending_upstream=pending))
                plans.append(StagePlan(decision, None))
                continue
            sight = self._observe(stage, self._context(stage, records), forced=forced)
            decision = decide(sight.observation)
            if decision.action is Action.SKIP and sight.record is not None:
                records[stage.name] = sight.record
            plans.append(StagePlan(decision, sight.record, sight.observation.changed_code))
        return tuple(plans)

    def run(self, *, forced: Collection[str] = (), until: str | None = None) -> tuple[StageOutcome, ...]:
        """Bring each stage to its end, doing only what is not done yet.

        Raises:
            WorkspaceLocked: another run works here.
            Interrupted: a signal asked for a stop; the same run continues from there.
            PipelineError: a stage failed; the stages before it stay done.
        """
        started = time.monotonic()
        outcomes: list[StageOutcome] = []
        with ExitStack() as stack:
            stack.enter_context(self.workspace.locked())
            selected = self._selected(until)
            self._emit(
                Kind.RUN_STARTED, run=self.run_name, profile=self._profile, stages=[stage.name for stage in selected]
            )
            files.sweep_temporaries(self.workspace.checkpoints)
            records: dict[str, StageRecord] = {}
            stack.callback(self._cache.save)  # also when a stage fails: what was read needs no second reading
            for stage in selected:
                with self._telling_of_failure(stage):
                    self._stop.check(where=f"the start of {stage.name}")
                outcomes.append(self._bring_to_end(stage, self._context(stage, records), forced=forced))
                records[stage.name] = outcomes[-1].record
        targets = [target for outcome in outcomes for target in outcome.record.targets]
        self._emit(
            Kind.RUN_FINISHED,
            duration_seconds=time.monotonic() - started,
            targets=[target.model_dump() | {"is_met": target.is_met} for target in targets],
        )
        return tuple(outcomes)

    def progress(self) -> dict[str, ProgressReport]:
        """Return how far each stage has come that can tell it; reads only what is on disk."""
        reports: dict[str, ProgressReport] = {}
        for stage, context in self._reachable():
            if isinstance(stage, ReportsProgress) and (report := stage.progress_report(context)):
                reports[stage.name] = report
        return reports

    def half_done(self) -> dict[str, str]:
        """Return for each stage that has begun and is not whole what there is of it, in words."""
        found = {}
        for stage, context in self._reachable():
            if isinstance(stage, Resumable) and self._record_of(stage, context) is None:
                words = stage.partial_work(context)
                if not words and context.state_folder.is_dir() and any(context.state_folder.iterdir()):
                    words = "something that cannot be continued"
                if words:
                    found[stage.name] = words
        return found

    def discard_partial_work(self, name: str) -> None:
        """Remove the half-done work of a stage under the run lock, so that it starts from zero."""
        with self.workspace.locked():
            for stage, context in self._reachable():
                if stage.name == name and isinstance(stage, Resumable):
                    stage.discard_partial_work(context)

    def validate(self, *, is_deep: bool) -> tuple[Validation, ...]:
        """Compare what every record of every stage vouches for with the disk; deep: read every byte."""
        return tuple(
            validate_stage(stage.name, workspace=self.workspace, cache=self._cache, is_deep=is_deep)
            for stage in self.stages
        )

    def removals(self, names: Collection[str], *, only_this_run: bool) -> tuple[Removal, ...]:
        """Return what a reset of the stages `names` takes away; with all stages named, old results too."""
        chosen = [stage for stage in self.stages if stage.name in names]
        if not only_this_run:
            return everything_of(chosen, workspace=self.workspace, has_all=len(chosen) == len(self.stages))
        return configs_of(chosen, hashes=self._hashes, workspace=self.workspace)

    def reset(self, removals: Sequence[Removal]) -> None:
        """Take away what `removals` listed, under the run lock; raises WorkspaceLocked."""
        with self.workspace.locked():
            for removal in removals:
                files.remove(removal.path)

    def _record_of(self, stage: Stage, context: StageContext) -> StageRecord | None:
        """Return the readable record of this run of `stage`, verified or not."""
        return self._observe(stage, context, forced=()).record

    def _bring_to_end(self, stage: Stage, context: StageContext, *, forced: Collection[str]) -> StageOutcome:
        started = time.monotonic()
        sight = self._observe(stage, context, forced=forced)
        decision = decide(sight.observation)
        self._emit(Kind.DECISION, stage.name, action=decision.action, reason=decision.reason, detail=decision.detail)
        if decision.action is not Action.RUN:
            self._warn_of_changed_code(sight)
        if decision.action is Action.SKIP and sight.record is not None:
            return StageOutcome(decision, sight.record, time.monotonic() - started)
        record = self._execute(stage, context, decision=decision, sight=sight)
        return StageOutcome(decision, record, time.monotonic() - started)

    def _execute(self, stage: Stage, context: StageContext, *, decision: Decision, sight: Sight) -> StageRecord:
        for folder in (self.workspace.datasets, self.workspace.results):
            files.sweep_temporaries(folder)
        store, path = self.workspace.records, self._record_path(context)
        code = self._code(stage)
        # What is continued or mended keeps the parts that earlier code made: that it changed stays known.
        if decision.action is not Action.RUN:
            code = (sight.record.code if sight.record else store.code_at_begin(path)) or code
        started, started_at = time.monotonic(), now()
        self._emit(Kind.STAGE_STARTED, stage.name, action=decision.action)
        with self._telling_of_failure(stage):
            # A record means that the stage is whole: it goes before work begins and comes back when all is done.
            if sight.observation.record_problem:
                files.set_aside(path)
            if decision.action is Action.RUN:
                store.end(path)
            store.begin(path, code=code)
            store.remove(path)
            self._remove_links(sight)
            result = self._work(stage, context, decision=decision, sight=sight)
            self._require_same_inputs(stage, context, tolerated=result.tolerated_damage)
        record = StageRecord(
            stage=stage.name,
            stage_version=stage.version,
            run=self.run_name,
            config_hash=context.config_hash,
            config=stage.config.model_dump(mode="json"),
            inputs_digest=context.inputs_digest,
            inputs=dict(context.input_digests),
            artifacts=self._artifacts(result),
            metrics=dict(result.metrics),
            targets=tuple(result.targets),
            warnings=tuple(result.warnings),
            code=code,
            runtime=self._runtime.model_dump(mode="json"),
            environment=describe_environment(),
            started_at=started_at,
            finished_at=now(),
            duration_seconds=time.monotonic() - started,
        )
        store.save(record)
        store.end(path)
        store.drop_superseded(record)
        self._emit(Kind.STAGE_FINISHED, stage.name, duration_seconds=record.duration_seconds, metrics=record.metrics)
        return record

    @contextmanager
    def _telling_of_failure(self, stage: Stage) -> Iterator[None]:
        try:
            yield
        except Interrupted as interruption:
            self._emit(Kind.INTERRUPTED, stage.name, signal=interruption.signal_number, where=interruption.message)
            raise
        except BaseException as error:  # told and raised again: the log of events must not just stop
            self._emit(Kind.STAGE_FAILED, stage.name, error=f"{type(error).__name__}: {error}")
            raise

    def _work(self, stage: Stage, context: StageContext, *, decision: Decision, sight: Sight) -> StageResult:
        if decision.action is Action.REPAIR and isinstance(stage, Repairable):
            return stage.repair(context, [damage.artifact for damage in sight.damage])
        # Otherwise there is no half-done work, or none that can be read: that is for the stage to set aside or refuse.
        if decision.reason in (Reason.FORCED, Reason.CODE_CHANGED) and isinstance(stage, Resumable):
            stage.discard_partial_work(context)
        return stage.execute(context)

    def _remove_links(self, sight: Sight) -> None:
        """Take away links that stand where artifacts were: nothing is ever written through them."""
        for damage in sight.damage:
            with suppress(IntegrityError):  # it leads out of the workspace: nothing will be written there either
                path = self.workspace.absolute(damage.artifact.path)
                if path.is_symlink():
                    files.remove(path)

    def _require_same_inputs(self, stage: Stage, context: StageContext, *, tolerated: Collection[str]) -> None:
        changed = find_changed_inputs(stage, context, tolerated=tolerated, cache=self._cache)
        if changed:
            raise StageFailed(
                f"the inputs of {stage.name} changed while it ran: {'; '.join(changed[:3])}",
                hint="its result was not recorded; leave the inputs alone and run the same command again",
            )

    def _artifacts(self, result: StageResult) -> tuple[Artifact, ...]:
        return tuple(
            Artifact(
                kind=output.kind,
                path=self.workspace.relative(output.path),
                size=output.path.stat().st_size,
                xxh3=self._cache.digest(output.path),
            )
            for output in result.outputs
        )

    def _observe(self, stage: Stage, context: StageContext, *, forced: Collection[str]) -> Sight:
        return observe(
            stage,
            context,
            is_forced=stage.name in forced,
            reruns_on_code_change=self._reruns_on_code_change or stage.reruns_on_code_change,
            code=self._code(stage),
            cache=self._cache,
        )

    def _code(self, stage: Stage) -> dict[str, str]:
        configs = [before.config for before in up_to(self.stages, stage.name)]
        return code_digests(stage, configs=configs, cache=self._cache)

    def _context(self, stage: Stage, records: Mapping[str, StageRecord]) -> StageContext:
        return StageContext(
            stage=stage.name,
            run=self.run_name,
            profile=self._profile,
            workspace=self.workspace,
            config_hash=self._hashes[stage.name],
            input_digests=digest_inputs(stage, records, cache=self._cache),
            inputs={name: records[name] for name in stage.inputs},
            settings={each.name: each.config.model_dump(mode="json") for each in self.stages},
            runtime=self._runtime,
            reporter=self._reporter,
            stop=self._stop,
        )

    def _reachable(self) -> list[tuple[Stage, StageContext]]:
        """Return the stages whose upstream stages have records, with their contexts."""
        records: dict[str, StageRecord] = {}
        reachable = []
        for stage in self.stages:
            if all(name in records for name in stage.inputs):
                context = self._context(stage, records)
                reachable.append((stage, context))
                if record := self._record_of(stage, context):
                    records[stage.name] = record
        return reachable

    def _record_path(self, context: StageContext) -> Path:
        return self.workspace.records.path(
            context.stage, config_hash=context.config_hash, inputs_digest=context.inputs_digest
        )

    def _selected(self, until: str | None) -> tuple[Stage, ...]:
        selected = self.stages if until is None else up_to(self.stages, until)
        for stage in selected:
            if isinstance(stage, ReadsFiles):
                stage.external_files()  # a wrong path is told now, not after hours of training
        return selected

    def _warn_of_changed_code(self, sight: Sight) -> None:
        if changed := sight.observation.changed_code:
            self._emit(Kind.WARNING, sight.observation.stage, text=describe_code_changes(changed))

    def _emit(self, kind: Kind, stage: str = "", **data: object) -> None:
        self._reporter.emit(Event(kind, stage, data))
