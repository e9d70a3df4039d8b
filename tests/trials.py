"""Runs that a fault befalls, each in a process of its own, and the runs after them.

A trial is a list of points (a fault and the number of the operation that it befalls), each of which befalls one run of
the same command line, and then a run that nothing befalls, and one that has nothing left to do:

    command = ("run", "--workspace", "{workspace}", "--json", "--no-incremental")
    operations = start(command, folder / "start")  # once, in a process without threads: the runs are forks of it
    trial = run_trial((Point(Fault.KILLED, at=17),), folder / "17", command=command)
    assert not problems_of(trial, reference, keep=3, interval=100)  # see invariants.py
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from faults import CountingDisk, FaultyDisk, Point
from parsed_sources import parse_beforehand

from pipeline import environment, files
from pipeline.cli import main
from pipeline.disk import Disk

Note = Callable[..., None]

_HUNG_SECONDS = 120  # a run takes less than one
_FORBIDDEN = frozenset(
    {"pickle.find_class", "socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
)
_CHANGES = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative for a signal, and what it noted on the way."""

    code: int
    notes: tuple[dict[str, Any], ...]

    def told(self, name: str) -> list[Any]:
        """Return what was noted under `name`, in order."""
        return [note[name] for note in self.notes if name in note]


@dataclass(frozen=True)
class Trial:
    """What became of a workspace.

    Attributes:
        befallen: how each run that a fault befell ended.
        last: how the run that nothing befell ended, with the one after it.
    """

    points: tuple[Point, ...]
    folder: Path
    befallen: tuple[Ended, ...]
    last: Ended

    @property
    def workspace(self) -> Path:
        """Where all runs worked."""
        return self.folder / "workspace"


def in_fork(work: Callable[[Note], int], *, workspace: Path) -> Ended:
    """Carry out `work` in a fork of this process, whose current folder is that around the workspace."""
    with tempfile.TemporaryFile(buffering=0) as notes:
        child = os.fork()
        if not child:
            _work_and_exit(work, functools.partial(_note, notes.fileno()), workspace=workspace)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        notes.seek(0)
        return Ended(status, tuple(map(json.loads, notes.read().splitlines())))


def run_trial(points: Sequence[Point], folder: Path, *, command: Sequence[str]) -> Trial:
    """Let each of `points` befall a run of `command` in an empty workspace in `folder`, then run it twice more."""
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    (folder / "beside").write_text("not ours")
    words = [word.format(workspace=workspace) for word in command]
    befallen = [_logged_fork(functools.partial(call, words, FaultyDisk(point)), workspace) for point in points]
    return Trial(tuple(points), folder, tuple(befallen), run_twice(workspace, command=command))


def run_twice(workspace: Path, *, command: Sequence[str]) -> Ended:
    """Run `command` in a process that nothing befalls, and again, and note what the second run changed."""
    words = [word.format(workspace=workspace) for word in command]
    return _logged_fork(functools.partial(_call_twice, words, workspace), workspace)


def call(words: Sequence[str], disk: Disk, note: Note) -> int:
    """Carry out a command line on `disk`; notes what was written durably, the operations, and what it said."""
    files.disk = disk
    files._durable_folders.clear()  # a new process knows of none
    _acknowledge(note)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(words))
    note(code=code, out=out.getvalue(), err=err.getvalue(), operations=getattr(disk, "operations", []))
    return code


def start(command: Sequence[str], folder: Path) -> list[str]:
    """Load all that `command` needs into this process, so that its forks do not, and return its operations by name."""
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    words = [word.format(workspace=workspace) for word in command]

    def work(note: Note) -> int:
        code = call(words, CountingDisk(), note)
        note(modules=list(sys.modules))
        return code

    import_module("torch")  # most of what is loaded: not once more in the fork
    ended = in_fork(work, workspace=workspace)
    assert ended.code == 0, ended.notes
    for name in ended.told("modules")[0]:
        with suppress(ImportError):
            import_module(name)
    # Reading the sources takes longer than all else in a tiny run, and is the same each time; so are the versions.
    parse_beforehand()
    environment._version = functools.cache(environment._version)
    environment.describe_environment()  # Python itself starts `uname`, once
    gc.freeze()  # or the first collection in each fork would copy the pages of every object
    atexit.register(gc.unfreeze)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread is not forked"  # noqa: PTH208
    return list(ended.told("operations")[0])


