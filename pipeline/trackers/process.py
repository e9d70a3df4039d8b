"""The process of a tracker: reads what a run tells, line by line, and passes it on.

A tracker has a process of its own because only that can be ended whatever it does, prints where it may, and computes
beside the training and not between its steps. When the run is killed its lines end, and the tracker still finishes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.trackers.catalog import load_tracker
from pipeline.trackers.journal import Journal
from pipeline.trackers.tracker import TrackedRun, Tracker

FINISH_SECONDS = 5.0
_NICENESS = 10
_LOOK_SECONDS = 0.5  # between looks at whether the run is still there


class Course:
    """The tracker's part of one run; it begins with the first value that has a step, which tells from where.

    Args:
        opening: what the first line told.
    """

    def __init__(self, tracker: Tracker, opening: Mapping[str, Any]) -> None:
        self._tracker = tracker
        self._opening = opening
        self._logs = Path(opening["logs"])
        file = f"{opening['tracker'].replace(':', '.')}.jsonl"
        path = self._logs / "trackers" / opening["name"] / file
        self._journal = Journal(path, fresh_id=f"{opening['name']}-{opening['moment']}")
        self._waiting: list[Mapping[str, Any]] = []
        self._is_begun = False

    def take(self, said: Mapping[str, Any]) -> None:
        """Pass on what a line says; raises whatever the tracker raises."""
        if said["do"] == "points":
            self._begin(is_anew=said["is_anew"])
            self._add_points(said["values"], step=said["step"])
        elif not self._is_begun:
            self._waiting.append(said)
        elif said["do"] == "figures":
            self._tracker.log(said["values"], step=None)
        else:
            self._tracker.artifact(Path(said["path"]))

    def finish(self, status: str) -> None:
        """End the tracker's part."""
        self._begin(is_anew=False)
        self._tracker.finish(status)

    def _begin(self, *, is_anew: bool) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        self._journal.begin(is_anew=is_anew)
        run = TrackedRun(
            id=self._journal.id,
            name=self._opening["name"],
            project=self._opening["project"],
            config=self._opening["config"],
            logs=self._logs,
            is_online=self._opening["is_online"],
        )
        self._tracker.start(run)
        for said in self._waiting:
            self.take(said)

    def _add_points(self, values: Mapping[str, float], *, step: int) -> None:
        news = dict(values) if self._tracker.rewrites else self._journal.missing(values, step=step)
        if news:
            self._tracker.log(news, step=step)
            self._journal.note(news, step=step)


def main() -> int:
    """Serve one run; on stdout goes nothing but the sentence with which the tracker failed."""
    answer = os.dup(1)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the run, which says how it ended
    os.nice(_NICENESS)
    threading.Thread(target=_leave_after, args=(os.getppid(),), daemon=True).start()
    try:
        _serve()
    except BaseException as error:  # whatever its author thought of
        os.write(answer, f"{type(error).__name__}: {error}".encode(errors="replace"))
        return 1
    return 0


def _serve() -> None:
    lines = sys.stdin.buffer
    opening = json.loads(lines.readline())
    sys.path += [path for path in opening["path"] if path not in sys.path]
    course = Course(load_tracker(opening["tracker"]), opening)
    for line in lines:
        said = json.loads(line)
        if said["do"] == "finish":
            course.finish(said["status"])
            return
        course.take(said)
    course.finish("killed")


def _leave_after(parent: int) -> None:
    """Wait for the end of the run's process, and leave as much later as a tracker has to finish."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    time.sleep(FINISH_SECONDS)
    os._exit(1)
