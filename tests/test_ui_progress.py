"""Progress as a page shows it: the same state that a terminal draws."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.event_reader import LoggedEvent
from pipeline.events import Event, Kind
from pipeline.picture import picture
from pipeline.reporting import Wording
from pipeline.run_view import RunView
from pipeline.ui.pages import part
from pipeline.ui.progress import Figure, panel_of
from pipeline.ui.stream import words_of

_FIGURES = {
    "epoch": 1,
    "num_epochs": 3,
    "chunks_done": 2,
    "num_chunks": 5,
    "loss": 0.123456,
    "loss_box": 0.1,
    "lr": 0.001,
    "images_per_second": 101.25,
    "validation_ap": 0.4,
    "validation_ap50": 0.97,
    "extra": "words",
    "gpu_memory_gb": 3.25,
    "gpu_use": 0.875,
    "eta_seconds": 90.0,
}
_TARGETS = [
    {"data_set": "d", "metric": name, "minimum": least, "value": None} for name, least in (("ap", 0.85), ("ap50", 0.95))
]


def _view(*events: tuple[Kind, str, dict[str, Any]]) -> RunView:
    view = RunView()
    start = {"run": "test-1", "profile": "test", "stages": ["data", "training", "last"], "targets": _TARGETS}
    for number, (kind, stage, data) in enumerate([(Kind.RUN_STARTED, "", start), *events]):
        view.take(Event(kind, stage, data), at=1000.0 + 10 * number)
    return view


def _training() -> RunView:
    progress = {"total": 100, "unit": "steps", "figures": _FIGURES}
    return _view(
        (Kind.DECISION, "data", {"action": "skip", "reason": "UP_TO_DATE", "detail": "as recorded"}),
        (Kind.STAGE_STARTED, "training", {"action": "run"}),
        (Kind.PROGRESS, "training", {"done": 20, **progress}),
        (Kind.CHECKPOINT, "training", {"step": 20, "num_bytes": 9, "seconds": 4.0}),
        (Kind.PROGRESS, "training", {"done": 60, **progress}),
    )


def test_a_training_at_work_has_all_its_figures() -> None:
    """As they stand in the newest line, with the words of the terminal."""
    data, training, last = panel_of(_training(), at=1060.0, is_at_work=True).stages
    assert (data.state, data.words) == ("skipped", "up to date")
    assert (last.state, last.words) == ("waiting", "waiting")
    assert (training.state, training.share, training.words) == ("running", 60.0, "60%, ETA 1m20s")
    assert training.strip
    assert training.strip.label == "2nd of 3 epochs"
    assert training.strip.cells == ("done", "done", "current", "open", "open")
    assert training.strip.text == "2 of 5 chunks"
    assert training.figures == (
        Figure(name="steps", value="60 of 100"),
        Figure(name="steps a second", value="2"),
        Figure(name="images/s", value="101.2"),
        Figure(name="loss", value="0.1235"),
        Figure(name="learning rate", value="0.001"),
        Figure(name="validation ap", value="0.4000", mood="open", note="target 0.85"),
        Figure(name="validation ap50", value="0.9700", mood="good", note="target 0.95 met"),
        Figure(name="extra", value="words"),
        Figure(name="checkpoint age", value="24s", since=1036.0),
        Figure(name="GPU memory", value="3.2 GB"),
        Figure(name="GPU use", value="88%"),
    )


def test_page_and_terminal_say_the_same() -> None:
    """Each value of the page stands in the picture of the terminal too."""
    view = _training()
    lines = " ".join(line.text for line in picture(view, at=1060.0, width=200))
    panel = panel_of(view, at=1060.0, is_at_work=True)
    for figure in panel.stages[1].figures[1:]:
        assert figure.value in lines.replace("/", " of "), figure


def test_what_looks_at_work_without_a_process_was_killed() -> None:
    """Its figures stay; what would have followed has not begun."""
    panel = panel_of(_training(), at=1060.0, is_at_work=False)
    assert panel.title == "training: killed: the log ends here"
    assert [stage.state for stage in panel.stages] == ["skipped", "killed", "waiting"]
    assert panel.stages[2].words == "not begun"
    assert panel.stages[1].figures
    assert panel.stages[1].strip
    assert "current" not in panel.stages[1].strip.cells


@pytest.mark.parametrize("name", ["gpu_use", "gpu_memory_gb", "eta_seconds", "validated", "validation_ap", "lr"])
@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), "words", [], None])
def test_figures_may_be_anything(name: str, value: Any) -> None:
    """A line that somebody has written by hand costs at most its own figure."""
    view = _training()
    figures = {**_FIGURES, name: value}
    view.take(Event(Kind.PROGRESS, "training", {"done": 61, "total": 100, "unit": "steps", "figures": figures}), at=1.0)
    panel = panel_of(view, at=1060.0, is_at_work=True)
    assert panel.trouble == ""
    assert Figure(name="loss", value="0.1235") in panel.stages[1].figures


def test_a_run_that_cannot_be_shown_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its place on the page, which the others have too."""

    def fail(*_args: object, **_named: object) -> None:
        raise OverflowError("too large")

    monkeypatch.setattr("pipeline.ui.progress._stage", fail)
    panel = panel_of(_training(), at=1060.0, is_at_work=True)
    assert (panel.run, panel.stages, panel.trouble) == ("test-1", (), "This run cannot be shown: too large")
    assert '<p class="error">This run cannot be shown: too large</p>' in part("panel", panel)


