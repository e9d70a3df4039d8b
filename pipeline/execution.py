"""Carrying out one stage: its record goes before work begins, and comes back when all of it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.config import RuntimeOptions
from pipeline.decide import Action, Decision
from pipeline.diagnosis import diagnose
from pipeline.environment import describe_environment
from pipeline.errors import IntegrityError, Interrupted, StageFailed
from pipeline.events import Event, Kind, Reporter
from pipeline.lock import RunLock
from pipeline.observe import Sight, find_changed_inputs
from pipeline.records import Artifact, StageRecord, run_key
from pipeline.report.sheet import REPORT_NAME
from pipeline.stage import Output, ReleasesEarly, Repairable, Resumable, Stage, StageContext, StageResult
from pipeline.stat_cache import StatCache
from pipeline.stream import Stream, Withheld
from pipeline.workspace import Workspace, now

if TYPE_CHECKING:
    from concurrent.futures import Future  # not loaded where nothing runs


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done with a stage, and why; `code` is that of today."""

    stage: Stage
    context: StageContext
    decision: Decision
    sight: Sight
    code: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A job that has begun: what is done, with which code, and since when."""

    stage: Stage
    action: Action
    code: Mapping[str, str]
    started: float
    started_at: str


class Executor:
    """Runs stages in a workspace whose lock is held."""

    def __init__(
        self, workspace: Workspace, lock: RunLock, *, runtime: RuntimeOptions, reporter: Reporter, cache: StatCache
    ) -> None:
        self._workspace = workspace
        self._lock = lock
        self._runtime = runtime
        self._reporter = reporter
        self._cache = cache
        self._told: BaseException | None = None

    def execute(self, job: Job, *, settled: Callable[[], StageContext] | None = None) -> StageRecord:
        """Do what is to be done and return the record, which is then on disk.

        `settled` is called when the work is done that began before its inputs were there, and gives what they are now.

        Raises:
            StageFailed: its inputs changed meanwhile; no record is written.
            PipelineError: as `Stage.execute` does, or because the lock was lost; no record is written.
        """
        with self.telling_of_failure(job.stage.name):
            begun = self._begin(job)
            try:
                result = _work(job)
            except Withheld:  # the stage has nothing to save, or does not know of it
                job.context.stop.check(where=f"{job.stage.name}, before its inputs are there")
                raise
            return self._finish(begun, result, context=settled() if settled else job.context)

    @contextmanager
    def executing_apart(self, job: Job) -> Iterator[tuple[Stream, Future[StageRecord]]]:
        """Do the same in a process of its own: give what it releases meanwhile, and the record that it will have.

        When the `with` block ends by an exception the stage is asked to stop; when the stage fails, the stop flag says
        so to what runs in the block.
        """
        from concurrent.futures import ThreadPoolExecutor

        from pipeline.stage_process import StageProcess

        stage, context = job.stage, job.context
        assert isinstance(stage, ReleasesEarly)
        stream = Stream(stage.name, stage.promise(context), stop=context.stop)

        def record() -> StageRecord:
            with self.telling_of_failure(stage.name):
                try:
                    return self._finish(begun, StageProcess(stage, context, stream=stream).result(), context=context)
                except Exception as error:
                    context.stop.fail(error)
                    raise
                finally:
                    stream.end()

        with self.telling_of_failure(stage.name):
            begun = self._begin(job)
        with ThreadPoolExecutor(1, thread_name_prefix=stage.name) as threads:
            future = threads.submit(record)
            try:
                yield stream, future
            except Exception as error:
                context.stop.fail(error)
                raise

    def _begin(self, job: Job) -> Begun:
        """Take the record away: from now on the stage is not whole, and everything may be made or made again."""
        context, sight, code = job.context, job.sight, job.code
        if not context.streams:  # otherwise another stage is at work, and its temporaries look the same
            for folder in (self._workspace.datasets, self._workspace.results):
                files.sweep_temporaries(folder)
        store, path = self._workspace.records, context.record_path
        # What is continued or mended keeps the parts that earlier code made: that it changed stays known.
        if job.decision.action is not Action.RUN:
            code = (sight.record.code if sight.record else store.code_at_begin(context.state_folder)) or code
        begun = Begun(
            stage=job.stage, action=job.decision.action, code=code, started=time.monotonic(), started_at=now()
        )
        self._emit(Kind.STAGE_STARTED, job.stage.name, action=job.decision.action)
        if sight.observation.record_problem:
            files.set_aside(path)
        store.remove(path)
        self._remove_links(sight)
        self._remove_report(context)
        if job.decision.action is Action.RUN:
            store.end(context.state_folder)
        # Otherwise there is no half-done work, or none that can be read: that is for the stage to set aside or refuse.
        if job.decision.starts_from_zero and isinstance(job.stage, Resumable):
            job.stage.discard_partial_work(context)
        if context.streams:
            files.make_folder(context.state_folder)  # where the work is found again when its inputs are known
        store.begin(context.state_folder, code=code, **known_of(job.stage, context))
        return begun

    def _finish(self, begun: Begun, result: StageResult, *, context: StageContext) -> StageRecord:
        """Write the record of the work that has begun with `begun`; raises as `execute` does."""
        stage, store = begun.stage, self._workspace.records
        self._require_same_inputs(stage, context, result)
        record = StageRecord(
            stage=stage.name,
            stage_version=stage.version,
            run=context.run,
            config_hash=context.config_hash,
            config=stage.config.model_dump(mode="json"),
            inputs_digest=context.inputs_digest,
            inputs=dict(context.input_digests),
            artifacts=self._artifacts(result),
            metrics=dict(result.metrics),
            targets=tuple(result.targets),
            warnings=tuple(result.warnings),
            code=dict(begun.code),
            # The time of what was continued is not that of the whole: estimates must know.
            runtime={**self._runtime.model_dump(mode="json"), "action": begun.action},
            environment=describe_environment(),
            started_at=begun.started_at,
            finished_at=now(),
            duration_seconds=time.monotonic() - begun.started,
        )
        self._lock.require_held()
        store.save(record)
        store.end(context.state_folder)
        if context.work_digest != context.inputs_digest:
            # Done, it belongs to these inputs alone: with other bytes for the same promise it must not be continued.
            files.rename(context.state_folder, run_key(context.config_hash, context.inputs_digest))
        store.drop_superseded(record)
        paths = [artifact.path for artifact in record.artifacts]
        outputs = [path for path in paths if self._workspace.absolute(path).is_relative_to(self._workspace.results)]
        seconds, metrics = record.duration_seconds, record.metrics
        self._emit(Kind.STAGE_FINISHED, stage.name, duration_seconds=seconds, metrics=metrics, outputs=outputs)
        return record

    def skip(self, context: StageContext) -> None:
        """Drop what a run left that was killed just after its record was written."""
        self._workspace.records.end(context.state_folder)

    @contextmanager
    def telling_of_failure(self, stage: str) -> Iterator[None]:
        """Emit what ends the work on `stage` before its time, and let it pass."""
        try:
            yield
        except Interrupted as interruption:
            self._emit(Kind.INTERRUPTED, stage, signal=interruption.signal_number, where=interruption.message)
            raise
        except BaseException as error:  # told and raised again: the log of events must not just stop
            if error is self._told:  # it ended the work of another stage, and stops this one for that reason alone
                raise
            self._told = error
            if isinstance(error, OSError):
                self._lock.require_held()  # files that are missing because all of them were moved away are told as that
            found = diagnose(error)
            self._emit(Kind.STAGE_FAILED, stage, error=found.message, code=found.code)
            raise

    def _remove_links(self, sight: Sight) -> None:
        """Take away links that stand where artifacts were: nothing is ever written through them."""
        for damage in sight.damage:
            with suppress(IntegrityError):  # it leads out of the workspace: nothing will be written there either
                path = self._workspace.absolute(damage.artifact.path)
                if path.is_symlink():
                    files.remove(path)

    def _remove_report(self, context: StageContext) -> None:
        """Take the report away, as the record is: what it says of the run no longer holds, also if this one is killed.

        The sheet beside it makes no such claim, and names the settings.
        """
        path = context.results_folder / REPORT_NAME
        if path.is_file() and not files.leads_through_link(path.parent):
            with suppress(OSError):  # a report is no reason for a run to fail
                files.remove(path)

    def _require_same_inputs(self, stage: Stage, context: StageContext, result: StageResult) -> None:
        changed = find_changed_inputs(stage, context, tolerated=result.tolerated_damage, cache=self._cache)
        if changed:
            self._remove_unrecorded(stage, result)
            raise StageFailed(
                f"the inputs of {stage.name} changed while it ran: {'; '.join(changed[:3])}",
                code="E0101",
                hint="its result was not kept; leave the inputs alone and run the same command again",
            )

    def _remove_unrecorded(self, stage: Stage, result: StageResult) -> None:
        """Remove outputs that no record vouches for, so that nobody takes them for a result."""
        records = self._workspace.records.readable(stage.name)
        recorded = {artifact.path for record in records for artifact in record.artifacts}
        for output in result.outputs:
            if self._workspace.relative(output.path) not in recorded:
                files.remove(output.path)

    def _artifacts(self, result: StageResult) -> tuple[Artifact, ...]:
        return tuple(map(self._artifact, result.outputs))

    def _artifact(self, output: Output) -> Artifact:
        digest = self._cache.digest(output.path)
        if output.xxh3 not in ("", digest):
            raise IntegrityError(
                f"{output.path} holds other bytes than were written",
                code="E0402",
                hint="check the disk, then run the same command again; nothing was recorded",
            )
        return Artifact(
            kind=output.kind,
            path=self._workspace.relative(output.path),
            size=output.path.stat().st_size,
            xxh3=digest,
        )

    def _emit(self, kind: Kind, stage: str, **data: object) -> None:
        self._reporter.emit(Event(kind, stage, data))


def _work(job: Job) -> StageResult:
    if job.decision.action is Action.REPAIR and isinstance(job.stage, Repairable):
        return job.stage.repair(job.context, [damage.artifact for damage in job.sight.damage])
    return job.stage.execute(job.context)


def known_of(stage: Stage, context: StageContext) -> dict[str, Any]:
    """Return what a note of the beginning of a stage's work tells besides the code."""
    return {
        "run": context.run,
        "config": stage.config.model_dump(mode="json"),
        "inputs": dict(context.input_digests),
    }