def distinct_kills(command: Sequence[str], folder: Path) -> list[int]:
    """Return the numbers of the operations before which a run of `command` must be killed to try all there is to find.

    Kills between which no byte and no name in the workspace changes leave the same to the next run: of these the last
    is returned, before which most was acknowledged.
    """
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    words = [word.format(workspace=workspace) for word in command]
    ended = in_fork(lambda note: call(words, _WatchingDisk(workspace, note), note), workspace=workspace)
    assert ended.code == 0, ended.notes
    return [*ended.told("last_before_a_change"), len(ended.told("operations")[0])]


class _WatchingDisk(CountingDisk):
    """Notes after which of its operations the next finds something changed."""

    def __init__(self, workspace: Path, note: Note) -> None:
        super().__init__()
        self._workspace, self._note = workspace, note
        self._before = _everything(workspace)

    def perform(self, name: str, operation: Callable[..., Any], *arguments: Any) -> Any:
        """Look at the workspace, and carry out one operation."""
        found = _everything(self._workspace)
        if found != self._before and self.operations:
            self._note(last_before_a_change=len(self.operations))
        self._before = found
        return super().perform(name, operation, *arguments)


def _everything(workspace: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in workspace.rglob("*")}


def _call_twice(words: Sequence[str], workspace: Path, note: Note) -> int:
    code = call(words, CountingDisk(), note)
    before = _stats(workspace)
    code = code or call(words, CountingDisk(), note)
    after = _stats(workspace)
    note(changed=sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)))
    return code


def _acknowledge(note: Note) -> None:
    """Let the functions that write durably tell when they have returned."""
    for name in ("write_bytes", "write_folder", "remove"):
        setattr(files, name, _acknowledged(name, getattr(files, name), note))


def _acknowledged(name: str, function: Callable[..., None], note: Note) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapper(path: Path, *arguments: Any) -> None:
        function(path, *arguments)
        note(**{name: str(path)})

    return wrapper


def _note(descriptor: int, **facts: Any) -> None:
    os.write(descriptor, f"{json.dumps(facts)}\n".encode())


def _work_and_exit(work: Callable[[Note], int], note: Note, *, workspace: Path) -> None:
    code = 101
    try:
        signal.alarm(_HUNG_SECONDS)
        os.chdir(workspace.parent)
        sys.dont_write_bytecode = True
        _watch(workspace, note)
        code = work(note)
    except BaseException:  # told to the process that waits for this one
        note(bug=traceback.format_exc())
    os._exit(code)


def _watch(workspace: Path, note: Note) -> None:
    """Note every change outside of `workspace`, every connection, process and unpickled object."""
    allowed = (str(workspace), os.devnull)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changed = arguments[:1] if isinstance(arguments[2], int) and arguments[2] & _WRITING else ()
        else:
            changed = arguments[:2] if event in _CHANGES else ()
        for path in changed:
            # Not Path.resolve, which itself opens and reads what it looks at.
            if isinstance(path, str | bytes | Path) and not _is_within(os.path.abspath(path), allowed):  # noqa: PTH100
                note(outside=f"{event} {path!r}")
        if event in _FORBIDDEN:
            note(forbidden=f"{event} {arguments!r}")

    sys.addaudithook(hook)


def _is_within(path: str | bytes, folders: tuple[str, ...]) -> bool:
    return f"{os.fsdecode(path)}{os.sep}".startswith(tuple(f"{folder}{os.sep}" for folder in folders))


def _stats(workspace: Path) -> dict[str, tuple[int, int]]:
    """Return what tells whether a file was written; logs grow, the lock is taken, and the cache of digests is one."""
    found = {}
    for path in _walk(workspace):
        if path.parts[0] != "logs" and not path.name.startswith((".pipeline.lock", ".stat_cache")):
            stat = (workspace / path).lstat()
            found[str(path)] = (stat.st_ino, stat.st_mtime_ns)
    return found


def _walk(root: Path) -> Iterator[Path]:
    return (path.relative_to(root) for path in sorted(root.rglob("*")) if not path.is_dir())


def _logged_fork(work: Callable[[Note], int], workspace: Path) -> Ended:
    """Carry out `work`, and note the training steps and the warnings that it has logged."""
    old_steps, old_warnings = _logs(workspace)
    ended = in_fork(work, workspace=workspace)
    steps, warnings = _logs(workspace)
    new = {"steps": steps[len(old_steps) :], "warnings": warnings[len(old_warnings) :]}
    return replace(ended, notes=(*ended.notes, new))


def _logs(workspace: Path) -> tuple[list[int], list[str]]:
    events = _lines(workspace / "logs" / "events.jsonl")
    return (
        [line["global_step"] for line in _lines(workspace / "logs" / "samples.jsonl")],
        [event["data"]["text"] for event in events if event["kind"] == "warning"],
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
