"""The states in which a power loss may leave a disk, rebuilt from the operations that were recorded on it.

What POSIX promises is little, and the model takes it at its word. Of the data of a file that was not synced all may
be lost (no bytes), or only its length may be there (zeros), or any number of whole 4 KiB pages from its beginning,
with or without zeros behind them, or all but one such page. Of the changes to a folder that was not synced (names
that were added, removed, or renamed) any may be there and any may be missing, whatever their order was; syncing a file
does not keep its name. A rename within a folder is one change: both names are never there, and never none.

Up to `_MAX_PENDING` changes to a folder, every subset of them is a state, otherwise all prefixes and all that lack just
one; the choices of several files and folders are combined up to `_MAX_COMBINED` states, otherwise each is varied while
the others are all there, and while they are all missing.

Not modelled: a disk that lies about a sync, or that harms what was synced before; renames between folders and links,
which nothing here makes; files that grow after they were synced; and what is not written through `pipeline.files`,
the logs and the lock: a state has none of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any, NamedTuple

from recording import Effect, Step, Trace

from pipeline.files import TEMPORARY_PREFIX

PAGE = 4096
_MAX_PENDING = 8
_MAX_COMBINED = 256

# A file is its bytes, a folder its sorted (name, file or folder).
Tree = bytes | tuple[tuple[str, Any], ...]
Contents = Mapping[str, bytes]
NOTHING: Tree = ()


@dataclass
class _File:
    data: bytes = b""
    synced: bytes = b""


class _Change(NamedTuple):
    old: str
    new: str
    node: int


@dataclass
class _Folder:
    synced: dict[str, int] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    pending: list[_Change] = field(default_factory=list)

    def change(self, change: _Change) -> None:
        _apply([change], self.live)
        self.pending.append(change)

    def sync(self) -> None:
        _apply(self.pending, self.synced)
        self.pending.clear()


class PowerLoss:
    """A disk as it is after some steps, and what of it there may be after a power loss."""

    def __init__(self, tree: Tree = NOTHING) -> None:
        self._nodes: list[_File | _Folder] = []
        self._files: dict[int, _File] = {}
        self._put(tree)

    def take(self, step: Step) -> None:
        """Carry out one step."""
        match step.name:
            case "create":
                self._files[step.number] = _File()
                self._add(step.path, self._files[step.number])
            case "write":
                self._files[step.number].data += step.data
            case "fsync":
                self._files[step.number].synced = self._files[step.number].data
            case "mkdir":
                self._add(step.path, _Folder())
            case "rename":
                folder, old = self._at(step.path)
                other, new = self._at(step.target)
                assert folder is other, "a rename between folders is not modelled"
                folder.change(_Change(old, new, folder.live[old]))
            case "unlink" | "rmdir":
                folder, name = self._at(step.path)
                folder.change(_Change(name, "", 0))
            case "fsync_folder":
                self._folder(step.path).sync()

    def states(self) -> Iterator[Tree]:
        """Yield what may be there, each state once or more."""
        return iter(self._variants(0))

    def _put(self, tree: Tree) -> int:
        """Take over what is durably there."""
        number = len(self._nodes)
        if isinstance(tree, bytes):
            self._nodes.append(_File(tree, tree))
        else:
            self._nodes.append(folder := _Folder())
            folder.synced = {name: self._put(child) for name, child in tree}
            folder.live = dict(folder.synced)
        return number

    def _add(self, path: str, node: _File | _Folder) -> None:
        folder, name = self._at(path)
        self._nodes.append(node)
        folder.change(_Change("", name, len(self._nodes) - 1))

    def _at(self, path: str) -> tuple[_Folder, str]:
        parent, _, name = path.rpartition("/")
        return self._folder(parent), name

    def _folder(self, path: str) -> _Folder:
        node = self._nodes[0]
        for name in filter(None, path.split("/")):
            assert isinstance(node, _Folder)
            node = self._nodes[node.live[name]]
        assert isinstance(node, _Folder)
        return node

    def _variants(self, number: int) -> list[Tree]:
        """Return what may be there of a file or folder, nothing that is not synced first, everything last."""
        node = self._nodes[number]
        if isinstance(node, _File):
            return list(_torn(node.data)) if node.data != node.synced else [node.data]
        found: list[Tree] = []
        for chosen in _subsets(node.pending):
            names = dict(node.synced)
            _apply(chosen, names)
            ordered = sorted(names)
            children = [self._variants(names[name]) for name in ordered]
            found += [tuple(zip(ordered, each, strict=True)) for each in _combined(children)]
        return list(dict.fromkeys(found))


def _apply(changes: Iterable[_Change], names: dict[str, int]) -> None:
    for change in changes:
        names.pop(change.old, None)
        if change.new:
            names[change.new] = change.node


def _torn(data: bytes) -> Iterator[bytes]:
    yield b""
    yield bytes(len(data))
    for end in range(PAGE, len(data), PAGE):
        yield data[:end]
        yield data[:end] + bytes(len(data) - end)
    for start in range(0, len(data), PAGE):
        hole = bytes(min(PAGE, len(data) - start))
        yield data[:start] + hole + data[start + PAGE :]
    yield data


def _subsets(changes: Sequence[_Change]) -> Iterator[Sequence[_Change]]:
    if len(changes) <= _MAX_PENDING:
        yield from chain.from_iterable(combinations(changes, size) for size in range(len(changes) + 1))
        return
    yield from (changes[:end] for end in range(len(changes)))
    yield from ([*changes[:index], *changes[index + 1 :]] for index in range(len(changes)))
    yield changes


def _combined(children: Sequence[Sequence[Tree]]) -> Iterator[tuple[Tree, ...]]:
    num = 1
    for variants in children:
        num *= len(variants)
    if num <= _MAX_COMBINED:
        yield from product(*children)
        return
    for base in ([variants[0] for variants in children], [variants[-1] for variants in children]):
        for index, variants in enumerate(children):
            for variant in variants:
                yield (*base[:index], variant, *base[index + 1 :])
    yield tuple(variants[-1] for variants in children)


class Moment(NamedTuple):
    """A state with what may be in it: `before` is all that was acknowledged, `after` has the call in progress too."""

    point: int
    tree: Tree
    before: Contents
    after: Contents

    @property
    def holds(self) -> bool:
        """Whether all that was acknowledged is there with its bytes, and else nothing but what was there before."""
        return kept(self.tree) in (self.before, self.after)


def moments(trace: Trace, *, tree: Tree = NOTHING, without: int = -1) -> Iterator[Moment]:
    """Yield every state at every point of a trace that began with `tree`.

    `without` leaves out one step, as if the code lacked it; then only the states after it are told.
    """
    disk = PowerLoss(tree)
    before: Contents = kept(tree)
    after = before
    for point, step in enumerate(trace.steps):
        if point != without:
            disk.take(step)
        if step.name == "call":
            after = _with(before, trace.effects[step.number])
        elif step.name == "return":
            before = after
        if point >= without:
            yield from (Moment(point, state, before, after) for state in disk.states())


def distinct(found: Iterable[Moment]) -> list[Moment]:
    """Return each state once, where it came last: there most was acknowledged."""
    return list({moment.tree: moment for moment in found}.values())


def classes(found: Iterable[Moment], draw: random.Random) -> list[Moment]:
    """Return one of the states that differ only in what lies in temporaries, which the next run removes unread."""
    last: dict[Tree, list[Moment]] = {}
    for moment in found:
        known = last.setdefault(_without_temporaries(moment.tree), [])
        if known and known[0].point < moment.point:
            known.clear()
        known.append(moment)
    return [draw.choice(each) for each in last.values()]


def kept(tree: Tree, *, prefix: str = "") -> dict[str, bytes]:
    """Return the files of `tree` by their names, without temporaries, which the next run removes unread."""
    if isinstance(tree, bytes):
        return {prefix: tree}
    found: dict[str, bytes] = {}
    for name, child in tree:
        if not name.startswith(TEMPORARY_PREFIX):
            found.update(kept(child, prefix=f"{prefix}/{name}" if prefix else name))
    return found


def put(tree: Tree, path: Path) -> None:
    """Make `tree` at `path`, where nothing is."""
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    path.mkdir()
    for name, child in tree:
        put(child, path / name)


def _with(contents: Contents, effect: Effect) -> dict[str, bytes]:
    result = dict(contents)
    for name, data in effect.items():
        if data is None:
            result = {each: kept for each, kept in result.items() if each != name and not each.startswith(f"{name}/")}
        else:
            result[name] = data
    return result


def _without_temporaries(tree: Tree) -> Tree:
    if isinstance(tree, bytes):
        return tree
    names = [name if not name.startswith(TEMPORARY_PREFIX) else TEMPORARY_PREFIX for name, _ in tree]
    return tuple(
        (name, b"" if name == TEMPORARY_PREFIX else _without_temporaries(child))
        for name, (_, child) in zip(names, tree, strict=True)
    )
