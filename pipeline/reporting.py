"""What a run says, as lines of text and as lines of JSON in `logs/`; telling never stops a run."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pipeline.events import Event, Kind, error_words
from pipeline.files import leads_through_link
from pipeline.pace import Pace
from pipeline.secrets import hide_text
from pipeline.tables import column_widths, counted, duration, printable_lines, size, table, wrapped

SCHEMA_VERSION = 2  # of a line of events.jsonl; docs/events.md
_PROGRESS_SECONDS = 1.0  # in events.jsonl: enough for any curve, and a fast stage cannot bloat the file

# Figures that pictures are made of; in a line they would only repeat the others.
_PICTURED = frozenset({"num_epochs", "chunks_done", "num_chunks"})

Clock = Callable[[], float]


class Throttle:
    """Lets one thing through every `interval` seconds, of each `kind` on its own."""

    def __init__(self, interval: float, clock: Clock = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._last: dict[str, float] = {}

    def is_due(self, kind: str = "") -> bool:
        """Return whether it is time again, and start the next interval if so."""
        now = self._clock()
        if now - self._last.get(kind, -math.inf) < self._interval:
            return False
        self._last[kind] = now
        return True


class ProgressWords(NamedTuple):
    """The parts of a progress line; those that are not known yet are empty."""

    share: str
    amount: str
    rate: str
    remaining: str
    figures: str


class Wording:
    """Puts events into words; remembers the names of the stages, so that decisions stand in columns."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._widths: list[int] = []
        self._paces: dict[str, Pace] = {}

    def text(self, event: Event, *, width: int = 0) -> str:
        """Return what `event` tells, empty where it needs no words; `width` is in characters, 0 for any."""
        data = event.data
        if event.kind is Kind.RUN_STARTED:
            self._widths = column_widths([(name, "RESUME", "ARTIFACT_DAMAGED", "") for name in data["stages"]])
        elif event.kind is Kind.STAGE_STARTED:
            self._paces.pop(event.stage, None)
        elif event.kind is Kind.DECISION:
            row = (event.stage, str(data["action"]).upper(), str(data["reason"]), str(data["detail"]))
            return table([row], width=width, least=self._widths)
        elif event.kind is Kind.PROGRESS:
            return "  ".join(part for part in (event.stage, *self.progress(event)) if part)
        sentence = _SENTENCES[event.kind](data) if event.kind in _SENTENCES else ""
        text = f"{event.stage}: {sentence}" if sentence and event.stage else sentence
        return wrapped(text, width=width, hanging="  ") if width else text

    def progress(self, event: Event) -> ProgressWords:
        """Take in how far the stage is and return it in words."""
        data = event.data
        done, total, unit = data["done"], data["total"], data["unit"]
        now = self._clock()
        known = self._paces.get(event.stage) or Pace.begin(done=done, total=total, unit=unit, at=now)
        pace = self._paces[event.stage] = known.after(done=done, total=total, unit=unit, at=now)
        told = {name: value for name, value in data.get("figures", {}).items() if name not in _PICTURED}
        # A stage may know better than its pace so far, e.g. of the validation still to come.
        rate, remaining = pace.rate, told.pop("eta_seconds", pace.remaining_seconds)
        return ProgressWords(
            share=f"{100 * done // total}%" if total else "",
            amount=f"{done}/{total} {unit}",
            rate=f"{rate:.3g}/s" if rate else "",
            remaining=f"ETA {duration(remaining)}" if remaining is not None else "",
            figures=figures(told),
        )


def figures(values: Mapping[str, Any]) -> str:
    """Return names and values as people write them, e.g. "loss 0.0385  images/s 101.2  checkpoint age 12s"."""
    return "  ".join(_figure(name, value) for name, value in values.items())


def _chunk(data: Mapping[str, Any]) -> str:
    loss = f", loss {data['loss']:.4g}" if data["loss"] is not None else ""
    skipped = f", {counted(data['skipped'], 'sample')} left out" if data["skipped"] else ""
    return f"epoch {data['epoch']}, chunk {data['chunk']} done ({data['done']} of {data['total']}){loss}{skipped}"


