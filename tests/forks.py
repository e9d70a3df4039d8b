"""Command lines carried out by forks of one process that has imported everything: real processes, quickly started."""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from parsed_sources import parse_beforehand

_IMPORTED = (
    "pipeline.cli",
    "pipeline.commands.run",
    "pipeline.commands.look",
    "stages.catalog",
    "stages.training.work",
    "stages.training.importing",
    "stages.detection.task",
    "stages.data_generation.making",
    "stages.data_generation.annotations",
    "stages.evaluation.measure",
    "stages.evaluation.real_folder",
    "stages.evaluation.results",
    "tiny_pipeline",
    "gated_pipeline",
    "toy_pipeline",
)


@dataclass(frozen=True)
class Fork:
    """A command line at work; it leads a session of its own."""

    server: subprocess.Popen[str]
    pid: int
    output: Path

    def end(self) -> tuple[int, str]:
        """Wait for it and return its exit code and all that it wrote."""
        assert self.server.stdout is not None
        return int(self.server.stdout.readline()), self.output.read_text()

    def processes(self) -> list[psutil.Process]:
        """Return it and those that it has started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def orphans(self) -> list[psutil.Process]:
        """Return those that do not end by themselves."""
        return psutil.wait_procs(self.processes(), timeout=30)[1]


@dataclass(frozen=True)
class Server:
    """Carries out one command line after the other."""

    process: subprocess.Popen[str]
    output: Path

    def start(
        self,
        words: Sequence[str],
        *,
        pause: str = "",
        fifo: Path | None = None,
        limits: Mapping[str, int] | None = None,
        pipeline: str = "",
    ) -> Fork:
        """Carry out a command line; it stops at the first `pause` until somebody opens and closes `fifo`.

        A pause is "start", "<stage> <kind of event>[ <beginning of its text>]", or "save": the moment before a
        checkpoint has its name. `limits`
        are resource limits by their names, e.g. RLIMIT_NOFILE; that of RLIMIT_AS is added to the memory of the start.
        `pipeline` is another than the built-in one.
        """
        order: dict[str, Any] = {"words": list(words), "pause": pause, "fifo": str(fifo)}
        order |= {"output": str(self.output), "limits": dict(limits or {}), "pipeline": pipeline}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()
        return Fork(self.process, int(self.process.stdout.readline()), self.output)

    def run(self, words: Sequence[str], *, pipeline: str = "", **limits: int) -> tuple[int, str]:
        """Carry out a command line to its end; return its exit code and all that it wrote."""
        return self.start(words, limits=limits, pipeline=pipeline).end()


@contextmanager
def serving(output: Path) -> Iterator[Server]:
    """Give a server, whose command lines write to the file `output`."""
    root = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root.parent}"}
    process = subprocess.Popen(
        [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Server(process, output)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.communicate()


def left_by(workspace: Path) -> dict[str, bytes]:
    """Return what a run leaves for its user, by name."""
    paths = [*workspace.glob("datasets/**/*"), *workspace.glob("results/*/*")]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in paths if path.is_file()}


def temporaries(workspace: Path) -> list[Path]:
    """Return what killed writers have left in a workspace."""
    return [path for path in workspace.rglob("*") if path.name.startswith(".tmp-")]


def _serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    parse_beforehand()
    gc.freeze()  # or the first collection in each fork would copy the pages of every object
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _carry_out(order)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201


def _carry_out(order: dict[str, Any]) -> None:
    """Be the process of a command line; never returns."""
    import resource

    from pipeline.cli import main

    os.setsid()
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    print(os.getpid(), flush=True)  # noqa: T201 - not before: who knows it may kill the session and read the output
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    meet = _pausing(order["pause"], Path(order["fifo"]))
    for name, value in order["limits"].items():
        used = psutil.Process().memory_info().vms if name == "RLIMIT_AS" else 0
        resource.setrlimit(getattr(resource, name), (value + used, value + used))
    sys.argv = ["pipeline"]
    if order["pipeline"]:
        os.environ["PIPELINE_PIPELINE"] = order["pipeline"]
    code = 101
    meet("start")
    try:
        code = main(order["words"])
    finally:
        os._exit(code)


def _pausing(pause: str, fifo: Path) -> Callable[[str], None]:
    """Let the process stop at `pause`; return what is told each moment."""
    from pipeline import files
    from pipeline.disk import Disk
    from pipeline.events import Event, Reporters

    waits = [pause] if pause else []

    def meet(moment: str) -> None:
        if any(moment.startswith(wait) for wait in waits):
            waits.clear()
            fifo.read_bytes()

    class PausingDisk(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if target.name.startswith("checkpoint-"):
                meet("save")
            super().rename(source, target)

    emit = Reporters.emit

    def emit_and_pause(self: Reporters, event: Event) -> None:
        emit(self, event)
        meet(f"{event.stage} {event.kind} {event.data.get('text', '')}")

    files.disk = PausingDisk()
    Reporters.emit = emit_and_pause  # type: ignore[method-assign]
    return meet


if __name__ == "__main__":
    _serve()
