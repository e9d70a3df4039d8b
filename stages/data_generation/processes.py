"""Worker processes that never outlive their parent, finish what they hold when it stops, and are replaced when lost.

`concurrent.futures` does not fit: when one worker is killed, its executor ends the others with SIGTERM, which ours must
not heed: a terminal or a batch system sends signals to the whole group, and the chunks in flight are to be finished.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from pipeline.errors import StageFailed
from pipeline.interrupts import StopFlag
from pipeline.processes import die_with_parent, end_process, start_process

_MAX_LOST = 3  # workers with one item: one may have bad luck, three have a reason
_LOOK_SECONDS = 1.0  # between looks at the clock
_LEAVING_SECONDS = 10.0  # a worker without work leaves in milliseconds
_HINT = (
    "exit code -9 means that it was killed, mostly for want of memory: use fewer workers (runtime.num_workers) or "
    "smaller chunks; a chunk that needs longer wants a higher runtime.worker_timeout_seconds; what is done is kept"
)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class _Job(Generic[Item]):
    """An item, and how many workers were lost with it."""

    item: Item
    num_lost: int = 0


@dataclass
class _Worker(Generic[Item]):
    process: SpawnProcess
    connection: Connection
    job: _Job[Item] | None = None
    deadline: float = 0.0


class _LostError(Exception):
    """A worker will never answer."""


def map_in_processes(
    task: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    stop: StopFlag,
    timeout_seconds: float = 300.0,
    grace_seconds: float = math.inf,
    warn: Callable[[str], None] = lambda _: None,
    name: Callable[[Item], str] = str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Result]:
    """Yield `task(item)` for each item, in the order in which they are done, by `num_workers` spawned processes.

    A worker that dies, or takes longer than `timeout_seconds` for an item, is replaced, which `warn` is told, and the
    new one is given the same item, which is called `name(item)` then. Once a stop is asked for, no further items are
    begun and no workers replaced, and the iterator ends when those in flight are done or given up; after SIGTERM that
    is within half of `grace_seconds`, at the end of which SIGKILL may come.

    Raises:
        StageFailed: three workers were lost with the same item.
        Exception: what `task` raised; the items in flight are done, or given up, by then.
    """
    pool = _Pool(
        task,
        items,
        stop=stop,
        timeout_seconds=timeout_seconds,
        grace_seconds=grace_seconds,
        warn=warn,
        name=name,
        clock=clock,
    )
    try:
        pool.start(min(num_workers, len(items)))
        while pool.is_busy:
            yield from pool.results()
    finally:
        pool.close()


class _Pool(Generic[Item, Result]):
    """Workers, what each of them is at, and what is still to be given to them."""

    def __init__(
        self,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        stop: StopFlag,
        timeout_seconds: float,
        grace_seconds: float,
        warn: Callable[[str], None],
        name: Callable[[Item], str],
        clock: Callable[[], float],
    ) -> None:
        self._task = task
        self._waiting = iter([_Job(item) for item in items])
        self._stop = stop
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._warn = warn
        self._name = name
        self._clock = clock
        self._workers: list[_Worker[Item]] = []

    @property
    def is_busy(self) -> bool:
        """Whether a worker has not answered yet."""
        return any(worker.job is not None for worker in self._workers)

    def start(self, num_workers: int) -> None:
        """Start the workers, all before the first is given its item: that takes a second, for all of them together."""
        for _ in range(num_workers):
            self._workers.append(_start(self._task))
        for worker in self._workers:
            self._hand_out(worker, self._next_job())

    def results(self) -> Iterator[Result]:
        """Wait a while for answers, yield them, and replace the workers that will give none."""
        busy = [worker for worker in self._workers if worker.job is not None]
        patience = min(self._patience(worker) for worker in busy)
        answered = wait([worker.connection for worker in busy], timeout=max(0.0, min(patience, _LOOK_SECONDS)))
        for worker in busy:
            try:
                if worker.connection in answered:
                    result = _receive(worker)
                elif self._patience(worker) <= 0:
                    raise _LostError(self._told(worker))
                else:
                    continue
            except _LostError as lost:
                self._replace(worker, lost=lost)
                continue
            self._hand_out(worker, self._next_job())
            yield result

    def close(self) -> None:
        """Let all workers finish what they are at, and see to it that they leave."""
        for worker in self._workers:
            worker.connection.close()  # the worker reads the end of its work
        for worker in self._workers:
            _end(worker, patience=self._patience(worker) if worker.job is not None else _LEAVING_SECONDS)

    def _patience(self, worker: _Worker[Item]) -> float:
        return min(worker.deadline - self._clock(), self._stop.seconds_left(self._grace_seconds / 2))

    def _told(self, worker: _Worker[Item]) -> str:
        if self._clock() >= worker.deadline:
            return f"gave no answer within {self._timeout_seconds:g} seconds"
        return f"was still at work when half of the {self._grace_seconds:g} seconds after SIGTERM were over"

    def _next_job(self) -> _Job[Item] | None:
        return None if self._stop.is_set else next(self._waiting, None)

    def _hand_out(self, worker: _Worker[Item], job: _Job[Item] | None) -> None:
        worker.job, worker.deadline = job, self._clock() + self._timeout_seconds
        if job is not None:
            with suppress(OSError):  # a worker that is dead is met when its result is waited for
                worker.connection.send(job.item)

    def _replace(self, worker: _Worker[Item], *, lost: _LostError) -> None:
        job = worker.job
        assert job is not None
        self._workers.remove(worker)
        _end(worker, patience=0.0)
        told = f"{self._name(job.item)}: its worker process {lost}"
        if self._stop.is_set:
            self._warn(f"{told}; it is left for the next run")
            return
        job.num_lost += 1
        if job.num_lost == _MAX_LOST:
            raise StageFailed(
                f"{told}, and {_MAX_LOST - 1} before it were lost, too", code="E0150", hint=_HINT
            ) from lost
        self._warn(f"{told}; another one makes it again")
        self._workers.append(_start(self._task))
        self._hand_out(self._workers[-1], job)


def _start(task: Callable[[Any], Any]) -> _Worker[Any]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = start_process(_work, task, theirs, is_daemon=True)
    theirs.close()
    return _Worker(process, ours)


def _receive(worker: _Worker[Any]) -> Any:
    try:
        result, error = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join(_LEAVING_SECONDS)
        raise _LostError(f"died with exit code {worker.process.exitcode}") from None
    if error is not None:
        raise error
    return result


def _end(worker: _Worker[Any], *, patience: float) -> None:
    end_process(worker.process, patience=patience)
    worker.connection.close()


def _work(task: Callable[[Any], Any], connection: Connection) -> None:
    """Do what comes through the pipe until it ends; runs in the worker process."""
    die_with_parent()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            item = connection.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = (task(item), None)
            except Exception as error:  # not lost: it is raised again in the parent
                answer = (None, error)
            connection.send(answer)
