"""The live page in a browser, as a person sees it: numbers that are those of the log, and none lost or told twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import Open, Visit, barriers, chromium, pages
from live_page import Author, environment, killable, serving, token_file, wait_for_id, wait_for_panel, wait_for_state

from pipeline.events import Kind
from pipeline.workspace import Workspace

_TINY = "tiny_pipeline:SMALL"


@pytest.fixture(scope="module")
def open_page() -> Iterator[Open]:
    """What opens pages, in one browser for all of these tests."""
    with chromium() as browser, pages(browser) as opening:
        yield opening


def _figures(visit: Visit, stage: str) -> dict[str, str]:
    """Return the figures of a stage as the page shows them."""
    script = (
        """(rows) => rows.map((row) => [row.querySelector("dt").innerText, row.querySelector("dd > span").innerText])"""
    )
    shown: list[tuple[str, str]] = visit.page.eval_on_selector_all(f'[data-stage="{stage}"] dl > div', script)
    return dict(shown)


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _last(path: Path, kind: str, stage: str) -> dict[str, Any]:
    """Return the data of the newest event of a kind, read from the log without any of our own code."""
    found: dict[str, Any] = [each["data"] for each in _events(path) if (each["kind"], each["stage"]) == (kind, stage)][
        -1
    ]
    return found


def test_a_real_training_is_shown_with_the_numbers_of_its_log(open_page: Open, tmp_path: Path) -> None:
    """From before its start to its end: the list shows it come, its page all figures, charts and the verdict."""
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "events.jsonl"
    with serving(tmp_path, pipeline=_TINY) as served:
        overview = open_page(served.page("/"))
        overview.page.get_by_text("Nothing was run here yet").wait_for()
        command = [sys.executable, "-m", "pipeline", "run", "--quiet", "--workspace", str(tmp_path)]
        run = subprocess.Popen([*command, "--set", "runtime.report=true"], env=environment(_TINY))
        overview.page.locator("tr[data-run] a").first.wait_for()
        name = _events(log)[0]["run"]
        visit = open_page(served.page(f"/runs/{name}"))
        assert run.wait(120) == 0
        visit.page.get_by_text("Report of this run").wait_for()
        end = log.stat().st_size
        wait_for_panel(visit, end)
        for stage in ("data_generation", "training", "evaluation"):
            assert visit.page.locator(f'[data-stage="{stage}"].is-done').count() == 1
        # The charts come when the server's pause is over; their tables hold the very numbers of the log.
        table = visit.page.locator("figure").filter(has=visit.page.get_by_role("heading", name="Loss", exact=True))
        points = {each["data"]["step"]: each["data"] for each in _events(log) if each["kind"] == "metrics"}
        steps = [step for step, data in points.items() if "loss" in data]
        row = table.locator("tbody tr", has=visit.page.locator(f'th:text-is("{steps[-1]}")'))
        row.wait_for(state="attached")
        assert float(row.locator("td").first.text_content() or "") == pytest.approx(points[steps[-1]]["loss"], rel=1e-3)
        chunks = {(each["data"]["epoch"], each["data"]["chunk"]) for each in _events(log) if each["kind"] == "chunk"}
        marks = visit.page.locator("figure", has_text="Loss of each chunk").locator("svg path title")
        assert marks.count() == len(chunks)
        _assert_same_sections(served.text(f"/runs/{name}/sections"), tmp_path / "results" / name / "report.html")
        overview.page.locator(".badge.is-done").wait_for()
        assert visit.complaints == overview.complaints == []
        assert visit.requests_beside(served.origin) == []


def _assert_same_sections(answer: str, report: Path) -> None:
    """Make sure that the page has the sections of the report's file, with the same charts and pictures."""
    fragments = json.loads(answer)["fragments"]
    written = report.read_text()
    titles = [each["title"] for each in fragments if each["title"]]
    assert titles == re.findall(r'<h2 id="title-\d+">(.*?)</h2>', written)
    # The parts of a picture are named after its place in the file, and after its data on the page.
    shown = "".join(each["html"] for each in fragments)
    shown, written = (re.sub(r"(chart|picture)-[\w-]+", "part", text) for text in (shown, written))
    pictures = re.findall(r"<svg .*?</svg>", shown, flags=re.DOTALL)
    assert len(pictures) == written.count("<svg ") > 10
    assert all(picture in written for picture in pictures)


