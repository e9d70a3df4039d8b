"""What of the GPU check is done: a sealed document for each finished item, so that a kill costs one item at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.sealed import load_sealed, save_sealed

Figures = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """A piece of work with figures of its own.

    Attributes:
        seconds: about what it needs; it is not begun where less is left.
        work: returns the figures, or None where time ran out and the next call goes on with it.
    """

    name: str
    seconds: float
    work: Callable[[], Figures | None]


class Ledger:
    """The figures of finished items, why others failed, and notes of those that go on over several calls.

    Args:
        identity: what the figures were taken on; a folder never holds those of two machines.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        files.make_folder(folder)
        known = self._load("identity", "machine")
        if known is None:
            self._save("identity", "machine", dict(identity))
        elif known != dict(identity):
            changed = ", ".join(f"{key}: {known.get(key)} -> {identity[key]}" for key in identity)
            raise SystemExit(f"{folder} holds figures of another machine ({changed}): choose another --out")
        self.identity = dict(identity)

    def figures(self, name: str) -> Figures | None:
        """Return the figures of a finished item; None where it is not finished."""
        return self._load("figures", name)

    def finish(self, name: str, figures: Figures) -> None:
        """Take note that an item is finished."""
        self._save("figures", name, figures)
        files.remove(self._path("failures", name))

    def failure(self, name: str) -> str:
        """Return why an item failed when it was last tried; "" where it did not."""
        return str((self._load("failures", name) or {}).get("problem", ""))

    def fail(self, name: str, problem: str) -> None:
        """Take note that an item failed; the next call tries it again."""
        self._save("failures", name, {"problem": problem})

    def notes(self, name: str) -> Figures:
        """Return what an unfinished item has noted."""
        return self._load("notes", name) or {}

    def note(self, name: str, notes: Figures) -> None:
        """Keep what an unfinished item must know when it goes on."""
        self._save("notes", name, notes)

    def _path(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{name}.json"

    def _load(self, kind: str, name: str) -> Figures | None:
        try:
            document = load_sealed(self._path(kind, name))
        except (FileNotFoundError, IntegrityError):
            return None  # what is damaged is measured again
        return dict(document["content"])

    def _save(self, kind: str, name: str, content: Figures) -> None:
        files.make_folder(self._folder / kind)
        save_sealed(self._path(kind, name), {"content": content})


def work_through(
    items: Sequence[Item], ledger: Ledger, *, seconds_left: Callable[[], float], tell: Callable[[str], None]
) -> bool:
    """Do what is not finished and fits into the time that is left; return whether all is finished.

    An item that fails does not keep the others from being measured.
    """
    for item in items:
        if ledger.figures(item.name) is not None:
            continue
        if (left := seconds_left()) < item.seconds:
            tell(f"{item.name}: not begun, for it takes about {item.seconds:.0f} s and {max(left, 0):.0f} are left")
            continue
        tell(f"{item.name}: begins")
        try:
            figures = item.work()
        except Exception as error:
            ledger.fail(item.name, f"{type(error).__name__}: {error}")
            tell(f"{item.name}: failed: {type(error).__name__}: {error}")
            continue
        if figures is None:
            tell(f"{item.name}: goes on with the next call")
            continue
        ledger.finish(item.name, figures)
        tell(f"{item.name}: done")
    return all(ledger.figures(item.name) is not None for item in items)
