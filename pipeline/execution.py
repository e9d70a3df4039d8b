"""Carrying out one stage: its record goes before work begins, and comes back when all of it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline import files
from pipeline.config import RuntimeOptions
from pipeline.decide import Action, Decision, Reason
from pipeline.environment import describe_environment
from pipeline.errors import IntegrityError, Interrupted, StageFailed
from pipeline.events import Event, Kind, Reporter
from pipeline.lock import RunLock
from pipeline.observe import Sight, find_changed_inputs
from pipeline.records import Artifact, StageRecord
from pipeline.stage import Output, Repairable, Resumable, Stage, StageContext, StageResult
from pipeline.stat_cache import StatCache
from pipeline.workspace import Workspace, now


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

    def execute(
        self, stage: Stage, context: StageContext, *, decision: Decision, sight: Sight, code: Mapping[str, str]
    ) -> StageRecord:
        """Do with `stage` what `decision` says and return its record, which is then on disk.

        Raises:
            StageFailed: its inputs changed meanwhile; no record is written.
            PipelineError: as `Stage.execute` does, or because the lock was lost; no record is written.
        """
        for folder in (self._workspace.datasets, self._workspace.results):
            files.sweep_temporaries(folder)
        store, path = self._workspace.records, self._record_path(context)
        # What is continued or mended keeps the parts that earlier code made: that it changed stays known.
        if decision.action is not Action.RUN:
            code = (sight.record.code if sight.record else store.code_at_begin(path)) or code
        started, started_at = time.monotonic(), now()
        self._emit(Kind.STAGE_STARTED, stage.name, action=decision.action)
        with self.telling_of_failure(stage.name):
            if sight.observation.record_problem:
                files.set_aside(path)
            if decision.action is Action.RUN:
                store.end(path)
            store.begin(path, code=code)
            store.remove(path)
            self._remove_links(sight)
            result = _work(stage, context, decision=decision, sight=sight)
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
                code=dict(code),
                runtime=self._runtime.model_dump(mode="json"),
                environment=describe_environment(),
                started_at=started_at,
                finished_at=now(),
                duration_seconds=time.monotonic() - started,
            )
            self._lock.require_held()
            store.save(record)
            store.end(path)
            store.drop_superseded(record)
        self._emit(Kind.STAGE_FINISHED, stage.name, duration_seconds=record.duration_seconds, metrics=record.metrics)
        return record

    def skip(self, context: StageContext) -> None:
        """Drop what a run left that was killed just after its record was written."""
        self._workspace.records.end(self._record_path(context))

    @contextmanager
    def telling_of_failure(self, stage: str) -> Iterator[None]:
        """Emit what ends the work on `stage` before its time, and let it pass."""
        try:
            yield
        except Interrupted as interruption:
            self._emit(Kind.INTERRUPTED, stage, signal=interruption.signal_number, where=interruption.message)
            raise
        except BaseException as error:  # told and raised again: the log of events must not just stop
            if isinstance(error, OSError):
                self._lock.require_held()  # files that are missing because all of them were moved away are told as that
            self._emit(Kind.STAGE_FAILED, stage, error=f"{type(error).__name__}: {error}")
            raise

    def _record_path(self, context: StageContext) -> Path:
        return self._workspace.records.path(
            context.stage, config_hash=context.config_hash, inputs_digest=context.inputs_digest
        )

    def _remove_links(self, sight: Sight) -> None:
        """Take away links that stand where artifacts were: nothing is ever written through them."""
        for damage in sight.damage:
            with suppress(IntegrityError):  # it leads out of the workspace: nothing will be written there either
                path = self._workspace.absolute(damage.artifact.path)
                if path.is_symlink():
                    files.remove(path)

    def _require_same_inputs(self, stage: Stage, context: StageContext, result: StageResult) -> None:
        changed = find_changed_inputs(stage, context, tolerated=result.tolerated_damage, cache=self._cache)
        if changed:
            self._remove_unrecorded(stage, result)
            raise StageFailed(
                f"the inputs of {stage.name} changed while it ran: {'; '.join(changed[:3])}",
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


def _work(stage: Stage, context: StageContext, *, decision: Decision, sight: Sight) -> StageResult:
    if decision.action is Action.REPAIR and isinstance(stage, Repairable):
        return stage.repair(context, [damage.artifact for damage in sight.damage])
    # Otherwise there is no half-done work, or none that can be read: that is for the stage to set aside or refuse.
    if decision.reason in (Reason.FORCED, Reason.CODE_CHANGED) and isinstance(stage, Resumable):
        stage.discard_partial_work(context)
    return stage.execute(context)
