"""The stream of events: real servers, real logs; nothing is lost, repeated, or told of another log."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_page
import pytest
from live_page import Author, Message, Served, ids_until, killable, token_file

from pipeline.events import Kind

shared, served, author = live_page.shared, live_page.served, live_page.author


def _next(messages: Iterator[Message], kind: str) -> Message:
    return next(message for message in messages if message.kind == kind)


def test_each_event_comes_once_with_the_end_of_its_line_as_id(served: Served, author: Author) -> None:
    """Those that are there and those that come, in order, with all that the line says."""
    author.begin()
    with served.stream() as messages:
        first = _next(messages, "log")
        assert (first.data["run"], first.data["kind"]) == ("small-12345678", "run_started")
        for number in range(5):
            author.tell(Kind.METRICS, "numbers", step=number, loss=1 / (1 + number))
        assert [int(first.id), *ids_until(messages, author.ends[-1])] == author.ends


def test_a_client_that_comes_back_gets_what_follows(served: Served, author: Author) -> None:
    """By the id that it has seen last, or from the offset that its page was made at."""
    author.begin()
    for number in range(4):
        author.tell(Kind.INFO, "numbers", text=f"{number}")
    ends = author.ends
    with served.stream(last_id=str(ends[1])) as messages:
        assert ids_until(messages, ends[-1]) == ends[2:]
    with served.stream(f"?from={ends[2]}") as messages:
        assert ids_until(messages, ends[-1]) == ends[3:]
    with served.stream(f"?from={ends[0]}", last_id=str(ends[3])) as messages:
        assert ids_until(messages, ends[-1]) == ends[4:]


def test_half_a_line_waits_for_its_rest(served: Served, author: Author) -> None:
    """It is told when it is whole, and not before."""
    author.begin()
    line = json.dumps({"v": 2, "time": "2026-11-21T18:00:00.000+00:00", "run": "small-12345678", "kind": "info"})
    line = f'{line[:-1]}, "stage": "", "data": {{"text": "whole"}}}}\n'
    with served.stream() as messages, author.path.open("ab", buffering=0) as log:
        _next(messages, "log")
        log.write(line[:40].encode())
        # The beginning was read for sure when the picture of another client has been drawn after it.
        with served.stream() as others:
            _next(others, "view")
        log.write(line[40:].encode())
        assert _next(messages, "log").data["data"] == {"text": "whole"}


@pytest.mark.parametrize("asked", ["7", "-1", "99999999", "nonsense", "1" * 40])
def test_what_is_no_place_of_the_log_is_answered_with_a_reset(served: Served, author: Author, asked: str) -> None:
    """In the middle of a line, behind the end, or no number: the client is told to start over, and gets all."""
    author.begin()
    with served.stream(last_id=asked) as messages:
        first = next(messages)
        assert (first.kind, first.id) == ("reset", "0")
        assert ids_until(messages, author.ends[-1]) == author.ends


def test_another_log_of_the_same_length_is_no_continuation(served: Served, author: Author) -> None:
    """The page says which log it has seen: an offset alone may be right by chance."""
    author.begin("small-11111111")
    with served.stream() as messages:
        log = _next(messages, "view").data["log"]
    end = author.ends[-1]
    author.path.unlink()
    Author(author.path.parent.parent).begin("small-22222222")
    assert author.ends[-1] == end
    with served.stream(f"?log={log}", last_id=str(end)) as messages:
        assert next(messages).kind == "reset"
        assert _next(messages, "log").data["run"] == "small-22222222"


@pytest.mark.parametrize("how", ["removed", "cut short", "renamed", "cut and written on"])
def test_a_log_that_is_begun_anew_is_told_as_a_reset(served: Served, author: Author, how: str) -> None:
    """Then all of the new one follows."""
    author.begin()
    author.tell(Kind.INFO, "numbers", text="old")
    with served.stream() as messages:
        ids_until(messages, author.ends[-1])
        if how == "removed":
            author.path.unlink()
        elif how == "renamed":
            author.path.rename(author.path.with_name("events.jsonl.1"))
        else:
            with author.path.open("r+b") as log:
                log.truncate(0)
        if how == "cut and written on":
            author.begin("small-33333333")
        assert _next(messages, "reset").id == "0"
        new = Author(author.path.parent.parent)
        if how != "cut and written on":
            new.begin("small-33333333")
        new.tell(Kind.INFO, "numbers", text="new")
        assert ids_until(messages, new.ends[-1]) == new.ends


def test_nothing_is_lost_or_told_twice_when_the_server_is_killed(tmp_path: Path) -> None:
    """A client that asks the next one, at the same port, for what follows its last id."""
    author, token = Author(tmp_path / "workspace"), token_file(tmp_path)
    author.begin()
    with killable(tmp_path / "workspace", "--token-file", str(token)) as begin:
        served = begin()
        with served.stream() as messages:
            author.tell(Kind.INFO, "numbers", text="before")
            seen = ids_until(messages, author.ends[-1])
            served.kill()
        author.tell(Kind.INFO, "numbers", text="while nobody serves")
        again = begin("--port", str(served.port))
        with again.stream(last_id=str(seen[-1])) as messages:
            author.tell(Kind.INFO, "numbers", text="after")
            seen += ids_until(messages, author.ends[-1])
    assert seen == author.ends


def test_a_client_that_does_not_read_holds_up_nobody(served: Served, author: Author) -> None:
    """Not the other clients, and not the pages; what it does not take stays in the log."""
    author.begin()
    for number in range(60):
        author.tell(Kind.INFO, "numbers", text=f"{number} {'long ' * 20_000}")
    lazy = socket.create_connection(("127.0.0.1", served.port))
    lazy.sendall(f"GET /events HTTP/1.1\r\nHost: localhost\r\nCookie: {served.cookie()}\r\n\r\n".encode())
    with served.stream() as messages:
        assert ids_until(messages, author.ends[-1]) == author.ends
    assert "small-12345678" in served.text("/")
    lazy.close()


def test_a_log_that_cannot_be_read_is_told(served: Served, author: Author) -> None:
    """And when it can be read again, the stream goes on as if nothing had been."""
    author.begin()
    with served.stream() as messages:
        ids_until(messages, author.ends[-1])
        hidden = author.path.with_name("hidden")
        author.path.rename(hidden)
        author.path.mkdir()
        assert "events.jsonl" in _next(messages, "trouble").data["text"]
        assert "events.jsonl is no regular file" in served.text("/")
        author.path.rmdir()
        hidden.rename(author.path)
        author.tell(Kind.INFO, "numbers", text="again")
        assert ids_until(messages, author.ends[-1]) == author.ends[1:]


def test_the_newest_run_as_it_stands_comes_with_its_events(served: Served, author: Author) -> None:
    """Drawn by the server, with the offset through which it was read."""
    author.begin()
    author.tell(Kind.STAGE_STARTED, "numbers", action="run")
    end = author.tell(Kind.PROGRESS, "numbers", done=3, total=4, unit="numbers", figures={"loss": 0.125})
    with served.stream() as messages:
        view = next(each for each in messages if each.kind == "view" and each.data["through"] == end)
    assert view.data["run"] == "small-12345678"
    assert "<span>0.125</span>" in view.data["html"]
    # Nobody holds the workspace, so what was at work was killed.
    assert view.data["title"] == "numbers: killed: the log ends here"


def test_a_page_is_sent_its_own_run_also_when_a_newer_one_works(served: Served, author: Author) -> None:
    """It may have been looked away from while its run ended and the next began; once is enough."""
    author.begin("small-1")
    author.tell(Kind.STAGE_STARTED, "numbers", action="run")
    end = author.tell(Kind.INTERRUPTED, "numbers", signal=2, where="number 2")
    author.begin("small-2")
    with served.stream("?run=small-1") as messages:
        while (view := _next(messages, "view").data)["run"] != "small-1" or view["through"] != end:
            pass
        assert view["state"] == "interrupted"
        assert "interrupted" in view["title"]
        author.tell(Kind.STAGE_STARTED, "numbers", action="run")
        with served.stream() as others:
            while (newest := _next(others, "view").data)["through"] != author.ends[-1]:
                pass
        assert newest["run"] == "small-2"
        last = author.tell(Kind.INFO, "numbers", text="last")
        told = [next(messages)]
        while told[-1].id != str(last):
            told.append(next(messages))
        assert {each.kind for each in told} - {"beat"} == {"log"}


@pytest.mark.parametrize(
    "odd",
    [
        (Kind.RUN_STARTED, "", {"run": "odd", "stages": 5}),
        (Kind.RUN_STARTED, "", {"run": "odd", "stages": [], "config_hashes": [1]}),
        (Kind.RUN_STARTED, "", {"run": "a\ud800b", "stages": []}),
        (Kind.PROGRESS, "numbers", {"done": 1, "total": 2, "unit": "numbers", "figures": {"gpu_use": 10**400}}),
        (Kind.PROGRESS, "numbers", {"done": 10**400, "total": 2, "unit": "numbers"}),
    ],
)
def test_a_line_that_somebody_has_written_by_hand_breaks_nothing(
    served: Served, author: Author, odd: tuple[Kind, str, dict[str, Any]]
) -> None:
    """Neither the stream, nor a page."""
    author.begin()
    author.tell(Kind.STAGE_STARTED, "numbers", action="run")
    kind, stage, data = odd
    end = author.tell(kind, stage, **data)
    with served.stream() as messages:
        view = next(each for each in messages if each.kind == "view" and each.data["through"] == end)
    assert view.data["run"] == "small-12345678"
    for path in ("/", "/overview", "/runs/small-12345678", "/runs/small-12345678/sections"):
        served.text(path)


def test_a_connection_that_is_closed_leaves_nothing_behind(served: Served, author: Author) -> None:
    """However many come and go, the server has no more open files than before."""
    author.begin()
    folder = Path(f"/proc/{served.process.pid}/fd")

    def visit() -> None:
        with served.stream() as messages:
            _next(messages, "view")

    visit()
    before = len(list(folder.iterdir()))
    for _ in range(20):
        visit()
    connections: list[http.client.HTTPResponse] = [served.request("/events") for _ in range(10)]
    for each in connections:
        each.close()
    author.tell(Kind.INFO, "numbers", text="that is sent to those who are left")
    served.text("/")
    visit()
    assert len(list(folder.iterdir())) <= before + 2
