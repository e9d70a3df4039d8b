"""Reports of real runs: written at their end, never in their way, and for runs that did not end well too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_command_line
import toy_command_line
from fakes import fail_to_write
from tiny_command_line import Command
from toy_command_line import Call

from pipeline.errors import ResourceExhausted
from pipeline.report import renderer, writer

call, finished, copy = tiny_command_line.call, tiny_command_line.finished, tiny_command_line.copy
toy = toy_command_line.call
WITH_REPORT = ("--set", "runtime.report=true")


def report_of(root: Path) -> Path:
    """Return the one report in a workspace."""
    (path,) = root.glob("results/*/report.html")
    return path


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the workspace of a run that was done from nothing to its report, in a process of its own."""
    root = tmp_path_factory.mktemp("reported")
    _run(root)
    return root


def _run(root: Path, *words: str) -> str:
    """Carry out `pipeline run` with the report switched on and return what it said."""
    environment = {**os.environ, "PIPELINE_PIPELINE": tiny_command_line.SMALL, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--workspace", str(root), "--quiet", *WITH_REPORT, *words],
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_a_run_ends_with_its_report(reported: Path) -> None:
    """Verdict, timeline, chunks, curves, what evaluation adds, settings, digests, command: all of it, drawn."""
    text = report_of(reported).read_text()
    for title in (
        *("targets missed", "Timeline", "Chunks of training", "When each chunk was trained", "Curves of training"),
        *("Learning rate", "Gradient norm", "Held-out scenes", "Average precision by class and size"),
        *("Precision and recall by class", "Confusion matrix", "The 3 worst of 3 images", "Settings"),
        *("Environment", "Seeds and digests", "Reproduce this run"),
    ):
        assert title in text, title
    assert "could not be drawn" not in text
    assert text.count("data:image/webp") == 3
    assert "training.seed" in text
    assert "Most memory held" in text
    record = json.loads(next(reported.glob("checkpoints/training/*.json")).read_text())
    assert record["config_hash"] in text
    assert all(artifact["xxh3"] in text for artifact in record["artifacts"])


def test_a_cached_run_leaves_the_report_alone(reported: Path) -> None:
    """What is written already is not written again, and nothing that would write it is loaded."""
    before = report_of(reported).stat().st_mtime_ns
    said = _run(reported)
    assert report_of(reported).stat().st_mtime_ns == before
    assert str(report_of(reported)) in said


@pytest.mark.parametrize("name", ["report.html", "run.json"])
def test_a_cached_run_writes_what_is_missing(reported: Path, name: str) -> None:
    """A report that was removed is made again."""
    path = report_of(reported).with_name(name)
    path.unlink()
    _run(reported)
    assert path.is_file()


def test_the_report_follows_the_origins_of_settings(reported: Path) -> None:
    """The same run with a value from elsewhere is told with its new origin."""
    _run(reported, "--set", "training.epochs=2")
    assert "--set training.epochs=2" in report_of(reported).read_text()
    _run(reported)
    assert "--set training.epochs=2" not in report_of(reported).read_text()


def test_report_is_off_where_the_settings_say_so(finished: Path) -> None:
    """runtime.report = false writes none."""
    assert not list(finished.glob("results/*/report.html"))


def test_report_can_be_asked_for(copy: Path, call: Command) -> None:
    """`pipeline report` writes the same page at any time, and says where and how large."""
    answered = call(copy, "report")
    assert answered.code == 0
    assert answered.document["path"] == str(report_of(copy))
    assert answered.document["num_bytes"] == report_of(copy).stat().st_size
    assert answered.document["is_whole"]


def test_report_of_a_run_that_never_was(tmp_path: Path, call: Command) -> None:
    """Nothing is done yet, and the report says so."""
    answered = call(tmp_path, "report")
    assert (answered.code, answered.document["is_whole"]) == (0, False)
    text = report_of(tmp_path).read_text()
    assert "Not finished" in text
    assert "no record and no partial work" in text


def test_report_makes_no_workspace(tmp_path: Path, call: Command) -> None:
    """A mistyped --workspace is an error, and no folder of that name is made."""
    answered = call(tmp_path / "nothere", "report")
    assert answered.code == 2
    assert f"there is no folder {tmp_path / 'nothere'}, so no run to report on" in answered.error
    assert not (tmp_path / "nothere").exists()


def test_report_of_an_older_log(copy: Path, call: Command) -> None:
    """A log of the first format, without runs and chunks, still gives a report with curves and a timeline."""
    log = copy / "logs" / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    old = [{**line, "v": 1} for line in lines if line["kind"] not in ("chunk", "checkpoint")]
    for line in old:
        del line["run"]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in old))
    assert call(copy, "report").code == 0
    text = report_of(copy).read_text()
    assert "Curves of training" in text
    assert "written before chunks were told" in text
    assert "5 attempts" not in text
    assert "Timeline of 3 attempts" in text


@pytest.mark.parametrize("damage", ["none", "nonsense", "folder"])
def test_report_without_a_log(copy: Path, call: Command, damage: str) -> None:
    """A log that is gone, or is none, costs its charts and nothing else."""
    log = copy / "logs" / "events.jsonl"
    log.unlink()
    if damage == "nonsense":
        log.write_bytes(b"\xff\x00{]\n" * 100)
    elif damage == "folder":
        log.mkdir()
    assert call(copy, "report").code == 0
    text = report_of(copy).read_text()
    assert "The log of events tells nothing of this run" in text
    assert ("cannot be read" in text) == (damage == "folder")
    assert "Confusion matrix" in text


