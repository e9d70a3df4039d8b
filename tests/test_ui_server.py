"""The live page as a process: whom it lets in, what it answers, and that it leaves everything as it was."""

from __future__ import annotations

import html
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import toy_command_line
from live_page import Author, Served, serving
from toy_command_line import Call

from pipeline.events import Kind

call = toy_command_line.call

_HOSTILE = "<img src=x onerror=alert(1)>"
_PATHS = ("/", "/overview", "/runs/small-12345678", "/runs/small-12345678/sections", "/events", "/static/live.js")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a workspace with a hostile log, a report, and something beside both that is nobody's business."""
    root = tmp_path_factory.mktemp("served") / "workspace"
    author = Author(root)
    author.begin()
    author.tell(Kind.DECISION, "numbers", action="run", reason="NEVER_RAN", detail=_HOSTILE)
    author.tell(Kind.STAGE_STARTED, "numbers", action="run")
    author.tell(Kind.METRICS, "numbers", step=1, **{_HOSTILE: 1.0})
    author.tell(Kind.WARNING, "numbers", text=_HOSTILE)
    author.tell(Kind.STAGE_FAILED, "numbers", error=_HOSTILE)
    for name in ("two\nlines", _HOSTILE, "..", "../secret", "/etc/passwd"):
        author.begin(name, stages=(name, "total"))
    author.tell(Kind.RUN_STARTED, run="a\ud800b", stages=["total"])
    author.tell(Kind.RUN_STARTED, run="odd", stages=5)
    author.close()
    (root / "secret").mkdir()
    for folder in (root / "results" / "small-12345678", root / "secret", root.parent):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(f"the report in {folder.name}")
    (root / "results" / "linked").symlink_to(root / "secret")
    with serving(root) as served:
        yield served


@pytest.mark.parametrize("path", _PATHS)
def test_without_the_token_nothing_is_told(served: Served, path: str) -> None:
    """Not even a style sheet: neither without any, nor with a wrong one, nor with one in the wrong place."""
    cookie = served.cookie()
    wrong = [{}, {"Cookie": "pipeline=x"}, {"Cookie": cookie[:-1]}, {"Authorization": served.token}]
    # The token is no cookie, and the cookie no token: who gets one of them has nothing of the other.
    wrong.append({"Cookie": f"{cookie.partition('=')[0]}={served.token}"})
    for headers in wrong:
        answer = served.request(path, headers=headers, has_cookie=False)
        assert (answer.status, answer.read()[:4]) == (403, b"403:")
    for token in (served.token[:-1], cookie.partition("=")[2]):
        answer = served.request(f"{path}?token={token}", has_cookie=False)
        assert answer.status == 403
        assert answer.getheader("Set-Cookie") is None


def test_the_token_becomes_a_cookie_and_leaves_the_address(served: Served) -> None:
    """A cookie that no script reads, and that no other site can make a browser send."""
    answer = served.request(f"/runs/a?b=c&token={served.token}&d=e", has_cookie=False)
    assert (answer.status, answer.getheader("Location")) == (303, "/runs/a?b=c&d=e")
    cookie = answer.getheader("Set-Cookie") or ""
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert served.token not in cookie
    answer = served.request(f"//evil.example/?token={served.token}", has_cookie=False)
    assert (answer.getheader("Location") or "").startswith("/evil.example/")