_SENTENCES: dict[Kind, Callable[[Mapping[str, Any]], str]] = {
    Kind.RUN_STARTED: lambda data: f"run {data['run']}",
    Kind.WAIT: lambda data: str(data["text"]),
    Kind.INFO: lambda data: str(data["text"]),
    Kind.WARNING: lambda data: f"warning: {data['text']}",
    Kind.METRICS: figures,
    Kind.CHUNK: _chunk,
    Kind.CHECKPOINT: lambda data: (
        f"checkpoint of step {data['step']}: {size(data['num_bytes'])} in {duration(data['seconds'])}"
    ),
    Kind.STAGE_FINISHED: lambda data: f"done in {duration(data['duration_seconds'])}",
    Kind.STAGE_FAILED: lambda data: f"failed: {error_words(data)}",
    Kind.INTERRUPTED: lambda data: str(data["where"]),
    Kind.RUN_FINISHED: lambda data: f"run done in {duration(data['duration_seconds'])}",
}


class AppendedFile:
    """A log file that grows line by line; when it cannot be written, that is told once and the run goes on.

    Logs are the one thing written without `pipeline.files`: losing the last lines in a power cut harms nobody, and
    an fsync for each line would slow training. Links are not followed here either.
    """

    def __init__(self, path: Path, *, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell
        self._file: BinaryIO | None = None
        self._is_given_up = False

    def append(self, line: str) -> None:
        """Write `line` and a line end."""
        self.write(f"{line}\n".encode(errors="backslashreplace"))

    def write(self, data: bytes) -> None:
        """Write `data`."""
        if self._is_given_up:
            return
        try:
            if self._file is None:
                self._file = self._open()
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._is_given_up = True
            why = "a link is in the way" if error.errno == errno.ELOOP else error.strerror
            self._tell(f"{self._path} cannot be written ({why}); the run goes on without it")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        folder = self._path.parent
        if leads_through_link(folder):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        # For reading too, as a named pipe without a reader would otherwise stop the run for ever.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        # Unbuffered: each line is there at once, also for a killed run.
        file = os.fdopen(os.open(self._path, flags, 0o666), "ab+", buffering=0)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")  # a killed run left half a line
        return file


class EventLog:
    """Writes each event as one line of JSON: {"v", "time", "run", "kind", "stage", "data"}; see docs/events.md."""

    def __init__(self, path: Path, *, tell: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._file = AppendedFile(path, tell=tell)
        self._throttle = Throttle(_PROGRESS_SECONDS, clock)
        self._run = ""

    def emit(self, event: Event) -> None:
        """Append `event`; of the progress of a stage only one line a second."""
        if event.kind is Kind.PROGRESS and not self._throttle.is_due(event.stage):
            return
        if event.kind is Kind.RUN_STARTED:
            self._run = str(event.data["run"])
        line = {
            "v": SCHEMA_VERSION,
            "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "run": self._run,
            "kind": event.kind,
            "stage": event.stage,
            "data": event.data,
        }
        self._file.append(as_json(line))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LogFile:
    """Writes each event as one line of text behind the time of day."""

    def __init__(
        self, path: Path, *, interval: float, tell: Callable[[str], None], clock: Clock = time.monotonic
    ) -> None:
        self._file = AppendedFile(path, tell=tell)
        self._wording = Wording(clock)
        self._throttle = Throttle(interval, clock)

    def emit(self, event: Event) -> None:
        """Append what `event` tells; of the progress of a stage one line every `interval` seconds."""
        if event.kind is Kind.PROGRESS and not self._throttle.is_due(event.stage):
            return
        if text := printable_lines(self._wording.text(event)):
            self._file.append(f"{datetime.now().astimezone().isoformat(sep=' ', timespec='seconds')}  {text}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def as_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return `document` as JSON whatever it holds: NaN and infinities as null, what JSON lacks as text."""
    try:
        return json.dumps(document, indent=indent, allow_nan=False, default=str)
    except (TypeError, ValueError):
        return json.dumps(_plain(document), indent=indent, default=str)


def tell_on_stderr(text: str) -> None:
    """Say something that must be said even when nothing else works; a closed stderr is no reason to stop."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"warning: {printable_lines(hide_text(text))}\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figure(name: str, value: Any) -> str:
    words = name.replace("_per_second", "/s").replace("_", " ")
    if isinstance(value, int | float) and name.endswith("_seconds"):
        return f"{words.removesuffix(' seconds')} {duration(value)}"
    return f"{words} {value:.4g}" if isinstance(value, float) else f"{words} {value}"