def test_report_without_what_evaluation_left(copy: Path, call: Command) -> None:
    """A part that is gone makes its stage run again; until then the report tells what it has."""
    next(copy.glob("results/*/evaluation_report.json")).write_text("{}")
    assert call(copy, "report").code == 0
    text = report_of(copy).read_text()
    assert "Not finished" in text
    assert "Confusion matrix" not in text
    assert "Curves of training" in text


def test_charts_that_cannot_be_drawn_cost_only_themselves(
    copy: Path, call: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The renderer dies as for want of memory: the page has tables in the place of charts, and says why."""
    program = tmp_path / "dying.py"
    program.write_text("import os, sys\nsys.stderr.write('Fatal: out of memory\\n')\nsys.stderr.flush()\nos.abort()\n")
    draw = renderer.draw
    monkeypatch.setattr(writer, "draw", lambda charts, **_: draw(charts, program=program))
    assert call(copy, "report").code == 0
    text = report_of(copy).read_text()
    assert "could not be drawn (Fatal: out of memory)" in text
    assert "<details open>" in text
    monkeypatch.setattr(writer, "draw", draw)
    assert call(copy, "run", *WITH_REPORT).code == 0
    assert "could not be drawn" not in report_of(copy).read_text(), "the next run tries again"


def test_charts_fetch_nothing() -> None:
    """A chart that names an address is refused before anybody asks for it."""
    from test_report_charts import lines

    chart = lines(a=[(1, 1.0)])
    chart.spec["layer"][0]["data"] = {"url": "http://127.0.0.1:9/points.json"}
    pictures, trouble = renderer.draw([chart])
    assert pictures == [""]
    assert trouble == "Error: External data url not allowed: http://127.0.0.1:9/points.json"


def test_a_chart_that_cannot_be_drawn_costs_only_itself() -> None:
    """What ends the renderer, and what it makes no picture of, leave the charts before and behind it alone."""
    from test_report_charts import lines

    good, bad, empty = (lines(a=[(1, 1.0), (2, 2.0)]) for _ in range(3))
    bad.spec["layer"] = "nonsense"
    empty.spec["layer"] = []
    pictures, trouble = renderer.draw([good, bad, good, empty, good])
    assert [bool(picture) for picture in pictures] == [True, False, True, False, True]
    assert trouble
    assert renderer.draw([good, good])[1] == ""


def test_a_renderer_that_always_dies_is_given_up(tmp_path: Path) -> None:
    """It is not started for each of many charts."""
    from test_report_charts import lines

    program, starts = tmp_path / "dying.py", tmp_path / "starts"
    program.write_text(f"import os\nopen({str(starts)!r}, 'a').write('x')\n")
    assert renderer.draw([lines(a=[(1, 1.0)])] * 9, program=program) == (
        [""] * 9,
        "the program that draws them ended with 0",
    )
    assert len(starts.read_text()) < 9


def test_renderer_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """After its time it is ended, and said to have taken too long."""
    from test_report_charts import lines

    program = tmp_path / "hanging.py"
    program.write_text("import signal\nsignal.pause()\n")
    assert renderer.draw([lines(a=[(1, 1.0)])], program=program, timeout=0.2) == (
        [""],
        "drawing them took longer than 0.2 seconds",
    )


@pytest.mark.parametrize("error", [ResourceExhausted("no space", code="E0601"), OSError(5, "I/O"), KeyError("bug")])
def test_a_report_that_fails_is_a_warning(
    error: Exception, copy: Path, call: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full disk, broken disk, our own mistake: the run is done, its code is 0, and the log tells."""
    fail_to_write(monkeypatch, "report.html", error=error)
    answered = call(copy, "run", *WITH_REPORT)
    assert (answered.code, answered.document["report"]) == (0, None)
    assert "the report could not be written" in (copy / "logs" / "events.jsonl").read_text()
    assert not list(copy.glob("results/*/run.json"))


def test_a_failed_run_has_a_report(toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which stage failed, of what, and what was done before; its own failure stays the one that is told."""
    monkeypatch.setenv("TOY_FAILURE", "stage")
    ended = toy("run --json --set runtime.report=true", code=1)
    assert ended.document["error"]["message"] == "the total cannot be added up"
    text = report_of(tmp_path).read_text()
    assert "<h2>Failed</h2>" in text
    assert "total failed: T0001: the total cannot be added up" in text
    assert "<dt>finished</dt>" not in text


def test_report_of_a_pipeline_without_training(toy: Call, tmp_path: Path) -> None:
    """Any pipeline has a report: its stages, targets, settings and digests."""
    toy("run --set runtime.report=true")
    text = report_of(tmp_path).read_text()
    assert "Target met" in text or "targets" in text
    assert "numbers" in text


def test_reset_of_a_run_takes_its_report(copy: Path, call: Command) -> None:
    """With all of a run its report goes, and with a stage of it the report stays: it tells what was."""
    call(copy, "report")
    named = ("--profile", "small", "--yes")
    call(copy, "reset", "evaluation", *named)
    assert report_of(copy).is_file()
    call(copy, "reset", "all", *named)
    assert not list(copy.glob("results/*/*"))
