"""However a run ends, its report says so, or there is none: never one that tells of what no longer holds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_command_line
import toy_pipeline
from fakes import fail_to_write
from toy_command_line import Call

from pipeline import files
from pipeline.errors import StageFailed
from pipeline.orchestrator import Orchestrator
from pipeline.workspace import Workspace

toy = toy_command_line.call
RUN = "run --set runtime.report=true"


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Leave the handlers of signals as they were: after Ctrl+C a run keeps its own to the end of its process."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def reports(root: Path) -> list[str]:
    """Return the text of each report in a workspace."""
    return [path.read_text() for path in root.glob("results/*/report.html")]


FAILURES = [("stage", 1), ("bug", 101), ("disk", 6), ("memory", 6), ("denied", 6)]


@pytest.mark.parametrize(("failure", "code"), FAILURES)
def test_every_failure_is_reported(
    failure: str, code: int, toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a stage fails of: report and log have its code, as the command line tells it."""
    monkeypatch.setenv("TOY_FAILURE", failure)
    error = toy(f"{RUN} --json", code=code).document["error"]["code"]
    (text,) = reports(tmp_path)
    assert "<h2>Failed</h2>" in text
    assert f"{error}: " in text
    assert f'"code": "{error}"' in (tmp_path / "logs" / "events.jsonl").read_text()


@pytest.mark.parametrize(("failure", "code"), FAILURES)
def test_a_rerun_that_fails_replaces_the_report(
    failure: str, code: int, toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its targets are no longer met: the record went before the work began."""
    toy(RUN)
    assert "Target met" in reports(tmp_path)[0]
    monkeypatch.setenv("TOY_FAILURE", failure)
    toy(f"{RUN} --force-eval", code=code)
    (text,) = reports(tmp_path)
    assert "Target met" not in text
    assert "<h2>Failed</h2>" in text


def test_a_run_that_fails_looks_at_nothing_anew(toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may take minutes, as every byte of data that were found damaged, is left to the next run."""
    toy(RUN)
    monkeypatch.setenv("TOY_FAILURE", "stage")
    monkeypatch.setattr(Orchestrator, "plan", lambda *_, **__: pytest.fail("it looks again"))
    toy(f"{RUN} --force-eval", code=1)
    (text,) = reports(tmp_path)
    assert "<h2>Failed</h2>" in text
    assert text.count(">done</td>") == 3 + 3  # in the timeline, and in the table of stages


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_run_that_is_stopped_has_a_report(
    number: signal.Signals, code: int, toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl+C and SIGTERM, with time left: it says where the run was stopped."""
    monkeypatch.setattr(toy_pipeline, "_meet_the_test", lambda: signal.raise_signal(number))
    toy(RUN, code=code)
    (text,) = reports(tmp_path)
    assert "<h2>Interrupted</h2>" in text
    assert f"numbers was interrupted: stopped by {number.name} at number 1 of 4" in text


def test_without_time_there_is_no_report(toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL is near: the run ends at once, and the report of an earlier one is not left to tell of it."""
    toy(RUN)
    monkeypatch.setattr(toy_pipeline, "_meet_the_test", lambda: signal.raise_signal(signal.SIGTERM))
    toy(f"{RUN} --force-all --set runtime.grace_seconds=1", code=75)
    assert reports(tmp_path) == []
    assert "no time left for the report" in (tmp_path / "logs" / "events.jsonl").read_text()


def test_no_report_is_there_while_a_run_is_at_work(toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that none is left to tell of targets that were met when the run is killed; a setting does not change that."""
    toy(RUN)
    seen = []
    monkeypatch.setattr(toy_pipeline, "_meet_the_test", lambda: seen.append(reports(tmp_path)))
    toy("run --force-all")
    assert seen == [[]] * 4


def test_nothing_is_removed_through_a_link(toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder of the results leads elsewhere, what lies there is let be."""
    toy(RUN)
    (folder,) = tmp_path.glob("results/*")
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(elsewhere)
    monkeypatch.setattr(files, "_durable_folders", set())  # as in a new process
    toy(f"{RUN} --force-all", code=4)
    assert (elsewhere / "report.html").is_file()


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device"), RuntimeError("bug")])
def test_trouble_with_the_report_hides_nothing(
    error: Exception, toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two errors the one that ended the run is told; the other is a warning."""
    fail_to_write(monkeypatch, "report.html", error=error)
    monkeypatch.setenv("TOY_FAILURE", "bug")
    ended = toy(f"{RUN} --json", code=101)
    assert ended.document["error"]["message"] == "internal error: KeyError: 'oops'"
    assert "the report could not be written" in (tmp_path / "logs" / "events.jsonl").read_text()


def test_letters_that_no_page_has_cost_no_charts(toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure may tell anything, in colours too; its words are in the report, and all charts are drawn."""

    def fail() -> None:
        raise StageFailed("a \x1b[31mred\x0b\0\ud800 word", code="T0001")

    monkeypatch.setattr(toy_pipeline, "_fail_as_told", fail)
    toy(RUN, code=1)
    (text,) = reports(tmp_path)
    assert "a \ufffd[31mred\ufffd\ufffd\ufffd word" in text
    assert "could not be drawn" not in text
    assert "Timeline of 4 attempts" in text


def test_a_workspace_of_another_run_gets_no_report(toy: Call, tmp_path: Path) -> None:
    """Who does not get the lock, or has lost the workspace, writes nothing into it."""
    with Workspace.at(tmp_path).locked():
        toy(RUN, code=5)
    assert not (tmp_path / "results").exists()


def test_a_workspace_that_was_moved_is_not_begun_anew(
    toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was, no report is written."""
    root = tmp_path / "workspace"
    monkeypatch.setattr(toy_pipeline, "_fail_as_told", lambda: os.rename(root, tmp_path / "moved"))  # noqa: PTH104 - short
    toy(f"{RUN} --workspace {root}", code=4)
    assert not list(root.glob("results/*/report.html"))
