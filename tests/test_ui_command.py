"""The command `ui`: what it needs, what it prints, how it ends, and the browser that it opens."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy_command_line
from live_page import Author, serving, token_file
from toy_command_line import Call

call = toy_command_line.call


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told_also_with_streams_that_are_open(tmp_path: Path, number: int) -> None:
    """Quietly: Ctrl+C is the way to end it, and no client can keep it."""
    Author(tmp_path).begin()
    with serving(tmp_path) as served, served.stream() as messages:
        next(messages)
        served.process.send_signal(number)
        assert served.process.wait(20) == (0 if number == signal.SIGINT else -signal.SIGTERM)
        assert list(messages)[-1].kind in ("log", "view")


def test_a_token_from_a_file_makes_an_address_that_stays(tmp_path: Path) -> None:
    """So that open pages find back after a restart; all others are new each time."""
    (tmp_path / "logs").mkdir()
    with serving(tmp_path) as first, serving(tmp_path) as second:
        assert first.token != second.token
    options = ("--token-file", str(token_file(tmp_path)))
    with serving(tmp_path, *options) as first:
        cookie = first.cookie()
    with serving(tmp_path, "--port", str(first.port), *options) as again:
        assert again.url == first.url
        assert again.request("/", headers={"Cookie": cookie}, has_cookie=False).status == 200


def test_for_a_program_the_address_comes_as_json(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object, as of every command, before it serves."""
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr("pipeline.ui.server.serve", lambda listener, **_: listener.getsockname())
    document = call("ui --json").document
    assert (document["command"], document["workspace"]) == ("ui", str(tmp_path))
    assert document["url"].startswith(f"http://127.0.0.1:{document['port']}/?token=")


@pytest.mark.parametrize("problem", ["missing", "readable by others", "too short", "a folder"])
def test_a_token_that_others_may_know_is_refused(call: Call, tmp_path: Path, problem: str) -> None:
    """Each problem is named, with the command that makes a good one."""
    (tmp_path / "logs").mkdir()
    file = token_file(tmp_path)
    if problem == "missing":
        file.unlink()
    elif problem == "readable by others":
        file.chmod(0o640)
    elif problem == "too short":
        file.write_text("abc")
    else:
        file.unlink()
        file.mkdir()
    ended = call("ui --token-file token", code=2)
    assert "error[E0225]" in ended.err
    assert "openssl rand" in ended.err


def test_a_port_that_is_taken_is_an_error_with_a_remedy(call: Call, tmp_path: Path) -> None:
    """It says which, and what to do."""
    (tmp_path / "logs").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = call(f"ui --port {port}", code=2)
    assert f"error[E0224]: cannot listen on 127.0.0.1:{port}: Address already in use" in ended.err
    assert "--port" in ended.err


def test_where_there_is_no_workspace_it_says_so(call: Call, tmp_path: Path) -> None:
    """A folder in which no run has ever worked."""
    ended = call("ui", code=2)
    assert f"error[E0227]: {tmp_path} is no workspace" in ended.err


def test_a_log_that_cannot_be_read_is_an_error_at_the_start(call: Call, tmp_path: Path) -> None:
    """Rather than a page that stays empty."""
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / "events.jsonl")
    assert "error[E0406]" in call("ui", code=4).err


def test_missing_packages_are_named(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs them."""
    (tmp_path / "logs").mkdir()
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else find_spec(name))
    ended = call("ui", code=2)
    assert "error[E0226]: the live page needs packages that are not installed: uvicorn" in ended.err


@contextmanager
def _browser(folder: Path, body: str) -> Iterator[None]:
    """Put a shell script in the place of the browser."""
    script = folder / "browser"
    os.mkfifo(folder / "told")
    script.write_text(f"#!/bin/sh\nexec >{folder}/told\n{body}\n")
    script.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER", str(script))
        yield


def _told_by_browser(folder: Path) -> str:
    """Wait until the script was started, and return what it has said."""
    told = subprocess.run(["cat", folder / "told"], capture_output=True, text=True, timeout=30, check=True)
    return told.stdout


@pytest.mark.skipif(shutil.which("sh") is None, reason="the stand-in for a browser is a shell script")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_serves_beside_a_browser_in_the_foreground_and_leaves_no_token(tmp_path: Path, number: int) -> None:
    """Which ends when its window is closed; whatever signal ends the server, the file with the token goes with it."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("what ignores it leaves that to all that it starts, as nohup does")
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "closed")
    with _browser(tmp_path, f'echo "$1"; exec >{os.devnull}; cat {tmp_path}/closed'):
        try:
            with serving(tmp_path, "--open") as served:
                file = Path(_told_by_browser(tmp_path).strip().removeprefix("file://"))
                assert served.token in file.read_text()
                assert "<script" in served.text("/")
                served.process.send_signal(number)
                assert served.process.wait(20) == (0 if number == signal.SIGINT else -signal.SIGTERM)
        finally:
            os.close(os.open(tmp_path / "closed", os.O_RDWR))  # which waits for nobody, as a FIFO else does
    assert not file.parent.exists()


@pytest.mark.skipif(shutil.which("sh") is None, reason="the stand-in for a browser is a shell script")
def test_a_browser_is_given_a_file_that_only_its_user_can_read(tmp_path: Path) -> None:
    """The token stands in no command line, where all users of the machine would see it."""
    (tmp_path / "logs").mkdir()
    tell = 'file="${1#file://}"; echo "$*"; stat -c %a "${file%/*}"; cat "$file"'
    with _browser(tmp_path, tell), serving(tmp_path, "--open") as served:
        arguments, mode, page = _told_by_browser(tmp_path).split("\n", 2)
    assert served.token not in arguments
    assert mode == "700"
    assert f'content="0;url={served.url}"' in page
    assert not Path(arguments.removeprefix("file://")).exists()
