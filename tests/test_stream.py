"""What is handed on while it is made: waited for, never mixed up, and given up when nothing more can come."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import IntegrityError, StageFailed
from pipeline.interrupts import StopFlag
from pipeline.stream import Stream, Withheld


@pytest.fixture
def stop() -> StopFlag:
    """Give a flag that is not set."""
    return StopFlag()


@pytest.fixture
def stream(stop: StopFlag) -> Stream:
    """Give a stream from which nothing has come yet."""
    return Stream("numbers", {"of": 3}, stop=stop)


@pytest.fixture
def other_thread() -> Iterator[ThreadPoolExecutor]:
    """Give a thread that does what the stage would do."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


def test_what_is_there_is_given_at_once(stream: Stream) -> None:
    """Nothing waits for an output that was released before it was asked for."""
    stream.put("one", {"size": 1})
    assert stream.wait_for("one", on_wait=lambda: pytest.fail("waited")) == {"size": 1}


def test_what_is_not_there_is_waited_for(stream: Stream, other_thread: ThreadPoolExecutor) -> None:
    """Who waits is told so once, and given the output when it comes, whatever comes before it."""
    told: list[str] = []

    def begin() -> None:
        told.append("waiting")
        other_thread.submit(stream.put, "two", {"size": 2})
        other_thread.submit(stream.put, "one", {"size": 1})

    assert stream.wait_for("one", on_wait=begin) == {"size": 1}
    assert told == ["waiting"]


@pytest.mark.parametrize("reason", ["signal", "failure"])
def test_a_stop_ends_the_waiting(stream: Stream, stop: StopFlag, other_thread: ThreadPoolExecutor, reason: str) -> None:
    """A signal, and the failure of the stage that is waited for, end a wait that would never end."""

    def begin() -> None:
        other_thread.submit(stop.set, signal.SIGTERM) if reason == "signal" else stop.fail(
            StageFailed("it broke", code="T0001")
        )

    with pytest.raises(Withheld):
        stream.wait_for("one", on_wait=begin)


def test_an_end_without_the_output_is_an_error(stream: Stream, other_thread: ThreadPoolExecutor) -> None:
    """A stage that ends without what it promised is named, and nobody waits for ever."""

    def begin() -> None:
        other_thread.submit(stream.end)

    with pytest.raises(StageFailed, match="numbers is done, but has not made one"):
        stream.wait_for("one", on_wait=begin)


def test_what_was_given_is_never_changed(stream: Stream) -> None:
    """An output may be released again, as by a stage that was started anew, but only as what it was."""
    stream.put("one", {"size": 1})
    stream.put("one", {"size": 1})
    with pytest.raises(IntegrityError, match="has made one twice, and not the same"):
        stream.put("one", {"size": 2})