def test_long_words_are_cut_and_of_many_warnings_the_newest_are_shown() -> None:
    """The page of a run is sent again and again; it says what it leaves out."""
    view = _view(
        *((Kind.WARNING, "data", {"text": f"{number}"}) for number in range(70)),
        (Kind.WARNING, "data", {"text": "long " * 200_000}),
        (Kind.STAGE_FAILED, "data", {"error": "x" * 1_000_000}),
    )
    panel = panel_of(view, at=2000.0, is_at_work=False)
    assert panel.warnings[0] == "data: 21"
    assert len(panel.warnings) == 50
    assert panel.warnings[-1].endswith("… (998,006 more characters are in the log)")
    text = part("panel", panel)
    assert "Warnings (71)" in text
    assert "The newest 50; all are in the log." in text
    assert len(text) < 20_000
    wording, logged = Wording(), LoggedEvent(0.0, "test-1", Event(Kind.INFO, "", {"text": "x" * 1_000_000}), 1)
    assert len(words_of(logged, wording)) < 2100


@pytest.mark.parametrize(
    ("event", "title"),
    [
        ((Kind.STAGE_FAILED, "training", {"error": "NaN"}), "training: failed after 50s"),
        ((Kind.INTERRUPTED, "training", {"where": "step 60"}), "training: interrupted after 50s"),
    ],
)
def test_the_title_says_what_broke_off(event: tuple[Kind, str, dict[str, Any]], title: str) -> None:
    """For the tab of a browser."""
    view = _training()
    view.take(Event(*event), at=1070.0)
    panel = panel_of(view, at=1080.0, is_at_work=False)
    assert panel.title == title.replace("50s", "1m00s") or panel.title == title
    assert panel.stages[1].error in ("NaN", "step 60")


def test_a_run_that_is_done_says_so() -> None:
    """Done and up to date are both done; before the first event there is nothing."""
    view = _view(
        *((Kind.STAGE_FINISHED, name, {"duration_seconds": 2.0}) for name in ("data", "training", "last")),
        (Kind.RUN_FINISHED, "", {"duration_seconds": 6.0, "targets": []}),
    )
    panel = panel_of(view, at=2000.0, is_at_work=False)
    assert panel.title == "done"
    assert [stage.words for stage in panel.stages] == ["done in 2.0s"] * 3
    assert panel_of(RunView(), at=0.0, is_at_work=False).title == "nothing has begun"
