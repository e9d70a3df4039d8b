"""Whether everything that records vouch for is still what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.environment import usable_cores
from pipeline.errors import IntegrityError, PipelineError
from pipeline.fingerprint import digest_file, digest_files
from pipeline.lock import RunLock
from pipeline.observe import find_damage
from pipeline.reporting import tell_on_stderr
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


class _ReadNow:
    """The digests of all files that could be resolved, read just now."""

    def __init__(self, relative_paths: Iterable[str], *, workspace: Workspace) -> None:
        paths = []
        for relative in relative_paths:
            with suppress(IntegrityError, OSError):  # told when it is compared
                paths.append(workspace.resolve(relative))
        self._found = dict(zip(paths, digest_files(paths, num_threads=usable_cores()), strict=True))

    def digest(self, path: Path) -> str:
        """Return what was read; raises what reading it raised."""
        found = self._found.get(path) or digest_file(path)
        if isinstance(found, Exception):
            raise found
        return found


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
    digests = _ReadNow(artifacts, workspace=workspace) if is_deep else cache
    for record in records:
        problems += [str(damage) for damage in find_damage(record, workspace=workspace, cache=digests)]
    return Validation(
        stage=name,
        num_records=len(records),
        num_files=len(artifacts),
        num_bytes=sum(artifact.size for artifact in artifacts.values()),
        problems=tuple(dict.fromkeys(problems)),
    )


def distrust(cache: StatCache, lock: Callable[[], RunLock]) -> None:
    """Clear `cache` after problems were found: a disk may have changed other bytes without touching their stat."""
    try:
        with lock():
            cache.clear()
    except (PipelineError, OSError) as error:
        tell_on_stderr(
            f"{error}; so what runs remember of files is not cleared, and the next one may still believe it: "
            "validate once more when no run is at work here"
        )
