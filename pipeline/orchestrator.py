"""The loop: observe each stage, decide, execute, record, report."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from pipeline import files
from pipeline.announcement import announcement
from pipeline.config import RuntimeOptions
from pipeline.contexts import Contexts
from pipeline.decide import Action, Decision, Observation, decide, describe_code_changes
from pipeline.errors import IntegrityError, PipelineError
from pipeline.events import Event, Kind, Reporter
from pipeline.execution import Executor, Job
from pipeline.graph import ordered, up_to
from pipeline.interrupts import StopFlag
from pipeline.lock import RunLock
from pipeline.observe import Sight
from pipeline.outcomes import StageOutcome, StagePlan
from pipeline.records import StageRecord
from pipeline.reporting import tell_on_stderr
from pipeline.stage import (
    BeginsEarly,
    ReadsFiles,
    ReleasesEarly,
    Stage,
    StageContext,
)
from pipeline.survey import Survey
from pipeline.upkeep import Upkeep
from pipeline.workspace import Workspace


class Orchestrator:
    """One pipeline with its settings in one workspace.

    Attributes:
        upkeep: what can be done between runs.
        kept_workspace: whether the newest run has begun, and had the workspace to itself until it ended.
    """

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
        command: Sequence[str] = (),
    ) -> None:
        self.stages = ordered(stages)
        self.workspace = workspace
        self._profile = profile
        self._runtime = runtime
        self._reporter = reporter
        self._stop = stop
        self._command = command
        self._contexts = Contexts(
            self.stages,
            workspace=workspace,
            profile=profile,
            runtime=runtime,
            reporter=reporter,
            stop=stop,
        )
        self._cache = self._contexts.cache
        self._survey = Survey(self.stages, self._contexts, reruns_on_code_change=reruns_on_code_change)
        self.run_name = self._contexts.run_name
        self.kept_workspace = False
        self.upkeep = Upkeep(
            self.stages, workspace=workspace, contexts=self._contexts, survey=self._survey, locked=self._locked
        )

    def plan(self, *, forced: Collection[str] = (), until: str | None = None) -> tuple[StagePlan, ...]:
        """Return what `run` would do with each stage, as far as that is known now; touches nothing."""
        plans: list[StagePlan] = []
        records: dict[str, StageRecord] = {}
        for stage in self._selected(until):
            pending = tuple(name for name in stage.inputs if name not in records)
            if pending:
                seen = Observation(stage=stage.name, is_forced=stage.name in forced, pending_upstream=pending)
                plans.append(StagePlan(decide(seen), None))
                continue
            context = self._contexts.of(stage, records)
            sight = self._survey.sight(stage, context, forced=forced)
            decision = decide(sight.observation)
            if decision.action is Action.SKIP and sight.record is not None:
                records[stage.name] = sight.record
            plans.append(StagePlan(decision, sight.record, sight.observation.changed_code, sight.damage, context))
        return tuple(plans)

    def records(self) -> dict[str, StageRecord]:
        """Return the records that stages have, by name, without a look at what they vouch for."""
        found: dict[str, StageRecord] = {}
        for stage in self.stages:
            if stage.inputs.keys() <= found.keys():
                context = self._contexts.of(stage, found)
                with suppress(FileNotFoundError, IntegrityError):
                    found[stage.name] = self.workspace.records.load(context.record_path)
        return found

    def run(self, *, forced: Collection[str] = (), until: str | None = None) -> tuple[StageOutcome, ...]:
        """Bring each stage to its end, doing only what is not done yet.

        Raises:
            WorkspaceLocked: another run works here.
            Interrupted: a signal asked for a stop; the same run continues from there.
            PipelineError: a stage failed; the stages before it stay done.
        """
        started = time.monotonic()
        self.kept_workspace = False
        outcomes: list[StageOutcome] = []
        with ExitStack() as stack:
            lock = stack.enter_context(self._locked())
            executor = self._executor(lock)
            selected = self._selected(until)
            hashes, command = self._contexts.hashes, self._command
            told = announcement(
                selected, run=self.run_name, profile=self._profile, config_hashes=hashes, command=command
            )
            self._reporter.emit(told)
            stack.callback(self._look_whether_kept, lock)
            files.sweep_temporaries(self.workspace.checkpoints)
            records: dict[str, StageRecord] = {}
            stack.push(
                lambda _, error, __: self._save_cache(lock, error)
            )  # also when a stage fails: what was read needs no second reading
            for stage in selected:
                if stage.name in records:  # it was done together with the stage before it
                    continue
                with executor.telling_of_failure(stage.name):
                    self._stop.check(where=f"the start of {stage.name}")
                for outcome in self._bring_to_end(stage, selected, records, executor, forced=forced):
                    outcomes.append(outcome)
                    records[outcome.decision.stage] = outcome.record
        targets = [target for outcome in outcomes for target in outcome.record.targets]
        self._emit(
            Kind.RUN_FINISHED,
            duration_seconds=time.monotonic() - started,
            targets=[target.model_dump() | {"is_met": target.is_met} for target in targets],
        )
        return tuple(outcomes)

    def _locked(self) -> RunLock:
        # Not to the reporters: as long as another run may work here, the logs are its own.
        return self.workspace.locked(tell=tell_on_stderr)

    def _executor(self, lock: RunLock) -> Executor:
        return Executor(self.workspace, lock, runtime=self._runtime, reporter=self._reporter, cache=self._cache)

    def _look_whether_kept(self, lock: RunLock) -> None:
        with suppress(OSError, PipelineError):
            lock.require_held()
            self.kept_workspace = True

    def _save_cache(self, lock: RunLock, error: BaseException | None) -> None:
        try:
            lock.require_held()  # or a workspace that was moved away would be begun anew where it was
            if isinstance(error, IntegrityError):
                self._cache.clear()  # it may have met what no stat shows: the next run looks at everything anew
            else:
                self._cache.save()
        except (OSError, PipelineError) as problem:
            # It only saves time: no reason to fail, or to hide why a stage did.
            self._emit(Kind.WARNING, text=f"the digests of this run are not remembered: {problem}")

    def _bring_to_end(
        self,
        stage: Stage,
        selected: Sequence[Stage],
        records: Mapping[str, StageRecord],
        executor: Executor,
        *,
        forced: Collection[str],
    ) -> tuple[StageOutcome, ...]:
        """Return what was done with `stage`, and with the stage that began while it was at work, if one did."""
        started, context = time.monotonic(), self._contexts.of(stage, records)
        sight, decision = self._judge(stage, context, forced=forced)
        if decision.action is Action.SKIP and sight.record is not None:
            executor.skip(context)
            return (StageOutcome(decision, sight.record, time.monotonic() - started),)
        job = self._job(stage, context, sight, decision)
        follower = self._follower(stage, decision, selected, records)
        if follower is None:
            record = executor.execute(job)
            return (StageOutcome(decision, record, time.monotonic() - started),)
        with executor.executing_apart(job) as (stream, future):

            def settled() -> StageContext:
                return self._contexts.of(follower, {**records, stage.name: future.result()})

            early = replace(self._contexts.of(follower, records, pending=stage.name), streams={stage.name: stream})
            early.info(f"begins while {stage.name} is at work in a process of its own; --no-incremental waits")
            began = time.monotonic()
            job = self._job(follower, early, *self._judge(follower, early, forced=forced))
            record = executor.execute(job, settled=settled)
        return (
            StageOutcome(decision, future.result(), future.result().duration_seconds),
            StageOutcome(job.decision, record, time.monotonic() - began),
        )

    def _job(self, stage: Stage, context: StageContext, sight: Sight, decision: Decision) -> Job:
        return Job(stage=stage, context=context, decision=decision, sight=sight, code=self._survey.code(stage))

    def _judge(self, stage: Stage, context: StageContext, *, forced: Collection[str]) -> tuple[Sight, Decision]:
        sight = self._survey.sight(stage, context, forced=forced)
        decision = decide(sight.observation)
        self._emit(Kind.DECISION, stage.name, action=decision.action, reason=decision.reason, detail=decision.detail)
        if decision.action is not Action.RUN:
            self._warn_of_changed_code(sight)
        return sight, decision

    def _follower(
        self, stage: Stage, decision: Decision, selected: Sequence[Stage], records: Mapping[str, StageRecord]
    ) -> Stage | None:
        """Return the stage that may begin while `stage` is at work, if there is one."""
        if not self._runtime.incremental or decision.action is Action.REPAIR or not isinstance(stage, ReleasesEarly):
            return None
        waiting = (each for each in selected if isinstance(each, BeginsEarly) and stage.name in each.begins_early_on)
        after = next(waiting, None)
        if after is None or not after.inputs.keys() <= {stage.name, *records}:
            return None
        # What it has done for finished inputs may be all that there is to do, once it is known that they are those.
        return None if self._contexts.has_other_work(after, records, pending=stage.name) else after

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
