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
_MOST_FAILURES = 2
# Begun so often without an end, be it that the call was over or that the whole program was killed, an item comes last,
# and at some time not at all: what brings down the program would otherwise be all that is ever done.
_LAST_AFTER = 2
_MOST_BEGUN = 4


class OutOfTimeError(RuntimeError):
    """The time of the call is over; the item says nothing against itself by that."""


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
        code: a digest of the program; what failed with another one is tried as if it never had.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, code: str = "") -> None:
        self._folder = folder
        self._code = code
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
        files.remove(self._path("tries", name))

    def failure(self, name: str) -> str:
        """Return why an item failed when it was last tried; "" where it did not."""
        tries = self._tries(name)
        return str(tries["problem"]) or (
            f"begun {tries['begun']} times and never ended" if self.is_given_up(name) else ""
        )

    def begin(self, name: str) -> None:
        """Take note that an item begins, so that one that ends the whole program is known by the next call."""
        tries = self._tries(name)
        self._save("tries", name, tries | {"begun": tries["begun"] + 1})

    def pause(self, name: str) -> None:
        """Take note that an item has come as far as this call allowed."""
        self._save("tries", name, self._tries(name) | {"begun": 0})

    def fail(self, name: str, problem: str) -> None:
        """Take note that an item failed; the next call tries it again, once."""
        tries = self._tries(name)
        self._save("tries", name, tries | {"begun": 0, "failed": tries["failed"] + 1, "problem": problem})

    def num_begun(self, name: str) -> int:
        """Return how often an item has begun since it last came to an end of any kind."""
        return int(self._tries(name)["begun"])

    def is_given_up(self, name: str) -> bool:
        """Return whether an item has failed so often that it is not tried again."""
        tries = self._tries(name)
        return bool(tries["failed"] >= _MOST_FAILURES or tries["begun"] >= _MOST_BEGUN)

    def _tries(self, name: str) -> Figures:
        tries = self._load("tries", name)
        none = {"code": self._code, "begun": 0, "failed": 0, "problem": ""}
        return tries if tries is not None and tries["code"] == self._code else none

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
    items: Sequence[Item],
    ledger: Ledger,
    *,
    seconds_left: Callable[[], float],
    tell: Callable[[str], None],
    clean: Callable[[], None] = lambda: None,
) -> bool:
    """Do what is not finished and fits into the time that is left; return whether nothing is left to do.

    An item that fails does not keep the others from being measured, and after a second failure it is given up. Before
    each one `clean` is called, so that it finds the machine as if it were the first.
    """
    is_first = True
    for item in _in_turn(items, ledger):
        if (left := seconds_left()) < item.seconds:
            tell(f"{item.name}: not begun, for it takes about {item.seconds:.0f} s and {max(left, 0):.0f} are left")
            continue
        clean()
        tell(f"{item.name}: begins")
        ledger.begin(item.name)
        _do(item, ledger, tell, had_all_time=is_first)
        is_first = False
    return all(ledger.figures(item.name) is not None or ledger.is_given_up(item.name) for item in items)


def _in_turn(items: Sequence[Item], ledger: Ledger) -> list[Item]:
    """Return what is to be done, in its order; what has begun again and again without an end comes last."""
    waiting = [item for item in items if ledger.figures(item.name) is None and not ledger.is_given_up(item.name)]
    return sorted(waiting, key=lambda item: max(0, ledger.num_begun(item.name) - _LAST_AFTER + 1))


def _do(item: Item, ledger: Ledger, tell: Callable[[str], None], *, had_all_time: bool) -> None:
    try:
        figures = item.work()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        if isinstance(error, OutOfTimeError) and not had_all_time:
            tell(f"{item.name}: {error}; the next call begins it again")  # it stays begun without an end
            return
        ledger.fail(item.name, problem)
        tell(f"{item.name}: failed: {problem}")
        return
    if figures is None:
        ledger.pause(item.name)
        tell(f"{item.name}: goes on with the next call")
        return
    ledger.finish(item.name, figures)
    tell(f"{item.name}: done")