def test_whoever_follows_a_link_gets_in_too(served: Served) -> None:
    """A strict cookie is not sent along with a redirection of another site's link, so the page goes on by itself."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = served.request(f"/?token={served.token}", headers=headers, has_cookie=False)
    assert answer.status == 200
    assert 'content="0;url=/"' in answer.read().decode()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1", "[::2]"])
def test_a_name_that_another_site_has_given_us_is_refused(served: Served, host: str) -> None:
    """DNS rebinding: its page asks for itself by its own name, also with our token."""
    for path in ("/", f"/?token={served.token}"):
        assert served.request(path, headers={"Host": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:22", "LOCALHOST:1", "[::1]:8080"])
def test_a_tunnel_may_have_another_port(served: Served, host: str) -> None:
    """As `ssh -L 9000:127.0.0.1:8123`."""
    assert served.request("/", headers={"Host": host}).status == 200


def test_a_page_of_another_site_can_ask_for_nothing(served: Served) -> None:
    """Not even with the cookie, whatever the browser thinks of it."""
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        assert served.request("/static/live.js", headers=headers).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_can_only_be_read(served: Served, method: str) -> None:
    """GET and HEAD are all there is."""
    for path in (*_PATHS, "/nothing"):
        answer = served.request(path, method=method)
        assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")
    for path in _PATHS:
        answer = served.request(path, method="HEAD")
        assert (answer.status, answer.read()) == (200, b"")


@pytest.mark.parametrize("path", [*_PATHS, "/nothing", "/runs/nothing", "/static/nothing", "/?token=wrong"])
def test_every_answer_is_made_harmless(served: Served, path: str) -> None:
    """No script but our own, nothing kept, nothing guessed, nothing framed; also of errors."""
    for has_cookie in (True, False):
        headers = dict(served.request(path, has_cookie=has_cookie).getheaders())
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


@pytest.mark.parametrize(
    "name",
    ["..", "../secret", "../../workspace", "/etc/passwd", "linked", "%2e%2e", "..%2fsecret", ".", "small-12345678/.."],
)
def test_no_address_leads_out_of_the_results(served: Served, name: str) -> None:
    """Runs are looked up in the list of folders with a report, whatever the log says that runs are called."""
    for path in (f"/runs/{name}/report", f"/runs/{quote(name, safe='')}/report"):
        answer = served.request(path)
        assert b"secret" not in answer.read()
        assert answer.status in (403, 404)
    for path in (f"/static/{name}", f"/static/{quote(name, safe='')}", "/static/../app.py", "/static/..%2fapp.py"):
        assert served.request(path).status == 404


def test_a_report_is_served_with_its_own_policy(served: Served) -> None:
    """It may show its style sheet and pictures; a script could not run even if somebody had put one in."""
    answer = served.request("/runs/small-12345678/report")
    assert answer.read() == b"the report in small-12345678"
    policy = answer.getheader("content-security-policy") or ""
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy


def test_hostile_words_of_a_log_stay_words(served: Served) -> None:
    """In the list, on the page of a run, and in what is fetched for it."""
    hostile = quote(_HOSTILE, safe="")
    for path in ("/", "/overview", "/runs/small-12345678", f"/runs/{hostile}"):
        text = served.text(path)
        assert _HOSTILE not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text
    for path in ("/runs/small-12345678/sections", f"/runs/{hostile}/sections"):
        text = served.text(path)
        assert _HOSTILE not in text
        assert "&lt;img src=x onerror=" in text


def test_every_run_of_the_list_has_a_page(served: Served) -> None:
    """Whatever it is called: each link of the list leads to its page, with its sections."""
    addresses = re.findall(r'<th scope="row"><a href="(/runs/[^"]*)">([^<]*)</a>', served.text("/"))
    names = [html.unescape(name) for _, name in addresses]
    assert names == ["/etc/passwd", "../secret", "..", _HOSTILE, "two\nlines", "small-12345678"]
    for address, name in addresses:
        assert f'data-run="{name}"' in served.text(address)
        assert json.loads(served.text(f"{address}/sections"))["fragments"][0]["id"] == "verdict"


def test_who_has_no_token_keeps_nobody_out(served: Served) -> None:
    """However many connections he opens and says nothing, or half of something; nothing times them out."""
    with ExitStack() as stack:
        for number in range(300):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=30))
            one.sendall(b"" if number % 2 else b"GET / HTTP/1.1\r\nHost: local")
        assert "<script" in served.text("/")
        connections = psutil.Process(served.process.pid).net_connections()
        assert sum(each.status == "ESTABLISHED" for each in connections) <= 140


def test_streams_that_are_open_are_limited_and_leave_when_they_are_closed(served: Served) -> None:
    """Also for those who may look; pages are answered nevertheless."""
    with ExitStack() as stack:
        cookie = {"Cookie": served.cookie()}
        statuses = []
        for _ in range(129):
            answer = stack.enter_context(served.request("/events", headers=cookie, has_cookie=False))
            statuses.append(answer.status)
        assert statuses == [200] * 128 + [503]
        assert "<script" in served.text("/")
    # It learns of each end when it tells something the next time.
    assert any(served.request("/events").status == 200 for _ in range(1000))


def test_it_listens_on_this_machine_alone(served: Served) -> None:
    """On the loopback interface, whatever other addresses the machine has."""
    listening = [each for each in psutil.Process(served.process.pid).net_connections() if each.status == "LISTEN"]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


def _seen(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return all that there is in a folder: times, sizes and bytes."""
    found = {}
    for path in sorted(root.rglob("*")):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, data)
    return found


def test_it_writes_nothing_and_takes_no_lock(call: Call, tmp_path: Path) -> None:
    """A real workspace is byte for byte as it was, with all times; and a run can work beside it."""
    call("run --quiet")
    call("report")
    before = _seen(tmp_path)
    name = next((tmp_path / "results").iterdir()).name
    with serving(tmp_path) as served:
        assert "SKIP" in served.text("/")
        for path in (f"/runs/{name}", f"/runs/{name}/sections", "/overview", f"/runs/{name}/report"):
            served.text(path)
        with served.stream() as messages:
            assert next(messages).kind == "log"
        assert _seen(tmp_path) == before
        call("run --quiet --force-all")
        assert served.text("/").count("<tr data-run=") == 1


def test_the_list_says_what_plan_says(call: Call, tmp_path: Path) -> None:
    """Each stage with action, reason and particulars, in the words of the commands `plan` and `status`; and records."""
    call("run --quiet")
    (tmp_path / "pipeline.toml").write_text("numbers.count = 9\n")
    planned = call("plan --json").document["stages"]
    with serving(tmp_path) as served:
        text = served.text("/")
    for stage in planned:
        row = text.partition(f'<tr data-stage="{stage["stage"]}">')[2].partition("</tr>")[0]
        for words in (stage["state"], stage["action"].upper(), stage["reason"], stage["detail"].replace(">", "&gt;")):
            assert words in row
    assert text.count("<tr data-key=") == 4


def test_a_broken_settings_file_is_told_in_place_of_the_plan(call: Call, tmp_path: Path) -> None:
    """With the code that every command gives; runs and their pages are still there."""
    call("run --quiet")
    with serving(tmp_path) as served:
        (tmp_path / "pipeline.toml").write_text("= nonsense")
        text = served.text("/")
    assert f"error[{call('plan', code=2).err[6:11]}]" in text
    assert text.count("<tr data-run=") == 1


def test_it_works_at_a_low_priority(served: Served) -> None:
    """Whatever runs beside it goes first; so does whatever runs beside the process that draws its charts."""
    served.text("/runs/small-12345678/sections")
    process = psutil.Process(served.process.pid)
    assert {each.nice() for each in [process, *process.children()]} == {max(10, min(19, os.nice(0) + 10))}
