"""Which work lies in a workspace: what stages have finished, by their records, and what they have half done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.records import StageRecord, promise
from pipeline.workspace import Workspace

# What belongs to one run of a stage in `checkpoints/<stage>/`: its record, the note of its beginning, its folder.
_NAME = re.compile(r"([0-9a-f]{32}(?:-[0-9a-f]{8})?)(\.json|\.begun|)")
_LAST_OF_SECOND = 0.999


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage made with one config on one ground; half-done as long as it has no record.

    Attributes:
        key: its name on disk, see `run_key`.
        run: name of the whole run that began it; empty where an older version of this program has not noted it.
        config: its settings; None where that is not noted.
        inputs: the digest of each of its inputs; None where that is not noted.
        changed_at: when its record, or of half-done work its state, was last written as the disk has it, in seconds
            since 1970; of a copy that is when it was copied.
    """

    stage: str
    key: str
    run: str = ""
    config: Mapping[str, Any] | None = None
    inputs: Mapping[str, str] | None = None
    record: StageRecord | None = None
    changed_at: float = 0.0

    @property
    def place(self) -> tuple[str, str]:
        """What tells it from all other works: its stage and its name there."""
        return self.stage, self.key

    @property
    def config_hash(self) -> str:
        """The hash of its settings."""
        return self.key.partition("-")[0]

    @property
    def promise(self) -> str:
        """The digest that stands for its outputs as long as they are still being made; empty where it is not known."""
        return "" if self.inputs is None else promise(self.stage, self.config_hash, self.inputs)

    @property
    def finished_at(self) -> float:
        """The whole second in which it was finished, since 1970; 0 as long as it is half-done."""
        return datetime.fromisoformat(self.record.finished_at).timestamp() if self.record else 0.0

    @property
    def last_at(self) -> float:
        """When it was last worked on, in seconds since 1970: of a record the disk tells only the part of the second."""
        second = self.finished_at
        return min(max(self.changed_at, second), second + _LAST_OF_SECOND) if self.record else self.changed_at


@dataclass(frozen=True)
class Inventory:
    """All work of all stages, also of those that the present pipeline does not have.

    Attributes:
        unreadable: why a record cannot be read, by its path: what it refers to is not known.
    """

    works: tuple[Work, ...]
    unreadable: Mapping[Path, str]

    @property
    def blind_stages(self) -> frozenset[str]:
        """The stages of which at least one record cannot be read."""
        return frozenset(path.parent.name for path in self.unreadable)


def take_inventory(workspace: Workspace) -> Inventory:
    """Read all records and notes; what is damaged is left as it is."""
    works: list[Work] = []
    unreadable: dict[Path, str] = {}
    folders = workspace.checkpoints.iterdir() if workspace.checkpoints.is_dir() else ()
    for folder in sorted(folder for folder in folders if folder.is_dir() and not folder.is_symlink()):
        for key, suffixes in _keys(folder).items():
            if ".json" not in suffixes:
                works += _half_done(folder / key, workspace=workspace)
                continue
            path = folder / f"{key}.json"
            try:
                record = workspace.records.load(path)
            except (IntegrityError, OSError) as error:
                unreadable[path] = str(error)
                continue
            told: dict[str, Any] = {"run": record.run, "config": record.config, "inputs": record.inputs}
            works.append(Work(stage=folder.name, key=key, record=record, changed_at=_changed_at(path), **told))
    return Inventory(tuple(works), unreadable)


def _keys(folder: Path) -> dict[str, set[str]]:
    """Return what there is of each run of a stage: ".json" its record, ".begun" its note, "" its folder."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.iterdir()):
        if matched := _NAME.fullmatch(path.name):
            found.setdefault(matched[1], set()).add(matched[2])
    return found


def _half_done(state_folder: Path, *, workspace: Workspace) -> Iterator[Work]:
    begun = workspace.records.begun(state_folder)
    has_state = state_folder.is_dir() and any(state_folder.iterdir())
    if begun is not None or has_state:
        known = begun or {}
        yield Work(
            stage=state_folder.parent.name,
            key=state_folder.name,
            run=str(known.get("run", "")),
            config=known.get("config"),
            inputs=known.get("inputs"),
            changed_at=max(map(_changed_at, (state_folder, state_folder.with_name(f"{state_folder.name}.begun")))),
        )


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # never there, or just gone: who only looks has no lock
        return 0.0
