"""Signals at every stage of real runs: each ends at a safe point or at once, leaves no process, and is continued."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from forks import Fork, Server, left_by, serving
from resume import StepReporter, run_to_the_end
from tiny_task import tiny_config, tiny_stage

from pipeline import files
from pipeline.disk import Disk
from pipeline.errors import Interrupted
from pipeline.interrupts import StopFlag

RUN = ("run", "--set", "runtime.checkpoint_interval_steps=1")
SMALL = "tiny_pipeline:SMALL"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give the process that starts runs."""
    with serving(tmp_path_factory.mktemp("server") / "output") as server:
        yield server


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe at which a run waits."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give all that a run without signals leaves for its user."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    code, output = server.run([*RUN, "--workspace", str(workspace)], pipeline=SMALL)
    assert code == 0, output
    found = left_by(workspace)
    assert any(name.endswith("model.safetensors") for name in found)
    return found


def _send(fork: Fork, fifo: Path, *numbers: signal.Signals, num_processes: int = 1) -> tuple[int, str]:
    """Send signals to all processes of a run that waits at `fifo`, as a terminal does; return how it ended.

    The same signal twice is sent until the run ends: two that come together are one to a process.
    """
    with fifo.open("w"), suppress(ProcessLookupError):  # opens when the run waits
        assert len(fork.processes()) >= num_processes
        for number in numbers:
            os.killpg(fork.pid, number)
        while len(numbers) > len(set(numbers)):
            os.killpg(fork.pid, numbers[-1])
            with suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
                psutil.Process(fork.pid).wait(timeout=0.05)
    return fork.end()


_HUP, _INT, _TERM, _KILL = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL
# In the order in which a run comes to them; two equal ones leave at once.
_MOMENTS = [
    ("data_generation progress", (_TERM,), 75),
    ("training stage_started", (_INT,), 130),
    ("training metrics", (_HUP, _TERM), 75),
    ("training metrics", (_INT, _INT), 130),
    ("save", (_KILL,), -9),
    ("save", (_INT,), 130),
    ("save", (_TERM,), 75),
    ("save", (_INT, _INT), 130),
    ("evaluation progress", (_HUP, _INT), 130),
    ("evaluation progress", (_TERM,), 75),
    ("evaluation progress", (_INT, _INT), 130),
]


