"""What stages have left in a workspace, and how much a reset takes away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.records import StageRecord
from pipeline.report.sheet import COMPARISON_PREFIX, REPORT_NAME, SHEET_NAME
from pipeline.space import sizes_under
from pipeline.stage import OwnsFolders, Stage
from pipeline.stat_cache import CACHE_NAME
from pipeline.workspace import Workspace

_OF_RUN = (REPORT_NAME, SHEET_NAME)


@dataclass(frozen=True)
class Removal:
    """A file or folder that a reset takes away, and how much that is."""

    stage: str
    path: Path
    num_files: int
    num_bytes: int


def everything_of(stages: Sequence[Stage], *, workspace: Workspace, has_all: bool) -> tuple[Removal, ...]:
    """Return everything that any run of `stages` left in the workspace; with all stages, all results and caches too."""
    found = [removal for stage in stages for removal in _everything_of(stage, workspace=workspace)]
    if has_all:
        found = [removal for removal in found if not removal.path.is_relative_to(workspace.results)]
        found += _removals("", _entries(workspace.results))
        found += _removals("", sorted(workspace.checkpoints.glob(f"{CACHE_NAME}*")))
    return tuple(found)


def configs_of(stages: Sequence[Stage], *, hashes: Mapping[str, str], workspace: Workspace) -> tuple[Removal, ...]:
    """Return what the runs of `stages` with the configs of these `hashes` left, whatever their inputs were."""
    return tuple(
        removal
        for stage in stages
        for removal in _config_of(stage, config_hash=hashes[stage.name], workspace=workspace)
    )


def report_of(run: str, *, workspace: Workspace) -> tuple[Removal, ...]:
    """Return what was written about a run as a whole: its report, its sheet, and comparisons with others."""
    folder = workspace.results / run
    found = [path for path in _entries(folder) if path.name in _OF_RUN or path.name.startswith(COMPARISON_PREFIX)]
    return tuple(_removals("", found))


def _everything_of(stage: Stage, *, workspace: Workspace) -> list[Removal]:
    paths: list[Path] = []
    if isinstance(stage, OwnsFolders):
        found = sorted(path for pattern in stage.folders for path in workspace.root.glob(pattern))
        paths += [workspace.absolute(path.relative_to(workspace.root).as_posix()) for path in found]
    for record in workspace.records.readable(stage.name):
        paths += artifact_paths(record, workspace)
    paths += _entries(workspace.checkpoints / stage.name)
    return _removals(stage.name, paths)


def _config_of(stage: Stage, *, config_hash: str, workspace: Workspace) -> list[Removal]:
    # Files that a record of another config vouches for too are left to it: two sizes of a data set share chunks.
    paths: dict[Path, None] = {}
    shared: set[Path] = set()
    for record in workspace.records.readable(stage.name):
        found = artifact_paths(record, workspace)
        if record.config_hash == config_hash:
            paths.update(dict.fromkeys(found))
        else:
            shared.update(found)
    own = [path for path in paths if path not in shared]
    own += sorted((workspace.checkpoints / stage.name).glob(f"{config_hash}*"))
    return _removals(stage.name, own)


def _removals(stage: str, paths: Sequence[Path]) -> list[Removal]:
    removals = []
    for path in dict.fromkeys(paths):
        is_inside_another = any(parent in paths for parent in path.parents)
        if path.exists() and not is_inside_another:
            sizes = sizes_under(path)
            removals.append(Removal(stage, path, len(sizes), sum(sizes)))
    return removals


def artifact_paths(record: StageRecord, workspace: Workspace) -> list[Path]:
    """Return where the artifacts of `record` are, as far as that is in the workspace."""
    # Not resolved: a link that took the place of an artifact is itself what is removed, never what it points to.
    paths = []
    for artifact in record.artifacts:
        with suppress(IntegrityError):  # leads out of the workspace: not ours to remove
            paths.append(workspace.absolute(artifact.path))
    return paths


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name != ".gitkeep")
