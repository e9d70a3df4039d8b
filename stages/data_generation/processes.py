"""Worker processes that never outlive their parent, finish what they hold when it stops, and are missed when they die.

`concurrent.futures` does not fit: when one worker is killed, its executor ends the others with SIGTERM, which ours must
not heed: a terminal or a batch system sends signals to the whole group, and the chunks in flight are to be finished.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.resource_tracker import ensure_running
from typing import Any, Generic, TypeVar

from pipeline.errors import StageFailed
from pipeline.interrupts import StopFlag

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class _Worker(Generic[Item]):
    process: SpawnProcess
    connection: Connection
    item: Item | None = None


def map_in_processes(
    task: Callable[[Item], Result], items: Sequence[Item], *, num_workers: int, stop: StopFlag
) -> Iterator[Result]:
    """Yield `task(item)` for each item, in the order in which they are done, by `num_workers` spawned processes.

    Once a stop is asked for, no further items are begun, and the iterator ends when those in flight are done.

    Raises:
        StageFailed: a worker died.
        Exception: what `task` raised; the items in flight are done by then.
    """
    waiting = iter(items)
    workers = [_start(task) for _ in range(min(num_workers, len(items)))]
    try:
        for worker in workers:
            _hand_out(worker, waiting, stop)
        while busy := {worker.connection: worker for worker in workers if worker.item is not None}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]  # `wait` gives back what it was given
                result = _receive(worker)
                _hand_out(worker, waiting, stop)
                yield result
    finally:
        for worker in workers:
            worker.connection.close()  # the worker reads the end of its work and leaves
        for worker in workers:
            worker.process.join()


def _start(task: Callable[[Any], Any]) -> _Worker[Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(task, theirs), daemon=True)
    # A child inherits the mask: signals to the group never reach it, not even while it is starting. Python's resource
    # tracker comes first, because its own start, otherwise part of `process.start`, takes them out of the mask again.
    ensure_running()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    theirs.close()
    return _Worker(process, ours)


def _hand_out(worker: _Worker[Item], waiting: Iterator[Item], stop: StopFlag) -> None:
    worker.item = None if stop.is_set else next(waiting, None)
    if worker.item is not None:
        with suppress(OSError):  # a worker that is dead is met when its result is waited for
            worker.connection.send(worker.item)


def _receive(worker: _Worker[Any]) -> Any:
    try:
        result, error = worker.connection.recv()
    except (EOFError, OSError) as lost:
        worker.process.join()
        raise StageFailed(
            f"a worker process died with exit code {worker.process.exitcode} at {worker.item}",
            hint="-9 means that it was killed, mostly for want of memory: use fewer workers (runtime.num_workers) or "
            "smaller chunks; what is done is kept",
        ) from lost
    if error is not None:
        raise error
    return result


def _work(task: Callable[[Any], Any], connection: Connection) -> None:
    """Do what comes through the pipe until it ends; runs in the worker process."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            item = connection.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = (task(item), None)
            except Exception as error:  # not lost: it is raised again in the parent
                answer = (None, error)
            connection.send(answer)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
