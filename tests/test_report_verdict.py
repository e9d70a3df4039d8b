"""What a report begins with: how the run stands, and in whose words."""

from __future__ import annotations

from typing import Any

import pytest
from event_logs import RUN, MadeUpLog
from test_report_page import STAGES, record_of

from pipeline.events import Kind
from pipeline.report.charts import Chart
from pipeline.report.content import Content, content_of
from pipeline.report.history import read_history
from pipeline.report.parts import TableBlock
from pipeline.report.sheet import RunSheet, stage_of


def content(log: MadeUpLog, *done: str, detail: str = "", is_running: bool = False) -> Content:
    """Return the report of a run of which the stages `done` have a record."""
    records = {stage: record_of(stage) for stage in done}
    stages = tuple(stage_of(stage, records.get(stage), detail=detail) for stage in STAGES)
    sheet = RunSheet(run=RUN, profile="x", command="", settings={}, stages=stages)
    history = read_history(log.events, runs=dict.fromkeys(STAGES, RUN), is_running=is_running)
    return content_of(sheet, records, history, [])


def state_of(made: Content, stage: str) -> tuple[Any, ...]:
    """Return the line of a stage in the table of states."""
    table = made.sections[0].items[-1]
    assert isinstance(table, TableBlock)
    return next(row for row in table.rows if row[0] == stage)


def begun() -> MadeUpLog:
    """Return a log whose training is at work."""
    log = MadeUpLog()
    log.start()
    log.work("data_generation")
    log.work("training", seconds=None)
    return log


def test_a_failure_is_told_with_code_and_words() -> None:
    """At the top, in the table of stages and in the timeline."""
    log = begun()
    log.tell(Kind.STAGE_FAILED, "training", error="loss is NaN", code="E0104", after=30)
    made = content(log, "data_generation", detail="no record and no partial work")
    assert (made.verdict.mood, made.verdict.text) == ("bad", "Failed")
    assert made.verdict.detail == "training failed: E0104: loss is NaN"
    assert state_of(made, "training") == ("training", "failed", None, "30s", "E0104: loss is NaN")
    assert state_of(made, "evaluation")[1:] == ("not done", None, None, "no record and no partial work")
    timeline = made.sections[0].items[0]
    assert "E0104: loss is NaN" in str(timeline)


@pytest.mark.parametrize(
    ("words", "is_running", "text", "detail"),
    [
        ({"signal": 15, "where": "step 40"}, False, "Interrupted", "training was interrupted: SIGTERM step 40"),
        ({}, False, "Killed", "training was killed: the log ends here"),
        ({}, True, "At work", "training is at work"),
    ],
)
def test_a_run_that_is_not_done_says_how_it_stands(
    words: dict[str, Any], text: str, detail: str, *, is_running: bool
) -> None:
    """Stopped, killed and still at work are no failures, and not the same."""
    log = begun()
    if words:
        log.tell(Kind.INTERRUPTED, "training", **words)
    verdict = content(log, "data_generation", is_running=is_running).verdict
    assert (verdict.mood, verdict.text, verdict.detail) == ("open", text, detail)


def test_the_newest_session_decides() -> None:
    """What failed earlier is not what stopped the run now."""
    log = begun()
    log.tell(Kind.STAGE_FAILED, "training", error="loss is NaN")
    log.start()
    log.work("data_generation", seconds=None)
    log.tell(Kind.INTERRUPTED, "data_generation", signal=2, where="chunk 3")
    assert content(log).verdict.detail == "data_generation was interrupted: SIGINT chunk 3"


def test_a_failure_comes_before_what_was_stopped_for_it() -> None:
    """Two stages at work together: the one that failed is told."""
    log = MadeUpLog()
    log.start()
    log.work("data_generation", seconds=None)
    log.work("training", seconds=None)
    log.tell(Kind.INTERRUPTED, "data_generation", signal=15, where="chunk 3")
    log.tell(Kind.STAGE_FAILED, "training", error="loss is NaN")
    assert content(log).verdict.text == "Failed"


def test_without_an_attempt_the_plan_tells() -> None:
    """Of what has not begun, or whose record went since, the sheet says how things stand."""
    log = MadeUpLog()
    log.start()
    for stage in STAGES:
        log.work(stage)
    made = content(log, "data_generation", "training", detail="no record and no partial work")
    assert made.verdict.detail == "evaluation: no record and no partial work"
    assert state_of(made, "evaluation")[1] == "not done"


def test_only_what_is_whole_is_finished() -> None:
    """The time of the last record is no end of a run that has not ended."""
    log = begun()
    assert "finished" not in dict(content(log, "data_generation").verdict.facts)
    assert "finished" in dict(content(log, *STAGES).verdict.facts)


def test_a_log_that_is_cut_off_is_not_believed_against_a_record() -> None:
    """What has a record was done: no interruption is counted, and what the log lacks is told as that."""
    log = begun()
    log.tell(Kind.METRICS, "training", step=10, loss=1.0)
    made = content(log, *STAGES)
    assert dict(made.verdict.facts)["interruptions"] == "0"
    timeline = made.sections[0].items[0]
    assert isinstance(timeline, Chart)
    assert timeline.rows[-1][4:] == ("done", "run training; the log does not tell of its end")
    told = str([section for section in made.sections if section.title == "Warnings"])
    assert "the log of events is not whole: it does not tell how training ended" in told
    assert "before chunks were told" not in str(made)


def test_a_run_at_work_has_a_record_before_it_says_so() -> None:
    """In the moment between, as on a page that is live, the stage is done and the log lacks nothing."""
    made = content(begun(), *STAGES, is_running=True)
    timeline = made.sections[0].items[0]
    assert isinstance(timeline, Chart)
    assert timeline.rows[-1][4:] == ("done", "run training")
    assert "not whole" not in str(made)


def test_a_whole_log_is_no_trouble() -> None:
    """An attempt that was killed, and one that came to its end, are told as they were; no warning."""
    log = begun()
    log.start()
    log.work("training", "resume")
    made = content(log, *STAGES)
    assert dict(made.verdict.facts)["interruptions"] == "1"
    assert "not whole" not in str(made)
