"""What is on disk for a stage: reads records, artifacts and code, and judges nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from pipeline.code_digest import changed_code
from pipeline.config import later_defaults
from pipeline.decide import FieldChange, Observation
from pipeline.errors import IntegrityError, NewerFormat
from pipeline.fingerprint import digest_json
from pipeline.leaves import leaves
from pipeline.reading import require_lost
from pipeline.records import SCHEMA, Artifact, StageRecord
from pipeline.secrets import hide
from pipeline.stage import ReadsFiles, Repairable, Resumable, Stage, StageContext
from pipeline.stat_cache import StatCache, by_folder
from pipeline.workspace import Workspace


class Digests(Protocol):
    """Knows the digests of files."""

    def digest(self, path: Path) -> str:
        """Return the xxh3-128 of the file at `path`; raises OSError or IntegrityError."""


@dataclass(frozen=True)
class Damage:
    """An artifact that is not as recorded, and in what way."""

    artifact: Artifact
    problem: str

    def __str__(self) -> str:
        return f"{self.artifact.path} {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Sight:
    """An observation together with what it was drawn from."""

    observation: Observation
    record: StageRecord | None = None
    damage: tuple[Damage, ...] = ()


def observe(
    stage: Stage,
    context: StageContext,
    *,
    is_forced: bool,
    reruns_on_code_change: bool,
    code: Mapping[str, str],
    cache: StatCache,
) -> Sight:
    """Look at everything that decides about `stage`, whose upstream stages are whole."""
    record, problem, damage = _look_at_record(context, cache)
    damaged = [found.artifact for found in damage]
    observation = Observation(
        stage=stage.name,
        is_forced=is_forced,
        has_record=record is not None,
        record_problem=problem,
        damage=tuple(map(str, damage)),
        is_repairable=bool(damaged) and isinstance(stage, Repairable) and stage.can_repair(damaged),
        changed_code=_changed_code(record, context, code),
        reruns_on_code_change=reruns_on_code_change,
        partial_work=_partial_work(stage, context) if record is None or damage else "",
        **_compare_with_other_runs(stage, context) if record is None else {},
    )
    return Sight(observation=observation, record=record, damage=damage)


def digest_inputs(
    stage: Stage,
    upstream: Mapping[str, StageRecord],
    *,
    workspace: Workspace,
    cache: StatCache,
    promises: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the digest of each input of `stage`: of the upstream artifacts that it consumes, and of external files.

    For a stage in `promises` that digest stands in the place of its artifacts'.
    """
    digests = {}
    for name, kinds in stage.inputs.items():
        if name in promises:
            digests[name] = promises[name]
            continue
        path = workspace.records.path_of(upstream[name])
        question = {"name": f"{name} for {stage.name}", "key": digest_json([path.name, kinds])}
        known = cache.recall(**question, locate=workspace.absolute)
        cache.note(path)  # a record that was recalled is read now, if it has to be
        digests[name] = known or ground(upstream[name], kinds)
        if not known:
            read = by_folder([workspace.relative(path)])
            cache.remember(value=digests[name], **question, read=read, locate=workspace.absolute)
    if isinstance(stage, ReadsFiles):
        for name, paths in stage.external_files().items():
            digests[name] = digest_json(sorted((path.as_posix(), cache.digest(path)) for path in paths))
    return digests


def find_changed_inputs(
    stage: Stage, context: StageContext, *, tolerated: Collection[str], cache: StatCache
) -> list[str]:
    """Return which inputs of `stage` are no longer what they were when `context` was made, and in what way."""
    damage = [
        damage
        for name in stage.inputs
        for damage in find_damage(context.inputs[name], workspace=context.workspace, cache=cache)
    ]
    digests = digest_inputs(stage, context.inputs, workspace=context.workspace, cache=cache)
    changed = [name for name, digest in digests.items() if context.input_digests[name] != digest]
    return [str(found) for found in damage if found.artifact.path not in tolerated] + changed


def find_damage(record: StageRecord, *, workspace: Workspace, cache: Digests) -> tuple[Damage, ...]:
    """Return the artifacts of `record` that are missing, of another size or with other bytes."""
    found = ((artifact, _problem(artifact, workspace=workspace, cache=cache)) for artifact in record.artifacts)
    return tuple(Damage(artifact, problem) for artifact, problem in found if problem)


