"""A live page in a process of its own, and a reader of its events that sees what a browser would."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browser import Visit

from pipeline.events import Event, Kind
from pipeline.reporting import EventLog
from pipeline.workspace import Workspace

_SECONDS = 30.0  # after which a test has failed, not the time that it takes
TOKEN = "a-token-that-only-these-tests-know-0123456789"  # noqa: S105


@dataclass(frozen=True)
class Message:
    """A message of a stream: its name, its id where it has one, and its data."""

    kind: str
    id: str
    data: Any


@dataclass
class Served:
    """A server: its process, the address that it printed, and the parts of that."""

    process: subprocess.Popen[str]
    url: str
    port: int = field(init=False)
    token: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self.port, self.token = parts.port or 0, parse_qs(parts.query)["token"][0]

    @property
    def origin(self) -> str:
        """The address without path and token."""
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str) -> str:
        """Return the address of a page, with the token."""
        return f"{self.origin}{path}?token={self.token}"

    def request(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, has_cookie: bool = True
    ) -> http.client.HTTPResponse:
        """Send a request, with the cookie of a browser that was let in, and return the answer, not read yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        connection.putrequest(method, path, skip_host=bool(headers and "Host" in headers))
        for name, value in {**({"Cookie": self.cookie()} if has_cookie else {}), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def text(self, path: str) -> str:
        """Return the body of an answer that has to be a good one."""
        answer = self.request(path)
        body = answer.read().decode()
        assert answer.status == 200, body
        return body

    def cookie(self) -> str:
        """Return the cookie that the token is exchanged for."""
        answer = self.request(f"/?token={self.token}", has_cookie=False)
        answer.read()
        return (answer.getheader("Set-Cookie") or "").partition(";")[0]

    @contextmanager
    def stream(self, query: str = "", *, last_id: str = "") -> Iterator[Iterator[Message]]:
        """Open the stream of events and give its messages; leaving closes the connection."""
        answer = self.request(f"/events{query}", headers={"Last-Event-ID": last_id} if last_id else {})
        assert answer.status == 200, answer.read()
        try:
            yield messages_of(answer)
        finally:
            answer.close()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()


def messages_of(answer: http.client.HTTPResponse) -> Iterator[Message]:
    """Yield the messages of a stream as they come; comments are passed over."""
    told: dict[str, str] = {}
    while line := answer.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if line != "\n":
            told[name] = value
        elif "data" in told:
            yield Message(told.get("event", "message"), told.get("id", ""), json.loads(told["data"]))
            told = {}
        else:
            told = {}


def ids_until(messages: Iterator[Message], last: int) -> list[int]:
    """Return the ids of all events up to the one with the id `last`; a reset on the way is a failure."""
    ids = []
    for message in messages:
        assert message.kind != "reset"
        if message.kind == "log":
            ids.append(int(message.id))
            if ids[-1] == last:
                return ids
    raise AssertionError(f"the stream ended at {ids[-1:]}, not at {last}")


@contextmanager
def serving(workspace: Path, *options: str, pipeline: str = "toy_pipeline:PIPELINE") -> Iterator[Served]:
    """Start `pipeline ui` and give it once it has told its address; it is ended in the end."""
    served = start(workspace, *options, pipeline=pipeline)
    try:
        yield served
    finally:
        stop(served)


def start(workspace: Path, *options: str, pipeline: str = "toy_pipeline:PIPELINE") -> Served:
    """Start `pipeline ui`, and return when it has told its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "ui", "--workspace", str(workspace), *options],
        env=environment(pipeline),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url, f"it ended with {process.wait()}"
    return Served(process, url)


def stop(served: Served) -> None:
    """End the server as a person would."""
    with suppress(ProcessLookupError):
        served.process.send_signal(signal.SIGINT)
    served.process.communicate(timeout=_SECONDS)


def environment(pipeline: str) -> dict[str, str]:
    """Return the environment for a process of ours that finds the pipelines of the tests."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PIPELINE_PIPELINE": pipeline, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def token_file(folder: Path) -> Path:
    """Write a token as it has to lie, and return where."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN)
    return path


@contextmanager
def killable(workspace: Path, *options: str) -> Iterator[Callable[..., Served]]:
    """Give what starts servers one after the other, each with `options` and its own; none of them is left behind."""
    started: list[Served] = []

    def begin(*more: str) -> Served:
        started.append(start(workspace, *options, *more))
        return started[-1]

    try:
        yield begin
    finally:
        for served in started:
            served.kill()


class Author:
    """Writes the log of a workspace as a run does; `ends` are the offsets behind its lines so far."""

    def __init__(self, workspace: Path) -> None:
        workspace = Workspace.at(workspace).root
        (workspace / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.path = workspace / "logs" / "events.jsonl"
        self._log = EventLog(self.path, tell=_fail)

    def tell(self, kind: Kind, stage: str = "", /, **data: Any) -> int:
        """Append an event and return the offset behind it."""
        self._log.emit(Event(kind, stage, data))
        return self.path.stat().st_size

    def begin(self, run: str = "small-12345678", *, stages: tuple[str, ...] = ("numbers", "total")) -> int:
        """Append the start of a run."""
        return self.tell(Kind.RUN_STARTED, run=run, profile="small", stages=list(stages), command=["pipeline", "run"])

    @property
    def ends(self) -> list[int]:
        """Return the offsets behind all whole lines."""
        data = self.path.read_bytes()
        return [place + 1 for place, byte in enumerate(data) if byte == 10]

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def _fail(text: str) -> None:
    raise AssertionError(text)


def wait_for_state(visit: Visit, words: str) -> None:
    """Wait until the page says this of its connection."""
    visit.page.get_by_role("status").get_by_text(words, exact=True).wait_for()


def wait_for_id(visit: Visit, last: int) -> list[int]:
    """Wait until the page has seen the event with this id, and return the ids of all that it has seen."""
    visit.page.locator(f'#live[data-last="{last}"]').wait_for(state="attached")
    found: list[int] = visit.page.evaluate("window.pipelineEvents.ids")
    return found


def wait_for_panel(visit: Visit, through: int) -> None:
    """Wait until the page shows the run as it stands at this offset."""
    visit.page.locator(f'#panel[data-through="{through}"]').wait_for(state="attached")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    """A server and its workspace; each test begins the log anew."""
    root = tmp_path_factory.mktemp("shared")
    (root / "logs").mkdir()
    with serving(root) as served:
        yield served, root


@pytest.fixture
def served(shared: tuple[Served, Path]) -> Served:
    """The server."""
    return shared[0]


@pytest.fixture
def author(shared: tuple[Served, Path]) -> Iterator[Author]:
    """What writes the log that the server reads; it is empty at first."""
    (shared[1] / "logs" / "events.jsonl").unlink(missing_ok=True)
    author = Author(shared[1])
    yield author
    author.close()
