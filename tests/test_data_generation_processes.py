"""Worker processes: all work is done, errors come home, and a dead worker is missed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
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
        raise ResourceExhausted("the disk is full", code="T0001", hint="free some space")
    return number


def _die_while_deadly(path: Path) -> Path:
    """Die as often as the file beside `path` says."""
    deadly = path.with_suffix(".deadly")
    if deadly.exists() and (num_left := int(deadly.read_text())):
        deadly.write_text(str(num_left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def _stop_once(path: Path) -> Path:
    """Stop this process for ever; the next one that is given `path` goes on."""
    stopped = path.with_suffix(".stopped")
    if not stopped.exists():
        stopped.touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return path


def _stop_or_fail(path: Path) -> Path:
    if path.name == "a":
        return _stop_once(path)
    while not path.with_name("a.stopped").exists():
        os.sched_yield()
    raise ResourceExhausted("the disk is full", code="T0001")


def _clock_of(folder: Path) -> Callable[[], float]:
    """Return a clock that stands still but for an hour whenever a process is about to stop itself."""
    return lambda: 3600.0 * len(list(folder.glob("*.stopped")))


def _trackers() -> list[psutil.Process]:
    """Return the one child that Python itself keeps: multiprocessing's resource tracker."""
    return [child for child in psutil.Process().children() if "resource_tracker" in " ".join(child.cmdline())]


def _signals(_: int) -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def _touch(path: Path) -> Path:
    path.touch()
    return path


def block(path: Path) -> None:
    """Say that work has begun, and never end."""
    path.touch()
    threading.Event().wait()


def hold(path: Path) -> None:
    """Say that work has begun, and hang in C with Python's lock held, so that no thread of this process ever runs."""
    path.touch()
    ctypes.PyDLL(None).pause()


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


def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    """A worker that is killed (as the kernel does for want of memory) costs a warning; its item is made by another."""
    warnings: list[str] = []
    items = [tmp_path / name for name in "abcdef"]
    (tmp_path / "c.deadly").write_text("2")
    results = list(map_in_processes(_die_while_deadly, items, num_workers=2, stop=StopFlag(), warn=warnings.append))
    assert sorted(results) == sorted(items)
    assert warnings == [f"{tmp_path}/c: its worker process died with exit code -9; another one makes it again"] * 2


def test_an_item_that_kills_three_workers_fails_the_stage(tmp_path: Path) -> None:
    """It is no bad luck then: the item is named, as it is called, and what else is in flight is done."""
    warnings: list[str] = []
    items = [tmp_path / name for name in "abcdef"]
    (tmp_path / "c.deadly").write_text("3")
    with pytest.raises(
        StageFailed, match=r"^chunk c: its worker process died with exit code -9, and 2 before"
    ) as caught:
        list(
            map_in_processes(
                _die_while_deadly,
                items,
                num_workers=2,
                stop=StopFlag(),
                warn=warnings.append,
                name=lambda path: f"chunk {path.name}",
            )
        )
    assert "num_workers" in caught.value.hint
    assert len(warnings) == 2
    assert psutil.Process().children(recursive=True) == _trackers()


def test_a_hung_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    """A stopped worker answers no more and heeds no signal but SIGKILL: its item is made by another one."""
    warnings: list[str] = []
    results = list(
        map_in_processes(
            _stop_once,
            [tmp_path / "a", tmp_path / "b"],
            num_workers=1,
            stop=StopFlag(),
            timeout_seconds=300,
            warn=warnings.append,
            clock=_clock_of(tmp_path),
        )
    )
    assert results == [tmp_path / "a", tmp_path / "b"]
    assert [text.partition(": ")[2] for text in warnings] == [
        "its worker process gave no answer within 300 seconds; another one makes it again"
    ] * 2
    assert psutil.Process().children(recursive=True) == _trackers()


def test_a_stop_does_not_wait_for_a_hung_worker(tmp_path: Path) -> None:
    """Its item is left for the next run, and no process is left behind."""
    warnings: list[str] = []
    stop = StopFlag()
    clock = _clock_of(tmp_path)

    def stopping_clock() -> float:
        now = clock()
        if now:
            stop.set(signal.SIGTERM)
        return now

    items = [tmp_path / "a", tmp_path / "b"]
    options = {"num_workers": 1, "stop": stop, "warn": warnings.append, "clock": stopping_clock}
    assert list(map_in_processes(_stop_once, items, **options)) == []  # type: ignore[arg-type]
    assert [text.rpartition("; ")[2] for text in warnings] == ["it is left for the next run"]
    assert psutil.Process().children(recursive=True) == _trackers()


def test_a_hung_worker_does_not_use_up_the_grace(tmp_path: Path) -> None:
    """After SIGTERM it is given up half-way to SIGKILL, so that the run still ends by itself."""
    warnings: list[str] = []
    seconds = 0.0

    def ticking() -> float:
        nonlocal seconds
        if (tmp_path / "a.stopped").exists():
            stop.set(signal.SIGTERM)
            seconds += 4.0
        return seconds

    stop = StopFlag(clock=lambda: seconds)
    options = {"num_workers": 1, "stop": stop, "grace_seconds": 30.0, "warn": warnings.append, "clock": ticking}
    assert list(map_in_processes(_stop_once, [tmp_path / "a"], **options)) == []  # type: ignore[arg-type]
    told = "its worker process was still at work when half of the 30 seconds after SIGTERM were over"
    assert warnings == [f"{tmp_path}/a: {told}; it is left for the next run"]


def test_an_error_does_not_wait_for_a_hung_worker(tmp_path: Path) -> None:
    """What a task raised comes home although another worker will never answer, and both are gone."""
    with pytest.raises(ResourceExhausted, match="the disk is full"):
        list(
            map_in_processes(
                _stop_or_fail,
                [tmp_path / "a", tmp_path / "b"],
                num_workers=2,
                stop=StopFlag(),
                clock=_clock_of(tmp_path),
            )
        )
    assert psutil.Process().children(recursive=True) == _trackers()


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
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= blocked
    assert _signals(0) == before


@pytest.mark.parametrize("what", ["block", "hold"])
def test_no_worker_outlives_its_parent_not_even_at_work(tmp_path: Path, what: str) -> None:
    """When the parent alone is killed, its workers leave, in the middle of what they do, and also when they hang."""
    code = f"""
from pathlib import Path
from pipeline.interrupts import StopFlag
from stages.data_generation.processes import map_in_processes
from test_data_generation_processes import {what}
list(map_in_processes({what}, [Path({str(tmp_path)!r}) / name for name in "ab"], num_workers=2, stop=StopFlag()))
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