def _problem(artifact: Artifact, *, workspace: Workspace, cache: Digests) -> str:
    try:
        path = workspace.resolve(artifact.path)
        size = path.stat().st_size
        if size != artifact.size:
            return f"has {size} bytes instead of {artifact.size}"
        if cache.digest(path) != artifact.xxh3:
            return "was altered: its digest does not match the record"
    except FileNotFoundError:
        return "is missing"
    except IntegrityError as error:
        return f"cannot be trusted: {error.message}"
    except OSError as error:
        require_lost(error)
        return f"cannot be read: {error.strerror}"
    return ""


def _look_at_record(context: StageContext, cache: StatCache) -> tuple[StageRecord | None, str, tuple[Damage, ...]]:
    """Return the record of this run, why it cannot be read, and which artifacts are not as it says.

    That all is as it says is remembered, for the record and its artifacts together.
    """
    workspace, store = context.workspace, context.workspace.records
    path = context.record_path
    question = {"name": f"record of {context.stage}", "key": f"{path.name} {SCHEMA.version}"}
    if known := cache.recall(**question, locate=workspace.absolute):
        return store.recalled(path, known), "", ()
    cache.note(path)
    record, problem = _load_record(context)
    damage = find_damage(record, workspace=workspace, cache=cache) if record else ()
    if record and not damage:
        read = by_folder([workspace.relative(path), *(artifact.path for artifact in record.artifacts)])
        without_artifacts = record.model_dump(mode="json", exclude={"artifacts"})
        cache.remember(value=without_artifacts, **question, read=read, locate=workspace.absolute)
    return record, problem, damage


def ground(record: StageRecord, kinds: Collection[str]) -> str:
    """Return the digest of the artifacts of some kinds; no kinds mean all.

    Only kind, file name, size and content count: where an artifact lies does not change the ground it gives.
    """
    consumed = (artifact for artifact in record.artifacts if not kinds or artifact.kind in kinds)
    return digest_json(sorted((one.kind, one.path.rpartition("/")[2], one.size, one.xxh3) for one in consumed))


def _load_record(context: StageContext) -> tuple[StageRecord | None, str]:
    try:
        return context.workspace.records.load(context.record_path), ""
    except FileNotFoundError:
        return None, ""
    except NewerFormat:
        raise  # whole, and not ours to set aside or to overwrite
    except IntegrityError as error:
        return None, error.message


def _changed_code(record: StageRecord | None, context: StageContext, code: Mapping[str, str]) -> tuple[str, ...]:
    """Compare with the code of the record, or with that with which unfinished work began."""
    before = record.code if record else context.workspace.records.code_at_begin(context.state_folder)
    return changed_code(before, code) if before else ()


def _partial_work(stage: Stage, context: StageContext) -> str:
    return stage.partial_work(context) if isinstance(stage, Resumable) else ""


def _compare_with_other_runs(stage: Stage, context: StageContext) -> dict[str, Any]:
    others = context.workspace.records.readable(stage.name)
    same_config = [record for record in others if record.config_hash == context.config_hash]
    if same_config:
        old, new = same_config[-1].inputs, context.input_digests
        return {
            "changed_inputs": tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))
        }
    if others:
        changes, run = _nearest(others, stage)
        return {"config_changes": changes, "compared_run": run}
    return {}


def _nearest(others: Sequence[StageRecord], stage: Stage) -> tuple[tuple[FieldChange, ...], str]:
    """Return what differs from the settings of the run most like this one, the newest of such, and that run's name.

    `others` has the newest last. What somebody has just changed is told so, whatever else was run meanwhile.
    """
    compared = [(tuple(_field_changes(record, stage)), record.run) for record in reversed(others)]
    return min(compared, key=lambda each: len(each[0]))


def _field_changes(record: StageRecord, stage: Stage) -> Iterator[FieldChange]:
    if record.stage_version != stage.version:
        yield FieldChange("stage version", record.stage_version, stage.version)
    # Before there was a setting, its default is what was done.
    old = dict(leaves(later_defaults(stage.config))) | dict(leaves(record.config))
    # Records tell no secrets, so what they are compared with must not either.
    new = dict(leaves(hide(stage.config.model_dump(mode="json"))))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield FieldChange(name, old.get(name), new.get(name))
