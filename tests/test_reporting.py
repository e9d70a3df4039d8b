"""What a run says, in words and in files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.events import Event, Kind
from pipeline.reporting import AppendedFile, EventLog, LogFile, Throttle, Wording, as_json, figures


class FakeClock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def progress(done: int, *, total: int = 100, **figures: Any) -> Event:
    """Return a progress event of training."""
    return Event(Kind.PROGRESS, "training", {"done": done, "total": total, "unit": "steps", "figures": figures})


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a file with one on each line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def clock() -> FakeClock:
    """A clock at 100 seconds."""
    return FakeClock()


@pytest.fixture
def told() -> list[str]:
    """What was told when a file could not be written."""
    return []


@pytest.fixture
def event_log(tmp_path: Path, clock: FakeClock, told: list[str]) -> Iterator[EventLog]:
    """An event log in a folder that is not there yet."""
    log = EventLog(tmp_path / "logs" / "events.jsonl", tell=told.append, clock=clock)
    yield log
    log.close()


def test_a_throttle_lets_one_through_an_interval(clock: FakeClock) -> None:
    """The first is due at once, the next when the interval is over."""
    throttle = Throttle(5, clock)
    seen = []
    for _ in range(8):
        seen.append(throttle.is_due())
        clock.now += 2
    assert seen == [True, False, False, True, False, False, True, False]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event(Kind.RUN_STARTED, "", {"run": "quick-12345678", "stages": []}), "run quick-12345678"),
        (Event(Kind.STAGE_STARTED, "training", {"action": "run"}), ""),
        (Event(Kind.INFO, "training", {"text": "saved"}), "training: saved"),
        (Event(Kind.INFO, "", {"text": "saved"}), "saved"),
        (Event(Kind.WAIT, "training", {"text": "waits for it", "is_over": False}), "training: waits for it"),
        (Event(Kind.WARNING, "training", {"text": "low"}), "training: warning: low"),
        (Event(Kind.METRICS, "training", {"step": 5, "loss": 0.0385123}), "training: step 5  loss 0.03851"),
        (Event(Kind.STAGE_FINISHED, "training", {"duration_seconds": 185.0}), "training: done in 3m05s"),
        (
            Event(Kind.CHUNK, "training", {"epoch": 1, "chunk": 7, "done": 3, "total": 9, "skipped": 2, "loss": 0.25}),
            "training: epoch 1, chunk 7 done (3 of 9), loss 0.25, 2 samples left out",
        ),
        (
            Event(Kind.CHUNK, "training", {"epoch": 1, "chunk": 7, "done": 3, "total": 9, "skipped": 0, "loss": None}),
            "training: epoch 1, chunk 7 done (3 of 9)",
        ),
        (
            Event(Kind.CHECKPOINT, "training", {"step": 50, "num_bytes": 45_300_000, "seconds": 0.36}),
            "training: checkpoint of step 50: 45.3 MB in 0.4s",
        ),
        (Event(Kind.STAGE_FAILED, "training", {"error": "NaN", "code": "E0451"}), "training: failed: E0451: NaN"),
        (Event(Kind.STAGE_FAILED, "training", {"error": "of an older log"}), "training: failed: of an older log"),
        (Event(Kind.INTERRUPTED, "training", {"signal": 15, "where": "stopped"}), "training: stopped"),
        (Event(Kind.RUN_FINISHED, "", {"duration_seconds": 0.5, "targets": []}), "run done in 0.5s"),
    ],
)  # fmt: skip
def test_each_event_has_its_words(event: Event, text: str) -> None:
    """Every kind of event is told in one line, or needs no words."""
    assert Wording().text(event) == text


def test_every_kind_of_event_can_be_told() -> None:
    """A new kind of event cannot be forgotten here."""
    data = {"run": "r", "stages": ["a"], "action": "skip", "reason": "UP_TO_DATE", "detail": "", "done": 1, "total": 2}
    data |= {"unit": "u", "text": "t", "duration_seconds": 1.0, "error": "e", "where": "w", "step": 1}
    data |= {"epoch": 0, "chunk": 1, "skipped": 0, "loss": 0.5, "num_bytes": 1, "seconds": 0.1}
    silent = [kind for kind in Kind if not Wording().text(Event(kind, "stage", data))]
    assert silent == [Kind.STAGE_STARTED]


def test_a_progress_line_has_share_amount_rate_rest_and_figures(clock: FakeClock) -> None:
    """What is not known yet is left out."""
    wording = Wording(clock)
    assert wording.text(progress(10)) == "training  10%  10/100 steps"
    clock.now += 4
    expected = "training  20%  20/100 steps  2.5/s  ETA 32s  loss 0.03851  epoch 3"
    assert wording.text(progress(20, loss=0.038512, epoch=3)) == expected


def test_a_line_leaves_out_what_only_a_picture_needs() -> None:
    """How many chunks and epochs there are stands behind the share that is done."""
    event = progress(10, epoch=0, num_epochs=3, chunk=7, chunks_done=1, num_chunks=40)
    assert Wording().text(event) == "training  10%  10/100 steps  epoch 0  chunk 7"


def test_figures_are_worded() -> None:
    """Names of fields become words, seconds become time spans; whatever a stage tells can be shown."""
    values = {"images_per_second": 101.23, "checkpoint_age_seconds": 75, "data_set": "real", "loss": float("nan")}
    assert figures(values) == "images/s 101.2  checkpoint age 1m15s  data set real  loss nan"


def test_a_stage_may_know_better_how_long_it_takes(clock: FakeClock) -> None:
    """Its own estimate stands in the place of the one from the pace."""
    assert Wording(clock).text(progress(10, eta_seconds=125.0)) == "training  10%  10/100 steps  ETA 2m05s"


def test_decisions_stand_in_columns() -> None:
    """The names of all stages are known from the start of the run."""
    wording = Wording()
    wording.text(Event(Kind.RUN_STARTED, "", {"run": "r", "stages": ["a", "data_generation"]}))
    decision = Event(Kind.DECISION, "a", {"action": "skip", "reason": "UP_TO_DATE", "detail": "all is as recorded"})
    assert wording.text(decision) == "a                SKIP    UP_TO_DATE        all is as recorded"


def test_an_event_is_one_line_of_versioned_json(event_log: EventLog, tmp_path: Path) -> None:
    """Each line has version, time with zone, kind, stage and data."""
    event_log.emit(Event(Kind.INFO, "training", {"text": "two\nlines \ud800 ✓"}))
    event_log.emit(Event(Kind.METRICS, "training", {"step": 1, "loss": 0.5}))
    first, second = lines_of(tmp_path / "logs" / "events.jsonl")
    assert first.keys() == {"v", "time", "run", "kind", "stage", "data"}
    assert (first["v"], first["kind"], first["stage"], first["data"]["text"][:9]) == (
        2,
        "info",
        "training",
        "two\nlines",
    )
    assert first["time"][10] == "T"
    assert first["time"][-6] in "+-"
    assert second["data"] == {"step": 1, "loss": 0.5}


def test_each_line_names_its_run(event_log: EventLog, tmp_path: Path) -> None:
    """From the start of the run on: a log has many runs."""
    for run in ("quick-1", "standard-2"):
        event_log.emit(Event(Kind.RUN_STARTED, "", {"run": run, "stages": []}))
        event_log.emit(Event(Kind.INFO, "", {"text": "a"}))
    assert [line["run"] for line in lines_of(tmp_path / "logs" / "events.jsonl")] == ["quick-1"] * 2 + [
        "standard-2"
    ] * 2


def test_progress_is_logged_once_a_second(event_log: EventLog, clock: FakeClock, tmp_path: Path) -> None:
    """A fast stage does not bloat the log; all other events are there."""
    for done in range(30):
        event_log.emit(progress(done))
        event_log.emit(Event(Kind.METRICS, "training", {"step": done}))
        clock.now += 0.25
    events = lines_of(tmp_path / "logs" / "events.jsonl")
    assert [event["data"]["done"] for event in events if event["kind"] == "progress"] == [0, 4, 8, 12, 16, 20, 24, 28]
    assert len(events) == 8 + 30


def test_the_first_progress_of_each_stage_is_logged(event_log: EventLog, tmp_path: Path) -> None:
    """A stage that begins right after another is seen to have begun."""
    for stage in ("training", "evaluation"):
        event_log.emit(Event(Kind.STAGE_STARTED, stage, {"action": "run"}))
        event_log.emit(Event(Kind.PROGRESS, stage, {"done": 0, "total": 1, "unit": "images"}))
    kinds = [event["kind"] for event in lines_of(tmp_path / "logs" / "events.jsonl")]
    assert kinds == ["stage_started", "progress"] * 2


def test_half_a_line_of_a_killed_run_is_closed(tmp_path: Path, told: list[str]) -> None:
    """What is appended after a kill starts on a line of its own."""
    path = tmp_path / "events.jsonl"
    path.write_text('{"v": 1, "ki')
    log = EventLog(path, tell=told.append)
    log.emit(Event(Kind.INFO, "", {"text": "again"}))
    log.close()
    assert json.loads(path.read_text().splitlines()[-1])["data"] == {"text": "again"}


@pytest.mark.parametrize("where", ["a file in the way", "a full disk"])
def test_a_log_that_cannot_be_written_is_told_once_and_never_stops_a_run(
    tmp_path: Path, told: list[str], where: str
) -> None:
    """The run goes on without it."""
    path = Path("/dev/full") if where == "a full disk" else tmp_path / "file" / "events.jsonl"
    (tmp_path / "file").write_text("")
    for log in (EventLog(path, tell=told.append), LogFile(path, interval=0, tell=told.append)):
        log.emit(Event(Kind.INFO, "", {"text": "first"}))
        log.emit(Event(Kind.INFO, "", {"text": "second"}))
        log.close()
    assert len(told) == 2
    assert str(path) in told[0]
    assert "the run goes on without it" in told[0]


@pytest.mark.parametrize("what", ["a link", "a dangling link", "a link for its folder", "a named pipe"])
def test_a_log_is_written_to_a_file_of_its_own_or_not_at_all(tmp_path: Path, told: list[str], what: str) -> None:
    """What somebody put in its place is neither written through nor waited for; that is told once."""
    path, victim = tmp_path / "logs" / "events.jsonl", tmp_path / "victim" / "events.jsonl"
    victim.parent.mkdir()
    if what == "a link for its folder":
        path.parent.symlink_to(victim.parent)
    else:
        path.parent.mkdir()
    if what == "a link":
        victim.write_text("theirs\n")
    if what.endswith("link"):
        path.symlink_to(victim)
    if what == "a named pipe":
        os.mkfifo(path)
    log = EventLog(path, tell=told.append)
    for text in ("first", "second"):
        log.emit(Event(Kind.INFO, "", {"text": text}))
    log.close()
    assert [victim.read_text()] == ["theirs\n"] if what == "a link" else not victim.exists()
    assert len(told) == 1
    assert ("a link is in the way" in told[0]) == ("link" in what)


def test_a_disk_that_takes_a_line_in_parts_gets_all_of_it(tmp_path: Path, told: list[str]) -> None:
    """A write that takes less than it was given is continued."""

    class Parts(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:3])

    file, parts = AppendedFile(tmp_path / "log", tell=told.append), Parts()
    file._file = parts
    file.append("eleven bytes")
    assert parts.getvalue() == b"eleven bytes\n"


def test_nothing_is_opened_before_there_is_something_to_say(tmp_path: Path, told: list[str]) -> None:
    """A run that is refused leaves the logs of the run that works there alone."""
    EventLog(tmp_path / "logs" / "events.jsonl", tell=told.append).close()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"loss": float("nan"), "list": [float("inf"), 1.0]}, {"loss": None, "list": [None, 1.0]}),
        ({"path": Path("a/b")}, {"path": "a/b"}),
        ({1: {(2, 3): 4}}, {"1": {"(2, 3)": 4}}),
    ],
)
def test_whatever_a_stage_tells_is_valid_json(data: dict[Any, Any], expected: dict[str, Any]) -> None:
    """NaN and infinities become null, all that JSON lacks becomes text."""
    assert json.loads(as_json(data)) == expected


def test_the_log_file_is_plain_text(tmp_path: Path, clock: FakeClock, told: list[str]) -> None:
    """Each line is a time and a sentence; progress comes at the interval, metrics always."""
    path = tmp_path / "quick_training.log"
    log = LogFile(path, interval=5, tell=told.append, clock=clock)
    for step in range(10):
        log.emit(progress(step))
        clock.now += 1
    log.emit(Event(Kind.METRICS, "training", {"step": 10, "loss": 0.25}))
    log.emit(Event(Kind.STAGE_STARTED, "training", {"action": "run"}))
    log.close()
    texts = [line.split("  ", 1)[1] for line in path.read_text().splitlines()]
    assert texts == [
        "training  0%  0/100 steps",
        "training  5%  5/100 steps  1/s  ETA 1m35s",
        "training: step 10  loss 0.25",
    ]
