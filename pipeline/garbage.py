"""What lies in a workspace that nobody needs: leftovers, and what belongs to runs that are not kept.

Needed is each file that a record which stays vouches for, and all that half-done work would be continued from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from pipeline.config import StageConfig
from pipeline.errors import PipelineError
from pipeline.files import TEMPORARY_PREFIX
from pipeline.fingerprint import config_hash
from pipeline.inventory import Work, take_inventory
from pipeline.report.sheet import SHEET_NAME, load_sheet
from pipeline.reset import artifact_paths
from pipeline.retention import Retention, retain
from pipeline.runs import find_runs, started_runs
from pipeline.space import sizes_under
from pipeline.stage import KeptWork, KnowsLeavings, Stage
from pipeline.stat_cache import CACHE_NAME
from pipeline.workspace import Workspace

_SET_ASIDE = re.compile(r".+\.corrupt-\d+")
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9a-f]{8}")
_NAMED_SINGLY = 3  # folders that are left alone; more are counted


class Why(StrEnum):
    """Why nobody needs something."""

    TEMPORARY = "left by a killed process"
    SET_ASIDE = "damaged, set aside"
    UNNEEDED = "no record needs it"
    OLD_RUN = "belongs to a run that is not kept"


@dataclass(frozen=True)
class Garbage:
    """A file, or a whole folder, that may go, and how much that is."""

    path: Path
    why: Why
    num_files: int
    num_bytes: int


@dataclass(frozen=True)
class Findings:
    """What may go, what stays, and what is not judged because something about it is not known."""

    garbage: tuple[Garbage, ...]
    retention: Retention
    doubts: tuple[str, ...]

    @property
    def num_files(self) -> int:
        """How many files may go."""
        return sum(each.num_files for each in self.garbage)

    @property
    def num_bytes(self) -> int:
        """How many bytes they have."""
        return sum(each.num_bytes for each in self.garbage)


def find_garbage(
    stages: Sequence[Stage], *, workspace: Workspace, keep: int | None, is_at_work: bool = False
) -> Findings:
    """Return what may go when the newest `keep` runs stay; None: all of them.

    A run that `is_at_work` here now has temporaries that look like those of a killed one.
    """
    inventory = take_inventory(workspace)
    started = started_runs(workspace.event_log)
    runs = find_runs(inventory, stages=stages, started=started)
    retention = retain(inventory, runs, stages=stages, keep=keep)
    doomed, doubts = _leavings(stages, retention, workspace)
    doubts += [
        f"{problem}: what it refers to is not known, so of {path.parent.name} and the stages before it nothing goes"
        for path, problem in inventory.unreadable.items()
    ]
    for work in retention.dropped_works:
        doomed |= dict.fromkeys(_places(work, workspace), Why.OLD_RUN)
    if not inventory.unreadable:
        told = {run.name for run in started} | {work.run for work in inventory.works}
        of_runs, strange = _of_runs(retention, workspace, told=told)
        doomed |= of_runs
        doubts += _about_strange(strange, workspace)
    doomed |= _by_name(workspace, is_at_work=is_at_work)
    needed = {path for work in retention.kept_works if work.record for path in artifact_paths(work.record, workspace)}
    found = [piece for entry in _entries(workspace) for piece in _gather(entry, None, doomed, needed)[0]]
    return Findings(tuple(found), retention, tuple(doubts))


def _leavings(stages: Sequence[Stage], retention: Retention, workspace: Workspace) -> tuple[dict[Path, Why], list[str]]:
    """Return what stages themselves no longer need, and of which of them that is not known."""
    found: dict[Path, Why] = {}
    doubts: list[str] = []
    for stage in stages:
        if not isinstance(stage, KnowsLeavings) or stage.name in retention.untouchable:
            continue
        works = [work for work in retention.kept_works if work.stage == stage.name]
        configs = {work.key: _config_of(work, stage) for work in works if work.record is None}
        if unknown := [key for key, config in configs.items() if config is None]:
            doubts.append(
                f"{stage.name}/{unknown[0]} was begun by another version of this program: what it needs is not known, "
                f"so of {stage.name} nothing goes that no record mentions; `pipeline progress reset` discards such work"
            )
            continue
        records = [work.record for work in works if work.record]
        kept = KeptWork(records, [config for config in configs.values() if config])
        found |= dict.fromkeys(stage.leavings(workspace, kept), Why.UNNEEDED)
    return found, doubts


def _config_of(work: Work, stage: Stage) -> StageConfig | None:
    """Return the settings with which half-done work began; None where they are not those that its name stands for."""
    try:
        config = type(stage.config).model_validate(work.config)
    except ValidationError:
        return None
    found = config_hash(stage=stage.name, version=stage.version, config=config)
    return config if found == work.config_hash else None


def _places(work: Work, workspace: Workspace) -> Iterator[Path]:
    """Yield what there is of a work: its record and all that it vouches for, or its state and the note of its begin."""
    folder = workspace.checkpoints / work.stage / work.key
    yield from (folder, folder.with_name(f"{work.key}.begun"), folder.with_name(f"{work.key}.json"))
    if work.record:
        yield from artifact_paths(work.record, workspace)


def _of_runs(
    retention: Retention, workspace: Workspace, *, told: Collection[str]
) -> tuple[dict[Path, Why], list[Path]]:
    """Return the folders of results and of logs, and what is remembered, of runs that are gone or go now.

    And those that only bear a name like that of a run, as one that ends in a date does: `told` are the names that
    records and the log tell of.
    """
    folders = [path for path in (workspace.results, *_folders_in(workspace.logs)) if path.is_dir()]
    places = {path: path.name for folder in folders for path in _folders_in(folder) if _RUN_NAME.fullmatch(path.name)}
    caches = {path: path.name.removeprefix(f"{CACHE_NAME}.") for path in workspace.checkpoints.glob(f"{CACHE_NAME}.*")}
    # Nobody else writes such a cache, and nobody else's sheet names the folder in which it lies.
    ours = {*told, *caches.values(), *filter(partial(_has_sheet, workspace.results), set(places.values()))}
    dropped = {run.name for run in retention.dropped}
    found = {
        path: Why.OLD_RUN if name in dropped else Why.UNNEEDED
        for path, name in (places | caches).items()
        if name in ours and _RUN_NAME.fullmatch(name) and name not in retention.live_names
    }
    return found, [path for path, name in places.items() if name not in ours]


def _has_sheet(results: Path, name: str) -> bool:
    """Return whether a run called `name` has left its sheet there."""
    try:
        return load_sheet(results / name / SHEET_NAME).run == name
    except (PipelineError, OSError):
        return False


def _about_strange(folders: Sequence[Path], workspace: Workspace) -> list[str]:
    """Return why `folders` stay; nothing if there are none."""
    if not folders:
        return []
    named = ", ".join(map(workspace.relative, folders[:_NAMED_SINGLY]))
    more = f" and {len(folders) - _NAMED_SINGLY} more" if len(folders) > _NAMED_SINGLY else ""
    return [
        f"left alone: {named}{more}; the name is like that of a run, but no record, log or {SHEET_NAME} tells of one"
    ]


def _by_name(workspace: Workspace, *, is_at_work: bool) -> dict[Path, Why]:
    """Return what the names say of files and folders."""
    found = {}
    for root in (workspace.checkpoints, workspace.datasets, workspace.results):
        for folder, names, file_names in os.walk(root):
            for name in (*names, *file_names):
                if name.startswith(TEMPORARY_PREFIX) and not is_at_work:
                    found[Path(folder, name)] = Why.TEMPORARY
                elif _SET_ASIDE.fullmatch(name):
                    found[Path(folder, name)] = Why.SET_ASIDE
    return found


def _entries(workspace: Workspace) -> Iterator[Path]:
    """Yield all that may go as a whole: what lies in the folders of the workspace, and not these themselves."""
    for folder in (workspace.checkpoints, workspace.logs):
        for inner in _folders_in(folder):
            yield from sorted(inner.iterdir())
    yield from sorted(workspace.checkpoints.glob(f"{CACHE_NAME}.*"))
    for folder in (workspace.datasets, workspace.results):
        yield from sorted(folder.iterdir()) if folder.is_dir() else ()


def _folders_in(folder: Path) -> list[Path]:
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in entries if path.is_dir() and not path.is_symlink())


def _gather(
    path: Path, why: Why | None, doomed: Mapping[Path, Why], needed: Collection[Path]
) -> tuple[list[Garbage], bool]:
    """Return what of `path` may go, as few and as large pieces as can be, and whether that is all of it.

    `why` is that of the folder around it, which goes unless something in it is needed.
    """
    why = doomed.get(path, why)
    if path in needed:
        return [], False
    if path.is_symlink() or not path.is_dir():
        return ([Garbage(path, why, 1, num_bytes) for num_bytes in sizes_under(path)], True) if why else ([], False)
    try:
        entries = sorted(path.iterdir())
    except FileNotFoundError:  # a run beside this has removed it just now
        return [], True
    pieces: list[Garbage] = []
    is_whole = True
    for entry in entries:
        inner, is_inner_whole = _gather(entry, why, doomed, needed)
        pieces += inner
        is_whole = is_whole and is_inner_whole
    if not is_whole or not (pieces or why):
        return pieces, False
    largest = max(pieces, key=lambda piece: piece.num_bytes, default=None)
    sums = sum(piece.num_files for piece in pieces), sum(piece.num_bytes for piece in pieces)
    reason = why or (largest.why if largest else None)
    assert reason is not None
    return [Garbage(path, reason, *sums)], True
