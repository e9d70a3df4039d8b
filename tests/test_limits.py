"""Real limits: full, read-only and shrinking disks, few descriptors, little memory, a clock that goes back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy_command_line
from forks import Server, left_by, serving, temporaries
from resume import run_interrupted, run_to_the_end
from tiny_task import tiny_config
from toy_command_line import Call, actions

call = toy_command_line.call
TOY = "toy_pipeline:PIPELINE"
RUN = ("run", "--set", "numbers.count=40")
SMALL = "tiny_pipeline:SMALL"
TRAINING = ("run", "--set", "runtime.incremental=false", "--set", "runtime.checkpoint_interval_steps=1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give the process that starts runs."""
    with serving(tmp_path_factory.mktemp("server") / "output") as server:
        yield server


@pytest.fixture(scope="module")
def trained(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give what an undisturbed training leaves."""
    workspace = tmp_path_factory.mktemp("trained")
    code, output = server.run([*TRAINING, "--workspace", str(workspace)], pipeline=SMALL)
    assert code == 0, output
    return left_by(workspace)


@pytest.fixture(scope="module")
def added_up(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give what an undisturbed run of the toy pipeline leaves."""
    workspace = tmp_path_factory.mktemp("added_up")
    code, output = server.run([*RUN, "--workspace", str(workspace)], pipeline=TOY)
    assert code == 0, output
    return left_by(workspace)


def _require_recovery(server: Server, words: list[str], pipeline: str, expected: dict[str, bytes]) -> None:
    """Let the same command mend all, and once more do nothing."""
    workspace = Path(words[-1])
    code, output = server.run(words, pipeline=pipeline)
    assert code == 0, output
    assert left_by(workspace) == expected
    assert temporaries(workspace) == []
    code, output = server.run(words, pipeline=pipeline)
    assert (code, output.count("  SKIP  "), output.count("  RUN  ")) == (0, 4 if pipeline == TOY else 3, 0)
    assert server.run(["validate", "--deep", *words[1:]], pipeline=pipeline)[0] == 0


def _mount(*words: str) -> None:
    """Mount something, or skip aloud where that is not allowed."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let the tests mount: {done.stderr.strip()}")


@contextmanager
def _mounted(folder: Path, *words: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount: full and read-only disks are not tried here")
    _mount(*words, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_finished(server: Server, added_up: dict[str, bytes], tmp_path: Path) -> None:
    """Exit 6 with the bytes that were needed and are free; nothing half-done is left; with more room it goes on."""
    workspace = tmp_path / "workspace"
    words = [*RUN, "--workspace", str(workspace)]
    with _mounted(workspace, "-t", "tmpfs", "-o", "size=128k", "tmpfs"):
        code, output = server.run(words, pipeline=TOY)
        assert code == 6, output
        assert re.search(r"error\[E0601\]: .* \d+ bytes were to be written, \d+ bytes are free", output)
        assert "hint: free some space" in output
        assert temporaries(workspace) == []
        assert 0 < len(list(workspace.glob("datasets/*/*.json"))) < 40
        _mount("-o", "remount,size=8m", str(workspace))
        _require_recovery(server, words, TOY, added_up)


def test_a_disk_that_fills_up_stops_a_training(server: Server, trained: dict[str, bytes], tmp_path: Path) -> None:
    """The checkpoints there are stay; when there is room, training goes on from them to the same weights."""
    workspace, fifo = tmp_path / "workspace", tmp_path / "fifo"
    os.mkfifo(fifo)
    words = [*TRAINING, "--workspace", str(workspace)]
    with _mounted(workspace / "checkpoints", "-t", "tmpfs", "-o", "size=16m", "tmpfs"):
        fork = server.start(words, pause="save", fifo=fifo, pipeline=SMALL)
        with fifo.open("w"):
            free = shutil.disk_usage(workspace / "checkpoints").free
            (workspace / "checkpoints" / "filler").write_bytes(bytes(free - 8192))
        code, output = fork.end()
        assert code == 6, output
        assert "hint: free some space" in output
        assert temporaries(workspace) == []
        (workspace / "checkpoints" / "filler").unlink()
        assert "continues from" in server.run(["status", *words[1:]], pipeline=SMALL)[1]
        _require_recovery(server, words, SMALL, trained)


def test_a_full_disk_for_logs_is_told_once(server: Server, trained: dict[str, bytes], tmp_path: Path) -> None:
    """A run goes on to its end without its logs."""
    workspace = tmp_path / "workspace"
    words = [*TRAINING, "--set", "runtime.sample_log=true", "--workspace", str(workspace)]
    with _mounted(workspace / "logs", "-t", "tmpfs", "-o", "size=4k", "tmpfs"):
        code, output = server.run(words, pipeline=SMALL)
        assert code == 0, output
        said = " ".join(output.split())  # a long path is wrapped
        told = re.findall(r"warning: (\S+) cannot be written \(No space left on device\)", said)
        assert sorted(Path(path).name for path in told) == ["events.jsonl", "samples.jsonl", "small_training.log"]
        assert left_by(workspace) == trained


@pytest.mark.parametrize("part", [".", "checkpoints", "datasets", "results"])
def test_a_read_only_disk_is_told(server: Server, added_up: dict[str, bytes], tmp_path: Path, part: str) -> None:
    """Exit 6, naming what cannot be written; when it can be, the same command goes on."""
    workspace = tmp_path / "workspace"
    words = [*RUN, "--workspace", str(workspace)]
    with _mounted(workspace / part, "--bind", str(workspace / part)):
        _mount("-o", "remount,ro,bind", str(workspace / part))
        code, output = server.run(words, pipeline=TOY)
        assert code == 6, output
        assert f"error[E0606]: {workspace}" in output
        assert "Read-only file system" in output
    _require_recovery(server, words, TOY, added_up)


@pytest.mark.parametrize(
    ("limits", "hint"),
    [({"RLIMIT_FSIZE": 2048}, "ulimit -f"), *(({"RLIMIT_NOFILE": number}, "ulimit -n") for number in range(4, 9))],
    ids=str,
)
def test_a_limit_of_the_process_is_told(
    server: Server, added_up: dict[str, bytes], tmp_path: Path, limits: dict[str, int], hint: str
) -> None:
    """Exit 6 with the command that raises the limit; without it, the same command goes on."""
    words = [*RUN, "--workspace", str(tmp_path / "workspace")]
    code, output = server.run(words, pipeline=TOY, **limits)
    assert code == 6, output
    assert hint in output
    _require_recovery(server, words, TOY, added_up)


def test_too_little_memory_is_told_with_the_batch(server: Server, tmp_path: Path) -> None:
    """Exit 6, whoever it was that asked for the memory; with enough of it, the same command goes on."""
    settings = (
        "training.batch_size=2000",
        *(f"data_generation.{name}=2000" for name in ("dataset_size", "chunk_size")),
    )
    words = [*TRAINING, *(word for setting in settings for word in ("--set", setting)), "--workspace"]
    code, output = server.run([*words, str(tmp_path / "undisturbed")], pipeline=SMALL)
    assert code == 0, output
    workspace = tmp_path / "workspace"
    shutil.copytree(tmp_path / "undisturbed", workspace)
    shutil.rmtree(workspace / "checkpoints" / "training")
    code, output = server.run(
        [*words, str(workspace)], pipeline=SMALL, RLIMIT_AS=8 << 20
    )  # a batch takes as much, twice
    assert code == 6, output
    assert "memory" in output
    assert "--batch-size" in output
    _require_recovery(server, [*words, str(workspace)], SMALL, left_by(tmp_path / "undisturbed"))


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes back a day each time it is looked at."""
    now = [1.8e9]

    def earlier() -> float:
        now[0] -= 86_400
        return now[0]

    strftime = time.strftime
    monkeypatch.setattr(time, "time", earlier)
    monkeypatch.setattr(time, "time_ns", lambda: int(earlier() * 1e9))
    monkeypatch.setattr(time, "strftime", lambda form, moment=None: strftime(form, moment or time.localtime(earlier())))


@pytest.mark.usefixtures("backwards")
def test_a_clock_that_goes_back_changes_no_checkpoint(tmp_path: Path) -> None:
    """The newest is that of the highest step, rotation takes the oldest steps, and the end is the same."""
    options = {"checkpoint_interval_steps": 1, "keep_checkpoints": 2}
    for step in (4, 9, 12):
        assert run_interrupted(tmp_path / "stopped", tiny_config(), kill_after=step, **options)
        names = sorted(path.name for path in (tmp_path / "stopped").glob("checkpoints/training/*/checkpoint-*"))
        assert f"checkpoint-step{step - 1:06}" in names[-1]
    ended = run_to_the_end(tmp_path / "stopped", tiny_config(), **options)
    assert ended == run_to_the_end(tmp_path / "undisturbed", tiny_config())


@pytest.mark.usefixtures("backwards")
def test_a_clock_that_goes_back_changes_no_decision(call: Call) -> None:
    """Skipped is what verifies, mended is what does not, whatever the time says."""
    call("run")
    assert set(actions(call("run --json")).values()) == {"skip"}
    next(Path.cwd().glob("datasets/*/00000.json")).write_text("7")
    assert actions(call("run --json"))["numbers"] == "repair"
    assert set(actions(call("run --json")).values()) == {"skip"}


_PARTS = ("datasets", "checkpoints", "results")
_TOY_MOMENTS = ("numbers progress", "numbers stage_finished", "total info")
_MOMENTS = ("data_generation progress", "training stage_started", "training metrics", "save", "evaluation progress")


@pytest.mark.parametrize(("part", "is_moved"), [*((part, False) for part in (*_PARTS, "logs", ".")), (".", True)])
@pytest.mark.parametrize("moment", _TOY_MOMENTS)
def test_folders_that_go_during_a_run_are_made_again_or_told(
    server: Server, added_up: dict[str, bytes], tmp_path: Path, moment: str, part: str, is_moved: bool
) -> None:
    """Exit 0 or an error, never a skip of what is not there; the same command comes to the same bytes."""
    _take_away_during_a_run(server, RUN, TOY, moment, part, tmp_path, added_up, is_moved=is_moved)


@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("moment", _MOMENTS)
def test_folders_that_go_during_a_training_are_made_again_or_told(
    server: Server, trained: dict[str, bytes], tmp_path: Path, moment: str, part: str
) -> None:
    """The same for chunks that are being read and checkpoints that are being written."""
    _take_away_during_a_run(server, TRAINING, SMALL, moment, part, tmp_path, trained, is_moved=False)


def _take_away_during_a_run(
    server: Server,
    words: Sequence[str],
    pipeline: str,
    moment: str,
    part: str,
    tmp_path: Path,
    expected: dict[str, bytes],
    *,
    is_moved: bool,
) -> None:
    workspace, fifo = tmp_path / "workspace", tmp_path / "fifo"
    os.mkfifo(fifo)
    words = [*words, "--workspace", str(workspace)]
    fork = server.start(words, pause=moment, fifo=fifo, pipeline=pipeline)
    with fifo.open("w"):
        if is_moved and (workspace / part).exists():
            (workspace / part).rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(workspace / part, ignore_errors=True)
    code, output = fork.end()
    assert code in {0, 1 if "changed while it ran" in output else 4, 4}, output
    assert code == 0 or "\nhint: " in output
    _require_recovery(server, words, pipeline, expected)
