"""Data generation with worker processes: killed, stopped, with one or four of them, the bytes are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from fakes import make_context
from generate import LARGE, data_bytes, environment, make_stage

from pipeline.config import RuntimeOptions
from stages.data_generation import processes


def _execute(root: Path, *, num_workers: int) -> None:
    stage = make_stage(**LARGE)
    stage.execute(make_context(stage, root, runtime=RuntimeOptions(num_workers=num_workers)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace with the large data set, drawn by one process without interruption."""
    root = tmp_path_factory.mktemp("large")
    _execute(root, num_workers=1)
    return root


def test_any_number_of_workers_gives_the_samedata_bytes(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process or four: not a byte differs."""
    pids = []
    start = processes._start

    def start_and_tell(task: Callable[[Any], Any]) -> Any:
        worker = start(task)
        pids.append(worker.process.pid)
        return worker

    monkeypatch.setattr(processes, "_start", start_and_tell)
    _execute(tmp_path, num_workers=4)
    assert len(set(pids)) == 4
    assert data_bytes(tmp_path) == data_bytes(large)


class _Generation(NamedTuple):
    process: subprocess.Popen[str]
    folder: Path

    def num_chunks(self) -> int:
        return len(list(self.folder.glob("*/[!.]*.safetensors")))

    def wait_until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.001)
            assert self.process.poll() is None, self.process.communicate()


def _start(root: Path, *, num_workers: int) -> _Generation:
    script = Path(__file__).with_name("generate.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(root), json.dumps(LARGE), str(num_workers)],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return _Generation(process, root / "datasets")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_generation_goes_on_with_the_missing_chunks(large: Path, tmp_path: Path, num_workers: int) -> None:
    """Killed three times with its workers, wherever that falls, it ends with the bytes of a run never killed."""
    for least in (2, 10, 18):
        generation = _start(tmp_path, num_workers=num_workers)
        generation.wait_until(lambda least=least, generation=generation: generation.num_chunks() >= least)  # type: ignore[misc]
        os.killpg(generation.process.pid, signal.SIGKILL)
        generation.process.communicate()
    stage = make_stage(**LARGE)
    num_there = generation.num_chunks()
    assert stage.partial_work(make_context(stage, tmp_path)) == f"{num_there} of 42 chunks"
    result = stage.execute(make_context(stage, tmp_path))
    assert result.metrics["new_chunks"] == 42 - num_there
    left = data_bytes(tmp_path)
    assert {name: data for name, data in left.items() if ".tmp-" not in name} == data_bytes(large)


def test_a_killed_worker_leaves_no_trace(large: Path, tmp_path: Path) -> None:
    """When workers are killed the generation goes on with others, to the bytes of a run in which none was."""
    generation = _start(tmp_path, num_workers=2)
    for least in (3, 12):
        generation.wait_until(lambda least=least: generation.num_chunks() >= least)  # type: ignore[misc]
        children = psutil.Process(generation.process.pid).children()
        workers = [child for child in children if "--multiprocessing-fork" in child.cmdline()]
        workers[0].kill()
    _, errors = generation.process.communicate()
    assert generation.process.returncode == 0, errors
    assert data_bytes(tmp_path) == data_bytes(large)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_stops_it_between_chunks(large: Path, tmp_path: Path, signal_number: int) -> None:
    """As a terminal or a batch system sends it: the chunks in flight are finished, and nothing half-done is left."""
    generation = _start(tmp_path, num_workers=2)
    generation.wait_until(lambda: generation.num_chunks() >= 3)
    os.killpg(generation.process.pid, signal_number)
    _, errors = generation.process.communicate()
    assert generation.process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 75}[signal.Signals(signal_number)], (
        errors
    )
    assert f"{generation.num_chunks()} of 42 chunks" in errors
    assert "Traceback" not in errors
    left = data_bytes(tmp_path)
    assert left.items() < data_bytes(large).items()


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    """When the parent alone is killed, its workers leave by themselves."""
    generation = _start(tmp_path, num_workers=2)
    generation.wait_until(lambda: generation.num_chunks() >= 1)
    children = psutil.Process(generation.process.pid).children(recursive=True)
    assert len(children) >= 2
    generation.process.kill()
    generation.process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