def test_a_run_that_is_stopped_everywhere_ends_as_one_that_never_was(
    server: Server, fifo: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """Each stop has its code, tells the command that goes on, and leaves no process; in the end not a byte differs.

    While a run waits in a save, which is made in the background, its training goes on.
    """
    words = [*RUN, "--workspace", str(tmp_path / "stopped")]
    for pause, numbers, code in _MOMENTS:
        fork = server.start(words, pause=pause, fifo=fifo, pipeline=SMALL)
        ended, output = _send(fork, fifo, *numbers)
        assert ended == code, f"{pause}: {output}"
        if numbers not in ((_INT, _INT), (_KILL,)):
            assert f": stopped by {numbers[-1].name} at" in output
            assert f"hint: to go on from there, run: {shlex.join(['pipeline', *words])}\n" in output
        assert fork.orphans() == []
    code, output = server.run(words, pipeline=SMALL)
    assert code == 0, output
    assert left_by(tmp_path / "stopped") == undisturbed
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")]
    code, output = server.run(words, pipeline=SMALL)
    assert (code, output.count("  SKIP  ")) == (0, 3)


@pytest.mark.parametrize(
    "numbers",
    [(_INT,), (_TERM,), (_HUP, _TERM), (_INT, _INT)],
    ids=lambda numbers: " ".join(each.name for each in numbers),
)
def test_a_run_with_data_workers_leaves_none_of_them(
    server: Server, fifo: Path, tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """They get the signals too; what is in flight is finished, or, after a second Ctrl+C, left to the next run."""
    settings = ("data_generation.dataset_size=3000", "data_generation.chunk_size=500", "runtime.num_workers=2")
    words = ["run", "--until", "data", *(word for setting in settings for word in ("--set", setting))]
    words += ["--workspace", str(tmp_path / "stopped")]
    fork = server.start(words, pause="data_generation progress", fifo=fifo)
    code, output = _send(fork, fifo, *numbers, num_processes=3)
    assert code == (75 if _TERM in numbers else 130), output
    assert (f": stopped by {numbers[-1].name} at" in output) == (numbers != (_INT, _INT))
    assert fork.orphans() == []


class _SlowDisk(Disk):
    """A disk on which a checkpoint takes six seconds, by a clock that nobody waits for."""

    now = 100.0

    def rename(self, source: Path, target: Path) -> None:
        """Take six seconds for a folder."""
        self.now += 6 if source.is_dir() else 0
        super().rename(source, target)


@pytest.mark.parametrize(("grace", "num_lost"), [(30.0, 0), (10.0, 0), (2.0, 2)])
def test_sigterm_saves_only_what_fits_before_sigkill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: float, num_lost: int
) -> None:
    """With too little grace the last checkpoint stands; either way the rerun comes to the same bytes."""
    expected = run_to_the_end(tmp_path / "undisturbed", tiny_config())
    disk = _SlowDisk()
    with monkeypatch.context() as patch:
        patch.setattr(files, "disk", disk)
        stop = StopFlag(clock=lambda: disk.now)
        reporter = StepReporter(stop=stop, stop_after=7)
        stage, context = tiny_stage(
            tmp_path / "stopped",
            reporter=reporter,
            stop=stop,
            sample_log=True,
            grace_seconds=grace,
            background_saves=False,
        )
        with pytest.raises(Interrupted) as caught:
            stage.execute(context)
    told = f"it goes on from the checkpoint of step 5, and {num_lost} steps will be done again"
    assert (told in caught.value.message) == bool(num_lost)
    assert stage.partial_work(context).endswith(f"(step {7 - num_lost} of 15)")
    assert run_to_the_end(tmp_path / "stopped", tiny_config()) == expected


TOY = (sys.executable, "-m", "pipeline", "run", "--set", "numbers.count=6")


@pytest.fixture
def toy() -> dict[str, str]:
    """The environment of a run of the toy pipeline."""
    folders = (Path(__file__).parent, Path(__file__).parent.parent)
    path = os.pathsep.join(map(str, folders))
    return {**os.environ, "PYTHONPATH": path, "PIPELINE_PIPELINE": "toy_pipeline:PIPELINE"}


def test_a_closed_terminal_stops_nothing(tmp_path: Path, fifo: Path, toy: dict[str, str]) -> None:
    """The run, with its bar on that terminal, goes on to its end and its logs with it."""
    master, slave = pty.openpty()
    # Opened by the leader of a new session, a terminal becomes that session's own.
    terminal = os.ttyname(slave)
    process = subprocess.Popen(
        ["bash", "-c", f"exec {shlex.join(TOY)} <{terminal} >{terminal} 2>&1"],
        cwd=tmp_path,
        env={**toy, "TERM": "xterm", "TOY_PAUSE": str(fifo)},
        start_new_session=True,
    )
    with fifo.open("w"):
        os.close(slave)
        os.close(master)  # whoever leads the session of a terminal gets SIGHUP when it goes
    while process.poll() is None:
        with suppress(OSError):  # nobody waits at it
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
    assert process.returncode == 0
    assert '"run_finished"' in (tmp_path / "logs" / "events.jsonl").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("streams", "code"), [("| true", 0), ("2>&1 | true", 0), (">&- 2>&-", 0), ("2> /dev/full", 0), ("> /dev/full", 6)]
)
def test_nobody_needs_to_read_what_a_run_says(tmp_path: Path, toy: dict[str, str], streams: str, code: int) -> None:
    """Only results that cannot be written are an error, and even then all is done."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(TOY)} {streams}"],
        cwd=tmp_path,
        env=toy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert '"run_finished"' in (tmp_path / "logs" / "events.jsonl").read_text().splitlines()[-1]
    assert len(list(tmp_path.glob("results/*/total.json"))) == 1
