"""Faults injected into the system calls of real runs: whatever fails, the same command comes to the same bytes.

Below the level of Python: what is hit is what any library writes, as the kernel sees it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from forks import Server, left_by, serving, temporaries

_SEED = 20261121
_POINTS = os.environ.get("CRASH_POINTS", "")  # "all": every one, not a sample
_CALLS = ("write", "fsync", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir")
_FAULTS = {"error=EIO": 4, "error=ENOSPC": 6, "signal=SIGKILL": -signal.SIGKILL, "retval=3": 4}  # and their exit codes
_OPTIONAL = r"/logs\b|\.stat_cache|/checkpoints>|training_progress\.json|\.pipeline\.lock\.json"
_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += ")

_TINY = ("run", "--set", "runtime.incremental=false", "--set", "training.epochs=1")


@dataclass(frozen=True)
class Point:
    """The `number`-th system call of the name `call`, and what becomes of it."""

    call: str
    number: int
    fault: str

    def codes(self, hit: str, *, workspace: Path) -> set[int]:
        """Return the exit codes with which a run may end that has lost the call `hit`, as strace tells it."""
        code = _FAULTS[self.fault]
        # What is only for people, and what only saves time: the run goes on without it.
        is_needed = str(workspace) in hit and not re.search(_OPTIONAL, hit)
        return {code} if is_needed or code < 0 else {0, code}


@dataclass(frozen=True)
class Runs:
    """Runs of one command line in any workspace, and what it leaves when nothing fails."""

    server: Server
    words: Sequence[str]
    pipeline: str
    num_stages: int

    def run(self, workspace: Path) -> tuple[int, str]:
        """Carry it out."""
        return self.server.run([*self.words, "--workspace", str(workspace)], pipeline=self.pipeline)

    def traced(self, workspace: Path, *options: str) -> tuple[int, str, list[str]]:
        """Carry it out under strace, from its first line on; return exit code, output, and the calls that were seen."""
        trace, fifo = workspace.with_suffix(".trace"), workspace.with_suffix(".fifo")
        os.mkfifo(fifo)
        words = [*self.words, "--workspace", str(workspace)]
        fork = self.server.start(words, pause="start", fifo=fifo, pipeline=self.pipeline)
        command = ["strace", "-f", "-y", "-s", "0", "-o", str(trace), *options, "-p", str(fork.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            with fifo.open("w"):
                assert strace.stderr is not None
                assert "attached" in strace.stderr.readline()
            code, output = fork.end()
        return code, output, trace.read_text().splitlines()

    def points(self, workspace: Path) -> list[Point]:
        """Return every fault at every call of an undisturbed run that changes something in its workspace."""
        code, output, lines = self.traced(workspace, "-e", f"trace={','.join(f'?{call}' for call in _CALLS)}")
        assert code == 0, output
        seen: Counter[str] = Counter()
        points = []
        for line in lines:
            if match := _LINE.match(line):
                call, about = match.groups()
                seen[call] += 1
                if str(workspace) in about:
                    faults = [fault for fault in _FAULTS if call == "write" or fault != "retval=3"]
                    points += [Point(call, seen[call], fault) for fault in faults]
        return points

    def require_recovery(self, point: Point, workspace: Path, *, expected: dict[str, bytes]) -> None:
        """Let the run meet a fault, then let the same command mend all, and once more do nothing."""
        code, output, lines = self.traced(workspace, "-e", f"inject={point.call}:{point.fault}:when={point.number}")
        # The same call as it was counted, or its neighbour: what is logged depends on the clock.
        hit = next(line for line in lines if "INJECTED" in line or "SIGKILL" in line)
        assert code in point.codes(hit, workspace=workspace), f"{point}: {code}\n{hit}\n{output}"
        assert "Traceback" not in output
        if code > 0:
            assert "\nhint: " in output
        code, output = self.run(workspace)
        assert code == 0, f"{point}: the next run ended with {code}\n{output}"
        assert left_by(workspace) == expected, point
        assert not temporaries(workspace), point
        code, output = self.run(workspace)
        assert (code, output.count("  SKIP  ")) == (0, self.num_stages), f"{point}: {output}"


@pytest.fixture(scope="module", autouse=True)
def _strace(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip aloud where strace is not there, or may not trace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: what fails below Python is not tried here")
    trace = tmp_path_factory.mktemp("strace") / "trace"
    tried = subprocess.run(["strace", "-o", str(trace), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


@pytest.fixture(scope="module")
def server(_strace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give the process that starts runs."""
    with serving(tmp_path_factory.mktemp("server") / "output") as server:
        yield server


