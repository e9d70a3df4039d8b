"""What a program does to its disk: each operation with its data, and what the functions that write durably return."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from faults import CountingDisk
from trials import Note, in_fork

from pipeline import files
from pipeline.cli import main

Effect = dict[str, bytes | None]  # what is put where; None takes away what is there, and all below it
_WRITERS = ("write_bytes", "write_folder", "remove", "set_aside")


class Step(NamedTuple):
    """An operation, or the call or return (so are they named) of a function that writes durably.

    Attributes:
        path: relative to the root, which is empty itself.
        number: of the file, counted by `create`; of "call" and "return" that of the effect.
    """

    name: str
    path: str = ""
    target: str = ""
    number: int = 0
    data: bytes = b""


class Trace(NamedTuple):
    """What was recorded."""

    steps: tuple[Step, ...]
    effects: tuple[Effect, ...]


class RecordingDisk(CountingDisk):
    """Keeps each operation under `root` with its data."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._steps: list[Step] = []
        self._effects: list[Effect] = []
        self._num_files = 0
        self._open: dict[int, int] = {}

    @property
    def trace(self) -> Trace:
        """All that was recorded so far."""
        return Trace(tuple(self._steps), tuple(self._effects))

    def perform(self, name: str, operation: Callable[..., Any], *arguments: Any) -> Any:
        """Carry out one operation and record it."""
        result = super().perform(name, operation, *arguments)
        match name, arguments:
            case "create", (path,):
                self._num_files += 1
                self._open[result] = self._num_files
                self._steps.append(Step(name, self._name(path), number=self._num_files))
            case "write", (descriptor, data):
                self._steps.append(Step(name, number=self._open[descriptor], data=bytes(data[:result])))
            case "fsync", (descriptor,):
                self._steps.append(Step(name, number=self._open[descriptor]))
            case "close", (descriptor,):
                del self._open[descriptor]
            case _, paths if all(path.is_relative_to(self._root) for path in paths):
                names = [self._name(path) for path in paths]
                self._steps.append(Step(name, names[0], names[-1]))
        return result

    def wrap(self, writer: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function of `pipeline.files` named `writer` so that its calls are recorded."""

        @functools.wraps(function)
        def wrapper(path: Path, *arguments: Any) -> Any:
            number, name, effect = len(self._effects), self._name(path), Effect()
            self._effects.append(effect)
            self._steps.append(Step("call", number=number))
            match writer:
                case "write_bytes":
                    effect[name] = bytes(arguments[0])
                    result = function(path, *arguments)
                case "write_folder":
                    result = function(path, _noted(arguments[0], effect, folder=name))
                case _:
                    old = self._files_at(path)
                    effect[name] = None
                    result = function(path)
                    if writer == "set_aside":
                        effect.update({self._name(result) + each.removeprefix(name): old[each] for each in old})
            self._steps.append(Step("return", number=number))
            return result

        return wrapper

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path != self._root else ""

    def _files_at(self, path: Path) -> dict[str, bytes]:
        found = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        return {self._name(each): each.read_bytes() for each in found}


@contextmanager
def recorded(root: Path) -> Iterator[RecordingDisk]:
    """Record what is written durably under `root`."""
    disk, before = RecordingDisk(root), files.disk
    writers = {name: getattr(files, name) for name in _WRITERS}
    files.disk = disk
    files._durable_folders.clear()  # as in a new process
    for name, function in writers.items():
        setattr(files, name, disk.wrap(name, function))
    try:
        yield disk
    finally:
        files.disk = before
        for name, function in writers.items():
            setattr(files, name, function)


def record_run(command: Sequence[str], workspace: Path) -> Trace:
    """Record a run of a command line that ends well, in a fork of this process."""
    words = [word.format(workspace=workspace) for word in command]
    ended = in_fork(functools.partial(_record, words, workspace), workspace=workspace)
    assert ended.code == 0, ended.notes
    steps = (
        Step(name, path, target, number, data.encode("latin-1"))
        for name, path, target, number, data in ended.told("steps")[0]
    )
    effects = ({name: _bytes(data) for name, data in effect.items()} for effect in ended.told("effects")[0])
    return Trace(tuple(steps), tuple(effects))


def _record(words: Sequence[str], workspace: Path, note: Note) -> int:
    with recorded(workspace) as disk, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        code = main(list(words))
    steps, effects = disk.trace
    note(
        steps=[(*step[:-1], step.data.decode("latin-1")) for step in steps],
        effects=[{name: _text(data) for name, data in effect.items()} for effect in effects],
    )
    return code


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("latin-1")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")


def _noted(contents: Iterable[tuple[str, bytes]], effect: Effect, *, folder: str) -> Iterator[tuple[str, bytes]]:
    for name, data in contents:
        effect[f"{folder}/{name}"] = bytes(data)
        yield name, data