def test_each_figure_on_the_page_is_that_of_the_newest_line(open_page: Open, tmp_path: Path) -> None:
    """A log that another process writes line by line; after each burst the page shows what the last line says."""
    author = Author(tmp_path)
    author.begin(stages=("training",))
    author.tell(Kind.STAGE_STARTED, "training", action="run")
    program = (
        "import sys; from pathlib import Path; from pipeline.events import Event, Kind; "
        "from pipeline.reporting import EventLog\n"
        "for line in sys.stdin:\n"
        "    n = int(line); log = EventLog(Path(sys.argv[1]), tell=print)\n"
        "    log._run = 'small-12345678'\n"
        "    figures = {'epoch': 0, 'num_epochs': 3, 'chunks_done': n % 8, 'num_chunks': 8, 'loss': 2.0 / (1 + n), "
        "'images_per_second': 100.5 + n, 'validation_ap': n / 100, 'gradient_norm': n * 1.5, 'lr': 0.001 * n}\n"
        "    log.emit(Event(Kind.METRICS, 'training', {'step': n, 'loss': 2.0 / (1 + n)}))\n"
        "    log.emit(Event(Kind.PROGRESS, 'training', "
        "{'done': n, 'total': 40, 'unit': 'steps', 'figures': figures})); log.close()\n"
        "    print(n, flush=True)\n"
    )
    with Workspace.at(tmp_path).locked(), serving(tmp_path) as served:
        visit = open_page(served.page("/runs/small-12345678"), width=400)
        begin = author.path.stat().st_size
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(author.path)],
            env=environment("toy_pipeline:PIPELINE"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdin
        assert writer.stdout
        for number in (3, 7, 12, 21):
            writer.stdin.write(f"{number}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == f"{number}\n"
            wait_for_panel(visit, author.path.stat().st_size)
            told = _last(author.path, "progress", "training")
            shown = _figures(visit, "training")
            assert shown["steps"] == f"{told['done']} of {told['total']}"
            assert float(shown["loss"]) == pytest.approx(told["figures"]["loss"], rel=1e-3)
            assert float(shown["images/s"]) == pytest.approx(told["figures"]["images_per_second"], rel=1e-3)
            assert float(shown["learning rate"]) == pytest.approx(told["figures"]["lr"], rel=1e-3)
            assert float(shown["gradient norm"]) == pytest.approx(told["figures"]["gradient_norm"], rel=1e-3)
            assert float(shown["validation ap"]) == pytest.approx(told["figures"]["validation_ap"], abs=1e-4)
            assert visit.page.locator(".cells .done").count() == told["figures"]["chunks_done"]
            assert visit.page.locator(".strip").inner_text().startswith("1st of 3 epochs")
            assert visit.page.locator("progress").get_attribute("value") == str(100 * number / 40)
        writer.communicate("")
        assert wait_for_id(visit, author.ends[-1]) == [end for end in author.ends if end > begin]
        assert visit.overflow() == 0
        assert visit.complaints == []


def test_a_server_that_is_killed_and_started_again_loses_and_repeats_nothing(open_page: Open, tmp_path: Path) -> None:
    """The page tells that it is not live, comes back by itself, and has seen each event exactly once."""
    author, token = Author(tmp_path / "workspace"), str(token_file(tmp_path))
    author.begin()
    with killable(tmp_path / "workspace", "--token-file", token) as begin_server:
        served = begin_server()
        visit = open_page(served.page("/runs/small-12345678"))
        wait_for_state(visit, "live")
        begin = author.ends[-1]
        for kills in range(2):
            author.tell(Kind.INFO, "numbers", text=f"before kill {kills}")
            wait_for_id(visit, author.ends[-1])
            served.kill()
            visit.page.get_by_role("status").get_by_text("reconnecting").wait_for()
            for number in range(20):
                author.tell(Kind.METRICS, "numbers", step=number, loss=1.0)
            author.tell(Kind.INFO, "numbers", text=f"while nobody serves {kills}")
            served = begin_server("--port", str(served.port))
            author.tell(Kind.INFO, "numbers", text=f"after kill {kills}")
            assert wait_for_id(visit, author.ends[-1]) == [end for end in author.ends if end > begin]
            wait_for_state(visit, "live")
        told = visit.page.locator("#events li").all_inner_texts()
        for words in ("before kill", "while nobody serves", "after kill"):
            assert [re.sub(r".*numbers: ", "", each, flags=re.DOTALL) for each in told if words in each] == [
                f"{words} {kills}" for kills in range(2)
            ]
        assert visit.page_errors == visit.violations == []


def test_a_run_that_is_killed_is_seen_to_be_and_then_goes_on(open_page: Open, tmp_path: Path) -> None:
    """A real run that waits for the test is killed without a word, and started again; the page says so each time."""
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "gate")
    command = [sys.executable, "-m", "pipeline", "run", "--quiet", "--workspace", str(tmp_path)]
    gated = {**environment("toy_pipeline:PIPELINE"), "TOY_PAUSE": str(tmp_path / "gate")}
    with serving(tmp_path) as served:
        overview = open_page(served.page("/"))
        run = subprocess.Popen(command, env=gated, stdout=subprocess.DEVNULL)
        (tmp_path / "gate").write_bytes(b"")  # it has drawn one number now, and waits with the second
        overview.page.locator(".badge.is-at-work").wait_for()
        name = _events(tmp_path / "logs" / "events.jsonl")[0]["run"]
        visit = open_page(served.page(f"/runs/{name}"))
        visit.page.locator('[data-stage="numbers"].is-running').wait_for()
        assert "of 4" in _figures(visit, "numbers")["numbers"]
        run.kill()
        run.wait()
        visit.page.locator("#panel").get_by_text("killed: the log ends here").wait_for()
        visit.page.get_by_role("heading", name="Killed", exact=True).wait_for()
        overview.page.locator(".badge.is-killed").wait_for()
        subprocess.run(command, env=environment("toy_pipeline:PIPELINE"), stdout=subprocess.DEVNULL, check=True)
        visit.page.get_by_role("heading", name="Target met").wait_for()
        overview.page.locator(".badge.is-done").wait_for()
        assert overview.page.locator("tr[data-run] td.number").all_inner_texts()[-1] == "1"
        assert visit.page.locator(".stage.is-done").count() == 4
        assert visit.complaints == overview.complaints == []


def test_hostile_words_stay_words_in_a_browser(open_page: Open, tmp_path: Path) -> None:
    """In what the server has made, in what comes while the page is open, and in what is fetched then."""
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    author = Author(tmp_path)
    author.begin(hostile, stages=(hostile,))
    with Workspace.at(tmp_path).locked(), serving(tmp_path) as served:
        visit = open_page(served.page(f"/runs/{quote(hostile, safe='')}"))
        overview = open_page(served.page("/"))
        wait_for_state(visit, "live")
        author.tell(Kind.DECISION, hostile, action="run", reason=hostile, detail=hostile)
        author.tell(Kind.STAGE_STARTED, hostile, action=hostile)
        author.tell(Kind.METRICS, hostile, step=1, **{hostile: 1.0, "loss": 2.0})
        author.tell(Kind.WARNING, hostile, text=hostile)
        figures = {hostile: hostile, "epoch": 0, "chunks_done": 1, "num_chunks": 2}
        author.tell(Kind.PROGRESS, hostile, done=1, total=2, unit=hostile, figures=figures)
        author.tell(Kind.STAGE_FAILED, hostile, error=hostile)
        wait_for_panel(visit, author.ends[-1])
        visit.page.locator("#sections h3", has_text=re.compile("^Loss$")).wait_for()
        visit.page.locator("#events .kind-stage_failed").wait_for()
        assert visit.page.locator("#panel h3").inner_text() == hostile
        assert overview.page.locator("tr[data-run] a").first.inner_text() == hostile
        for page in (visit, overview):
            assert page.page.locator("img, script:not([src])").count() == 0
            assert page.complaints == []


def test_nobody_is_kept_out(open_page: Open, tmp_path: Path) -> None:
    """axe-core finds nothing serious on any page, with runs in several states, and tables that are opened."""
    author = Author(tmp_path)
    author.begin("small-33333333")
    author.tell(Kind.INTERRUPTED, "numbers", signal=15, where="number 3")
    author.begin("small-11111111", stages=("numbers", "cubes", "total", "other"))
    author.tell(Kind.DECISION, "numbers", action="skip", reason="UP_TO_DATE", detail="as recorded")
    author.tell(Kind.STAGE_STARTED, "cubes", action="run")
    for number in range(4):
        author.tell(Kind.METRICS, "cubes", step=number, loss=4.0 - number, validation_ap=0.2 * number)
        chunk = {"epoch": 0, "chunk": number, "done": number + 1, "total": 6, "samples": 9, "skipped": 0}
        author.tell(Kind.CHUNK, "cubes", **chunk, loss=1.0 + number)
    figures = {"epoch": 0, "num_epochs": 2, "chunks_done": 4, "num_chunks": 6, "loss": 0.5}
    author.tell(Kind.PROGRESS, "cubes", done=4, total=12, unit="steps", figures=figures)
    author.tell(Kind.WARNING, "cubes", text="be careful")
    with Workspace.at(tmp_path).locked(), serving(tmp_path) as served:
        for path in ("/", "/runs/small-11111111", "/runs/small-33333333"):
            visit = open_page(served.page(path))
            wait_for_state(visit, "live")
            if path != "/":
                visit.page.locator("#sections[aria-busy=false]").wait_for()
                visit.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            assert barriers(visit.page) == []
            visit.page.emulate_media(color_scheme="dark")
            assert barriers(visit.page) == []
            assert visit.complaints == []
        assert os.getpriority(os.PRIO_PROCESS, served.process.pid) >= 10


def test_what_a_person_has_opened_and_chosen_stays_when_new_charts_come(open_page: Open, tmp_path: Path) -> None:
    """Only what differs is touched: an opened table stays open, and the keyboard stays where it was."""
    author = Author(tmp_path)
    author.begin(stages=("training",))
    author.tell(Kind.STAGE_STARTED, "training", action="run")
    author.tell(Kind.METRICS, "training", step=1, loss=4.0)
    with Workspace.at(tmp_path).locked(), serving(tmp_path) as served:
        visit = open_page(served.page("/runs/small-12345678"))
        summary = visit.page.locator("summary", has_text="Loss as a table")
        summary.click()
        author.tell(Kind.METRICS, "training", step=2, loss=3.0)
        author.tell(Kind.RUN_FINISHED, duration_seconds=1.0, targets=[])  # the end is shown without a pause
        visit.page.locator("#sections th", has_text=re.compile("^2$")).wait_for()
        assert summary.locator("xpath=..").get_attribute("open") is not None
        assert summary.evaluate("(element) => element === document.activeElement")