def _try_points(runs: Runs, folder: Path, *, num_of_each: int) -> str:
    """Try so many points of each kind, each in a workspace of its own; return in words how many there were."""
    points = runs.points(folder / "counted")
    expected = left_by(folder / "counted")
    choose = random.Random(_SEED)  # noqa: S311 - a seed, not a secret
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(f"{point.call} {point.fault}", []).append(point)
    chosen = {
        kind: each if _POINTS == "all" else choose.sample(each, min(num_of_each, len(each)))
        for kind, each in kinds.items()
    }
    for number, point in enumerate(point for each in chosen.values() for point in each):
        runs.require_recovery(point, folder / f"{number}", expected=expected)
        shutil.rmtree(folder / f"{number}")
    counts = ", ".join(f"{kind} {len(each)}/{len(kinds[kind])}" for kind, each in sorted(chosen.items()))
    return f"{sum(map(len, chosen.values()))} of {len(points)} points (seed {_SEED}): {counts}"


# All calls in one thread, in one order: strace counts those of each thread for itself.
TRAINING = (
    *("run", "--set", "training.epochs=1"),
    *("--set", "runtime.incremental=false", "--set", "runtime.background_saves=false"),
)


def test_a_pipeline_survives_any_failing_system_call(server: Server, tmp_path: Path) -> None:
    """Right code, a hint, no traceback; then the same command converges and the next one does nothing."""
    runs = Runs(server, ("run", "--set", "numbers.count=2"), "toy_pipeline:PIPELINE", num_stages=4)
    print(_try_points(runs, tmp_path, num_of_each=2))  # noqa: T201


def test_a_training_survives_any_failing_system_call(server: Server, tmp_path: Path) -> None:
    """So does a real training, whose checkpoints are many files: its weights are the same bytes."""
    runs = Runs(
        server,
        TRAINING,
        "tiny_pipeline:SMALL",
        num_stages=3,
    )
    print(_try_points(runs, tmp_path, num_of_each=1))  # noqa: T201


@pytest.mark.parametrize(("error", "code"), [("EMFILE", 6), ("EACCES", 6), ("ESTALE", 4)])
def test_a_checkpoint_that_cannot_be_had_now_is_kept(server: Server, tmp_path: Path, error: str, code: int) -> None:
    """Continuing ends with its own code, and no checkpoint is set aside; the same command then goes on from it."""
    runs = Runs(
        server,
        TRAINING,
        "tiny_pipeline:SMALL",
        num_stages=3,
    )
    workspace = tmp_path / "workspace"
    assert runs.run(workspace)[0] == 0
    expected, checkpoints = left_by(workspace), sorted(workspace.glob("checkpoints/training/*/checkpoint-*"))
    for path in (*workspace.glob("checkpoints/training/*.json"), *workspace.glob("results/*/model.safetensors")):
        path.unlink()
    paths = [word for path in checkpoints for word in ("-P", str(path / "model.safetensors"))]
    ended, output, lines = runs.traced(workspace, *paths, "-e", f"inject=openat:error={error}")
    assert any("INJECTED" in line for line in lines)
    assert ended == code, output
    assert "\nhint: " in output
    assert sorted(workspace.glob("checkpoints/training/*/checkpoint-*")) == checkpoints
    assert runs.run(workspace)[0] == 0
    assert left_by(workspace) == expected
