"""Whether everything that records vouch for is still what was written."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import IntegrityError
from pipeline.observe import find_damage
from pipeline.stat_cache import StatCache
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Validation:
    """What was found for the records of one stage."""

    stage: str
    num_records: int
    num_files: int
    num_bytes: int
    problems: tuple[str, ...]


def validate_stage(name: str, *, workspace: Workspace, cache: StatCache, is_deep: bool) -> Validation:
    """Compare every artifact of every record of a stage with its digest; deep: read every byte, trust no stat."""
    problems: list[str] = []
    records = []
    for path in sorted((workspace.checkpoints / name).glob("*.json")):
        try:
            records.append(workspace.records.load(path))
        except IntegrityError as error:
            problems.append(error.message)
    artifacts = {artifact.path: artifact for record in records for artifact in record.artifacts}
    if is_deep:
        for artifact in artifacts.values():
            cache.forget(workspace.resolve(artifact.path))
    for record in records:
        problems += [str(damage) for damage in find_damage(record, workspace=workspace, cache=cache)]
    return Validation(
        stage=name,
        num_records=len(records),
        num_files=len(artifacts),
        num_bytes=sum(artifact.size for artifact in artifacts.values()),
        problems=tuple(dict.fromkeys(problems)),
    )
