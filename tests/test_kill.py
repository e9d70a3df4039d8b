"""The promise itself: a real run, killed again and again with SIGKILL, ends with the bytes of a run never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from forks import Server, serving

from pipeline.report.sheet import REPORT_NAME, SHEET_NAME

_SEED = 20261121
_WORDS = ("run", "--profile", "quick", "--set", "runtime.sample_log=true", "--workspace")


def _command(workspace: Path, *options: str) -> list[str]:
    return [sys.executable, *options, "-m", "pipeline", *_WORDS, str(workspace)]


def _kill_when(server: Server, workspace: Path, is_reached: Callable[[], bool]) -> None:
    """Start the run, and kill its whole process group as soon as a moment is reached."""
    fork = server.start([*_WORDS, str(workspace)])
    with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended: then it has another code
        process = psutil.Process(fork.pid)
        while process.is_running() and not is_reached():
            with suppress(psutil.TimeoutExpired):
                process.wait(timeout=0.001)
        os.killpg(fork.pid, signal.SIGKILL)
    code, output = fork.end()
    assert code == -signal.SIGKILL, f"the run ended before it could be killed:\n{output}"
    assert fork.orphans() == []


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a JSON lines file; a torn last line is what a kill may leave."""
    text = path.read_text() if path.exists() else ""
    yield from (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))


def _num_events(workspace: Path, stage: str, kind: str) -> int:
    events = _lines(workspace / "logs" / "events.jsonl")
    return sum(event["stage"] == stage and event["kind"] == kind for event in events)


def _last_step(workspace: Path) -> int:
    steps = [line["global_step"] for line in _lines(workspace / "logs" / "samples.jsonl")]
    return steps[-1] if steps else 0


def _moments(workspace: Path) -> Iterator[Callable[[], bool]]:
    """Give ten seeded moments: two while data is generated, five in training, three in evaluation."""
    choose = random.Random(_SEED)  # noqa: S311 - a seed, not a secret

    def have_chunks(count: int) -> bool:
        return sum(1 for _ in workspace.glob("datasets/*/*.safetensors")) >= count

    for count in sorted(choose.sample(range(1, 12), 2)):
        yield lambda count=count: have_chunks(count)  # type: ignore[misc]
    for step in sorted(choose.sample(range(1, 30), 5)):
        yield lambda step=step: _last_step(workspace) >= step  # type: ignore[misc]
    for kind in ("decision", "stage_started", "progress"):
        before = _num_events(workspace, "evaluation", kind)
        yield lambda kind=kind, before=before: _num_events(workspace, "evaluation", kind) > before  # type: ignore[misc]


def _data_set(workspace: Path) -> dict[str, bytes]:
    paths = [path for path in (workspace / "datasets").rglob("*") if path.is_file()]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in paths}


def _results(workspace: Path) -> dict[str, bytes]:
    """Return what came out; a report tells of the way there, and is another one after each kill."""
    paths = [path for path in (workspace / "results").glob("*/*") if path.is_file()]
    return {path.name: b"" if path.name in (REPORT_NAME, SHEET_NAME) else path.read_bytes() for path in paths}


def _record(workspace: Path, stage: str) -> dict[str, Any]:
    [path] = (workspace / "checkpoints" / stage).glob("*.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _history(workspace: Path) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return (epoch, step, sample ids) of the final model's history: the last line of each step counts."""
    steps = {line["global_step"]: line for line in _lines(workspace / "logs" / "samples.jsonl")}
    return [(steps[step]["epoch"], step, tuple(steps[step]["sample_ids"])) for step in sorted(steps)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the workspace of a run that nothing interrupted, started by an interpreter of its own."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(_command(workspace), check=True, capture_output=True)
    return workspace


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the workspace of a run that was killed ten times, and then left to end."""
    workspace = tmp_path_factory.mktemp("killed")
    with serving(tmp_path_factory.mktemp("server") / "output") as server:
        for moment in _moments(workspace):
            _kill_when(server, workspace, moment)
        code, output = server.run([*_WORDS, str(workspace)])
    assert code == 0, output
    return workspace


def test_data_set_is_byte_identical(undisturbed: Path, killed: Path) -> None:
    """Every chunk, the manifest and the annotations have the same names and bytes, and nothing else lies there."""
    assert _data_set(killed) == _data_set(undisturbed)


def test_weights_and_predictions_are_byte_identical(undisturbed: Path, killed: Path) -> None:
    """Final weights and predictions are the same bytes."""
    assert set(_results(undisturbed)) >= {"model.safetensors", "predictions.json"}
    assert _results(killed) == _results(undisturbed)


def test_metrics_are_identical(undisturbed: Path, killed: Path) -> None:
    """All figures of evaluation and the whole validation history of training are equal."""
    assert _record(killed, "evaluation")["metrics"] == _record(undisturbed, "evaluation")["metrics"]
    assert _record(killed, "training")["metrics"]["history"] == _record(undisturbed, "training")["metrics"]["history"]


def test_no_sample_is_trained_twice_or_left_out(undisturbed: Path, killed: Path) -> None:
    """The history of the final model holds each sample once in each epoch, in the order of the undisturbed run."""
    history = _history(killed)
    assert history == _history(undisturbed)
    assert [step for _, step, _ in history] == list(range(1, len(history) + 1))
    for epoch in {epoch for epoch, _, _ in history}:
        ids = sorted(sample for each, _, samples in history if each == epoch for sample in samples)
        assert ids == list(range(240))


def test_next_run_does_nothing(killed: Path) -> None:
    """After all that, the same command skips every stage and loads no torch."""
    before = {path: path.stat().st_mtime_ns for path in killed.rglob("*") if path.suffix in {".safetensors", ".json"}}
    done = subprocess.run(
        [*_command(killed, "-X", "importtime"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {stage["action"] for stage in json.loads(done.stdout)["stages"]} == {"skip"}
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pipeline.orchestrator" in loaded
    assert not loaded & {"torch", "numpy", "aggdraw", "PIL", "rich"}
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_nothing_is_left_behind(killed: Path) -> None:
    """No temporary of a killed writer survives the next run."""
    assert [path for path in killed.rglob("*") if path.name.startswith(".tmp-")] == []
