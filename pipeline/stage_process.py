"""One stage at work in a process of its own, as this process sees it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from pipeline import secrets
from pipeline.errors import Interrupted, StageFailed
from pipeline.events import Event
from pipeline.interrupts import StopFlag
from pipeline.processes import die_with_parent, end_process, start_process
from pipeline.stage import Stage, StageContext, StageResult
from pipeline.stream import Stream

_MAX_LOST = 3  # processes: one may have bad luck, three have a reason
_LOOK_SECONDS = 0.1  # between looks at the stop flag
_LEAVING_SECONDS = 10.0  # a process that has answered leaves in milliseconds
# Lower than that of the stage that waits for it, which computes with as many threads as there are cores and would stand
# still at each of their meeting points while one of them has none; what it does not use is still plenty.
_NICENESS = 10


class _LostError(Exception):
    """The process will never answer."""


class StageProcess:
    """Executes a stage elsewhere: its events come here, what it releases goes to `stream`, and a stop goes to it.

    A process that is lost is replaced, and the stage goes on from what it had done.
    """

    def __init__(self, stage: Stage, context: StageContext, *, stream: Stream) -> None:
        self._stage = stage
        self._context = context
        self._stream = stream
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def result(self) -> StageResult:
        """Execute the stage and return its result; to be called from a thread that lives as long as that takes.

        Raises:
            StageFailed: three processes were lost.
            Exception: what the stage raised.
        """
        for num_lost in range(1, _MAX_LOST + 1):
            self._start()
            try:
                kind, said = self._answer()
            except _LostError as lost:
                told = f"the process of {self._stage.name} {lost}"
                self._context.stop.check(where=f"{self._stage.name}, whose process {lost}")
                if num_lost == _MAX_LOST:
                    raise StageFailed(
                        told, code="E0102", hint="what it had done is kept; run the same command again"
                    ) from lost
                self._context.warn(f"{told}; another one goes on")
                continue
            finally:
                self._end()
            if kind == "failed":
                stop = self._context.stop
                if isinstance(said, Interrupted) and stop.error is not None and not stop.signal_number:
                    raise stop.error  # no signal came: what failed beside it ended this work
                raise said
            return said  # type: ignore[no-any-return]
        raise AssertionError("unreachable")

    def _start(self) -> None:
        context = replace(self._context, reporter=_Nobody(), stop=StopFlag(), release=_nowhere, streams={})
        self._connection, theirs = multiprocessing.get_context("spawn").Pipe()
        # No daemon: the stage may have worker processes of its own.
        self._process = start_process(_execute, self._stage, context, theirs, is_daemon=False)
        theirs.close()

    def _answer(self) -> tuple[str, Any]:
        """Pass on what comes, until one of the two last words: "done" with the result, or "failed" with an error."""
        connection, process = self._connection, self._process
        assert connection is not None and process is not None
        stop, is_told = self._context.stop, False
        while True:
            try:
                if stop.is_set and not is_told:
                    is_told = True
                    with suppress(OSError):  # it may have left, with its last word still to be read
                        connection.send(stop.signal_number or signal.SIGTERM)
                if not connection.poll(_LOOK_SECONDS):
                    if stop.seconds_left(self._context.runtime.grace_seconds / 2) <= 0:
                        process.kill()  # what it had done is on the disk, and SIGKILL would come for all of us
                        raise _LostError("was still at work when half of the time after SIGTERM was over")
                    continue
                kind, said = connection.recv()
            except (EOFError, OSError) as error:
                process.join(_LEAVING_SECONDS)
                raise _LostError(f"died with exit code {process.exitcode}") from error
            if kind == "event":
                self._context.reporter.emit(said)
            elif kind == "released":
                self._stream.put(*said)
            else:
                return kind, said

    def _end(self) -> None:
        assert self._connection is not None and self._process is not None
        self._connection.close()
        end_process(self._process, patience=_LEAVING_SECONDS)


class _Nobody:
    """Stands for the reporter on the way to the process; what it holds, such as open files, stays here."""

    def emit(self, event: Event) -> None:
        """Lose `event`."""

    def close(self) -> None:
        """Do nothing."""


def _nowhere(_name: str, _facts: Mapping[str, Any]) -> None:
    return None


class _Sender:
    """Sends what the stage says to the process that started this one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def emit(self, event: Event) -> None:
        """Send `event`."""
        self.send("event", event)

    def close(self) -> None:
        """Hold nothing back."""

    def release(self, name: str, facts: Mapping[str, Any]) -> None:
        """Send that an output is there."""
        self.send("released", (name, dict(facts)))

    def send(self, kind: str, said: object) -> None:
        """Send a message, one at a time."""
        with self._turn:
            self._connection.send((kind, said))


def _execute(stage: Stage, context: StageContext, connection: Connection) -> None:
    """Execute `stage` and send what comes of it; runs in the process."""
    die_with_parent()
    secrets.keep(context.runtime.secrets, os.environ)
    os.nice(_NICENESS)
    stop, sender = StopFlag(), _Sender(connection)
    threading.Thread(target=_listen, args=(connection, stop), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            result = stage.execute(replace(context, reporter=sender, stop=stop, release=sender.release))
        except Exception as error:  # not lost: it is raised again in the process that waits for it
            error.add_note(f"in the process of {stage.name}:\n{traceback.format_exc()}")
            sender.send("failed", _portable(error))
        else:
            sender.send("done", result)


def _portable(error: Exception) -> Exception:
    """Return `error`, or what it says where it cannot be made again in another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, of a moment ago
    except Exception:  # whatever its class does when it is made
        return StageFailed(secrets.hide_text(f"{type(error).__name__}: {error}"), code="E0103")
    return error


def _listen(connection: Connection, stop: StopFlag) -> None:
    """Wait for the one word that may come: the number of the signal that asks for a stop."""
    with suppress(EOFError, OSError):
        stop.set(connection.recv())
