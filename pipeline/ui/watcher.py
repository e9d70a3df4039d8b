"""Follows the log of events once for all who look: which runs there are, and how the newest one stands."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from pipeline.errors import IntegrityError
from pipeline.event_reader import LoggedEvent, last_start, read_events
from pipeline.events import Kind
from pipeline.holder import Holder
from pipeline.run_view import RunView
from pipeline.ui.live_report import reports_in
from pipeline.ui.log_tail import LogChanged, Place, events_after, identify
from pipeline.ui.run_list import ListedRun, RunList
from pipeline.workspace import Workspace

_LOOK_SECONDS = 0.25  # a look is one `stat` where nothing has come
_AROUND_SECONDS = 2.0  # between looks at who works here, who may die without a word
_BATCH = 2000
_TOLD = 60  # newest events that a page begins with


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What is known at one moment, through the offset `place`.

    Attributes:
        trouble: why the log cannot be read; empty where it can.
        plan_stamp: changes when decisions about stages may have changed.
        reports: the runs that have a report.
        view: the newest run, and `told` its newest events.
    """

    place: Place
    runs: Mapping[str, ListedRun]
    newest: str
    is_at_work: bool
    trouble: str
    plan_stamp: int
    reports: frozenset[str]
    view: RunView
    told: tuple[LoggedEvent, ...]


class Watcher:
    """Looks at the log of `workspace` again and again; `version` rises whenever something has changed.

    Args:
        clock: gives seconds that go on whatever is done to the time of day.
    """

    def __init__(self, workspace: Workspace, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = workspace.event_log
        self.version = 0
        self.is_over = False
        self._lock = threading.Lock()
        self._view = RunView()
        self._told: deque[LoggedEvent] = deque(maxlen=_TOLD)
        self._clock = clock
        self._holder = Holder(workspace)
        self._results = workspace.results
        self._reports: frozenset[str] = frozenset()
        self._is_at_work = False
        self._looked_at = -_AROUND_SECONDS
        self._trouble = ""
        self._stat: tuple[int, int, int] | None = None
        self._plan_stamp = 0
        self._place = Place()
        self._list = RunList()
        self._woken = asyncio.Event()
        self._turn = asyncio.Lock()

    async def follow(self) -> None:
        """Look until the task is cancelled."""
        while True:
            await self.catch_up()
            await asyncio.sleep(_LOOK_SECONDS)

    async def catch_up(self) -> Sight:
        """Look now, and return what is known then."""
        async with self._turn:
            if await asyncio.to_thread(self.look):
                self.version += 1
                self._wake()
        return self.sight()

    async def changed(self, *, since: int, timeout: float) -> None:
        """Wait until the version is another one than `since`, but no longer than `timeout` seconds."""
        if self.version == since:
            woken = self._woken
            try:
                await asyncio.wait_for(woken.wait(), timeout)
            except TimeoutError:
                return

    def end(self) -> None:
        """Let all who wait know that nothing more will come: the server ends."""
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()

    def sight(self) -> Sight:
        """Return what is known now, all of it through the same place of the log."""
        with self._lock:
            return Sight(
                place=self._place,
                runs=self._list.runs(is_at_work=self._is_at_work),
                newest=self._list.newest,
                is_at_work=self._is_at_work,
                trouble=self._trouble,
                plan_stamp=self._plan_stamp,
                reports=self._reports,
                view=self._view.copy(),
                told=tuple(self._told),
            )

    def look(self) -> bool:
        """Take in what has come since the last time, and return whether anything has changed."""
        # The holder first: when he is gone, his last words are there.
        is_changed = self._look_around()
        try:
            stat = self._stat_of_log()
            if stat == self._stat and not self._trouble:
                return is_changed
            self._read_on()
            self._stat, self._trouble = stat, ""
        except (OSError, IntegrityError) as error:
            is_changed |= self._trouble != str(error)
            self._trouble = str(error)
            return is_changed
        return True

    def _look_around(self) -> bool:
        """Take in what the log does not tell: whether a process is at work, and which reports there are."""
        now = self._clock()
        if now - self._looked_at < _AROUND_SECONDS:
            return False
        self._looked_at = now
        before = (self._is_at_work, self._reports)
        self._is_at_work, self._reports = self._holder.is_at_work, reports_in(self._results)
        self._plan_stamp += before[0] != self._is_at_work
        return before != (self._is_at_work, self._reports)

    def _stat_of_log(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - four times a second, and pathlib takes twice as long
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read_on(self) -> None:
        if self._stat is None:
            self._begin()
        is_last = False
        while not is_last:
            try:
                is_last = self._take_batch()
            except LogChanged:
                self._begin()

    def _take_batch(self) -> bool:
        batch = events_after(self.path, self._place, limit=_BATCH)
        with self._lock:
            for logged in batch.events:
                self._list.take(logged)
                self._take_of_newest(logged)
            self._place = batch.place
        return batch.is_last

    def _begin(self) -> None:
        """Read the log from its begin; what its older runs told of their progress is not looked at."""
        place = Place(identify(self.path), last_start(self.path))
        newest, runs = RunList(), RunList()
        for start in islice(read_events(self.path, offset=place.offset), 1):
            newest.take(start)
        if not newest.newest:  # it is no start, so the newest run began before
            place = replace(place, offset=0)
        for logged in read_events(self.path, without=[Kind.PROGRESS]):
            if logged.end > place.offset:
                break
            runs.take(logged)
        with self._lock:
            self._list, self._place = runs, place
            self._view = RunView()
            self._told.clear()
            self._plan_stamp += 1

    def _take_of_newest(self, logged: LoggedEvent) -> None:
        if logged.run != self._list.newest:  # as of a start that the list has not taken
            return
        self._view.take(logged.event, at=logged.time)
        if logged.event.kind is Kind.RUN_STARTED:
            self._told.clear()
        if logged.event.kind is not Kind.PROGRESS:
            self._told.append(logged)
        if logged.event.kind in _DECIDING:
            self._plan_stamp += 1


_DECIDING = frozenset(
    {
        Kind.RUN_STARTED,
        Kind.STAGE_STARTED,
        Kind.CHECKPOINT,  # from the first on there is something to go on with
        Kind.STAGE_FINISHED,
        Kind.STAGE_FAILED,
        Kind.INTERRUPTED,
        Kind.RUN_FINISHED,
    }
)
