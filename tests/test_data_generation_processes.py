"""Worker processes: all work is done, errors come home, and a dead worker is missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.errors import ResourceExhausted, StageFailed
from pipeline.interrupts import StopFlag
from stages.data_generation.processes import map_in_processes


def _square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def _fail_at_three(number: int) -> int:
    if number == 3:
        raise ResourceExhausted("the disk is full", hint="free some space")
    return number


def _die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _signals(_: int) -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def _touch(path: Path) -> Path:
    path.touch()
    return path


def block(path: Path) -> None:
    """Say that work has begun, and never end."""
    path.touch()
    threading.Event().wait()


def test_everything_is_done_once_by_several_processes() -> None:
    """Each item gives one result, from processes that are not this one."""
    results = list(map_in_processes(_square, range(20), num_workers=2, stop=StopFlag()))
    assert sorted(number for number, _ in results) == [number * number for number in range(20)]
    assert os.getpid() not in {pid for _, pid in results}


def test_no_more_processes_than_items() -> None:
    """A single item takes a single process; none takes none."""
    assert len(list(map_in_processes(_square, [2], num_workers=8, stop=StopFlag()))) == 1
    assert list(map_in_processes(_square, [], num_workers=8, stop=StopFlag())) == []


def test_an_error_comes_home_as_it_was_raised() -> None:
    """Type, message and hint of what a task raised survive the way."""
    with pytest.raises(ResourceExhausted, match="the disk is full") as caught:
        list(map_in_processes(_fail_at_three, range(6), num_workers=2, stop=StopFlag()))
    assert caught.value.hint == "free some space"


def test_a_dead_worker_fails_the_stage() -> None:
    """A worker that is killed (as the kernel does for want of memory) is named with what it was doing; no hang."""
    with pytest.raises(StageFailed, match="exit code -9 at 3") as caught:
        list(map_in_processes(_die_at_three, range(6), num_workers=2, stop=StopFlag()))
    assert "num_workers" in caught.value.hint


def test_a_stop_lets_what_is_in_flight_end(tmp_path: Path) -> None:
    """After a stop nothing new is begun, and all that was done is given out."""
    stop = StopFlag()
    paths = [tmp_path / str(number) for number in range(50)]
    results = []
    for path in map_in_processes(_touch, paths, num_workers=2, stop=stop):
        results.append(path)
        stop.set(signal.SIGINT)
    assert 1 <= len(results) <= 4
    assert sorted(tmp_path.iterdir()) == sorted(results)


def test_signals_to_the_group_do_not_reach_workers() -> None:
    """They are blocked from the first moment of a worker on; this process gets them as before."""
    before = _signals(0)
    (blocked,) = map_in_processes(_signals, [0], num_workers=1, stop=StopFlag())
    assert {signal.SIGINT, signal.SIGTERM} <= blocked
    assert _signals(0) == before


def test_no_worker_outlives_its_parent_not_even_at_work(tmp_path: Path) -> None:
    """When the parent alone is killed, its workers leave by themselves, in the middle of what they do."""
    code = f"""
from pathlib import Path
from pipeline.interrupts import StopFlag
from stages.data_generation.processes import map_in_processes
from test_data_generation_processes import block
list(map_in_processes(block, [Path({str(tmp_path)!r}) / name for name in "ab"], num_workers=2, stop=StopFlag()))
"""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(here), str(here.parent)))}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True) as parent:
        while len(list(tmp_path.iterdir())) < 2 and parent.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                parent.wait(timeout=0.001)
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    for process in alive:
        process.kill()
    assert len(children) >= 2
    assert alive == []
