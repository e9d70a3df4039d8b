"""What every display draws of a run: its events, folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.events import Event, Kind
from pipeline.records import Target
from pipeline.run_view import ChunkCount, RunView, StageView, State

_TARGET = {"data_set": "synthetic", "metric": "ap", "minimum": 0.85, "value": None}
_START = {"run": "quick-1", "profile": "quick", "stages": ["data", "training"], "targets": [_TARGET], "pid": 1}
_RESUMED = {"action": "resume", "reason": "INTERRUPTED", "detail": "continues from epoch 1"}
_FIGURES = {"epoch": 1, "chunks_done": 3, "num_chunks": 12, "loss": 0.5}


def _view(*events: tuple[Kind, str, dict[str, Any]], at: float = 100.0, every: float = 1.0) -> RunView:
    """Return a view that took a start and `events`, one each `every` seconds."""
    view = RunView()
    for number, (kind, stage, data) in enumerate([(Kind.RUN_STARTED, "", _START), *events]):
        view.take(Event(kind, stage, data), at=at + number * every)
    return view


def _progress(done: int, **figures: Any) -> tuple[Kind, str, dict[str, Any]]:
    return Kind.PROGRESS, "training", {"done": done, "total": 100, "unit": "steps", "figures": figures}


def _states(view: RunView) -> list[str]:
    return [stage.state.value for stage in view.stages.values()]


_BEGUN = (
    (Kind.DECISION, "data", {"action": "skip", "reason": "UP_TO_DATE", "detail": "as recorded"}),
    (Kind.DECISION, "training", _RESUMED),
    (Kind.STAGE_STARTED, "training", {"action": "resume"}),
)


def test_before_its_first_event_there_is_nothing() -> None:
    """A display can draw it nevertheless."""
    view = RunView()
    assert (view.run, view.profile, view.targets, view.stages, view.is_over) == ("", "", (), {}, False)


def test_a_start_names_the_run_its_stages_and_its_targets() -> None:
    """All stages wait, in their order."""
    view = _view()
    assert (view.run, view.profile, list(view.stages)) == ("quick-1", "quick", ["data", "training"])
    assert view.targets == (Target(data_set="synthetic", metric="ap", minimum=0.85, value=None),)
    assert _states(view) == ["waiting", "waiting"]
    assert view.started == 100.0


def test_decisions_and_states_are_told() -> None:
    """Skipped is a state of its own; what runs has its reason."""
    view = _view(*_BEGUN)
    assert _states(view) == ["skipped", "running"]
    training = view.stages["training"]
    assert (training.action, training.reason, training.detail) == tuple(_RESUMED.values())
    assert training.started == 103.0


def test_progress_counts_chunks_and_keeps_figures() -> None:
    """Whatever figures a stage tells are there to be shown."""
    training = _view(*_BEGUN, _progress(40, **_FIGURES)).stages["training"]
    assert (training.done, training.total, training.unit) == (40, 100, "steps")
    assert training.chunks == ChunkCount(epoch=1, done=3, total=12)
    assert training.figures["loss"] == 0.5


def test_a_chunk_moves_the_strip_before_the_next_progress_does() -> None:
    """Of the epoch that it is of."""
    chunk = {"epoch": 2, "chunk": 7, "done": 1, "total": 12, "samples": 5, "skipped": 0, "loss": 0.25}
    training = _view(*_BEGUN, _progress(40, **_FIGURES), (Kind.CHUNK, "training", chunk)).stages["training"]
    assert training.chunks == ChunkCount(epoch=2, done=1, total=12)


def test_the_newest_validation_figures_stay() -> None:
    """Points of other curves do not replace them; a figure that is none is left out."""
    training = _view(
        *_BEGUN,
        (Kind.METRICS, "training", {"step": 10, "validation_ap": 0.5, "validation_ap50": 0.7}),
        (Kind.METRICS, "training", {"step": 20, "loss": 0.5}),
        (Kind.METRICS, "training", {"step": 30, "validation_ap": 0.6, "validation_ap50": None}),
    ).stages["training"]
    assert training.validation == {"ap": 0.6, "ap50": 0.7}


def test_a_training_that_is_continued_knows_its_last_validation() -> None:
    """An earlier process did it; its figures are no figures of the steps."""
    training = _view(*_BEGUN, _progress(40, validation_ap=0.5, loss=0.25)).stages["training"]
    assert (training.validation, training.figures) == ({"ap": 0.5}, {"loss": 0.25})


def test_a_validation_is_over_with_its_figures() -> None:
    """The next progress may take a while."""
    validated = (Kind.METRICS, "training", {"step": 10, "validation_ap": 0.5})
    training = _view(*_BEGUN, _progress(40, validated=0.9, loss=0.5), validated).stages["training"]
    assert training.figures == {"loss": 0.5}


def test_a_checkpoint_is_as_old_as_the_state_that_it_holds() -> None:
    """Not as its last byte; what is resumed stands where its checkpoint stands."""
    assert _view(*_BEGUN).stages["training"].checkpoint_at == 103.0
    saved = (Kind.CHECKPOINT, "training", {"step": 10, "num_bytes": 5, "seconds": 0.25})
    assert _view(*_BEGUN, saved).stages["training"].checkpoint_at == 103.75
    fresh = (Kind.STAGE_STARTED, "training", {"action": "run"})
    assert _view(fresh).stages["training"].checkpoint_at is None


def test_the_rest_is_told_from_the_pace_of_this_process() -> None:
    """Between two events it counts down, and never below zero."""
    training = _view(*_BEGUN, _progress(40), _progress(50), at=0.0, every=10.0).stages["training"]
    assert training.pace is not None
    assert training.pace.rate == 1.0
    assert training.remaining_seconds(50.0) == 50.0
    assert training.remaining_seconds(70.0) == 30.0
    assert training.remaining_seconds(1000.0) == 0.0


def test_a_stage_may_know_better_how_long_it_takes() -> None:
    """Its own estimate stands in the place of the one from the pace."""
    training = _view(*_BEGUN, _progress(40), _progress(50, eta_seconds=75)).stages["training"]
    assert training.remaining_seconds(106.0) == 74.0


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_only_what_runs_has_time_left(state: State) -> None:
    """A stage that is over has none, and of one that waits it is not known."""
    training = _view(*_BEGUN, _progress(40), _progress(50)).stages["training"]
    assert replace(training, state=state).remaining_seconds(0.0) is None
    assert StageView(name="training", state=State.RUNNING).remaining_seconds(0.0) is None


@pytest.mark.parametrize(
    ("last", "states", "error"),
    [
        ([(Kind.STAGE_FINISHED, "training", {"duration_seconds": 9.5, "metrics": {}})], ["skipped", "done"], ""),
        ([(Kind.STAGE_FAILED, "training", {"error": "NaN", "code": "E0104"})], ["skipped", "failed"], "E0104: NaN"),
        ([(Kind.INTERRUPTED, "training", {"signal": 2, "where": "at 5"})], ["skipped", "interrupted"], "at 5"),
    ],
)  # fmt: skip
def test_a_stage_ends(last: Sequence[tuple[Kind, str, dict[str, Any]]], states: list[str], error: str) -> None:
    """Done, failed, interrupted: with the time that it took."""
    view = _view(*_BEGUN, *last)
    assert _states(view) == states
    assert view.stages["training"].error == error
    assert view.stages["training"].seconds == (9.5 if "done" in states else 1.0)
    assert view.is_over == ("done" not in states)


def test_a_run_ends_with_its_measured_targets() -> None:
    """What the targets came to is known then."""
    measured = [{**_TARGET, "value": 0.9, "is_met": True}]
    view = _view(*_BEGUN, (Kind.RUN_FINISHED, "", {"duration_seconds": 12.5, "targets": measured}), every=0.0)
    assert view.targets[0].value == 0.9
    assert view.seconds == 12.5


_BOTH = ((Kind.STAGE_STARTED, "data", {"action": "run"}), (Kind.STAGE_STARTED, "training", {"action": "run"}))


def test_of_two_stages_at_work_each_says_that_it_was_interrupted() -> None:
    """The run is over with the last of them."""
    first = (Kind.INTERRUPTED, "data", {"signal": 15, "where": ""})
    last = (Kind.INTERRUPTED, "training", {"signal": 15, "where": ""})
    assert not _view(*_BOTH, first).is_over
    assert _view(*_BOTH, first, last).is_over


def test_the_failure_of_one_stage_ends_the_one_beside_it() -> None:
    """Which does not say so itself."""
    view = _view(*_BOTH, (Kind.STAGE_FAILED, "data", {"error": "disk"}))
    assert _states(view) == ["failed", "interrupted"]
    assert view.is_over


def test_a_new_start_is_a_new_picture() -> None:
    """Of a log with several runs the newest one is shown."""
    view = _view(*_BEGUN, (Kind.WARNING, "", {"text": "low"}), (Kind.RUN_STARTED, "", {**_START, "run": "quick-2"}))
    assert (view.run, _states(view), view.warnings) == ("quick-2", ["waiting", "waiting"], [])


def test_warnings_are_kept() -> None:
    """With the stage that they are of."""
    view = _view((Kind.WARNING, "training", {"text": "slow"}), (Kind.WARNING, "", {"text": "low"}))
    assert view.warnings == ["training: slow", "low"]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("data", [{}, {"done": "x", "total": [], "unit": 1, "targets": 7}, {"action": None}])
def test_events_of_anybody_break_nothing(kind: Kind, data: dict[str, Any]) -> None:
    """A log that was edited by hand is drawn as far as it makes sense."""
    view = _view(*_BEGUN)
    for stage in ("", "training", "unknown"):
        view.take(Event(kind, stage, data), at=200.0)
    assert list(view.stages)[:2] == ["data", "training"] or kind is Kind.RUN_STARTED


def test_a_log_of_the_first_version_is_drawn_too() -> None:
    """It has no targets, no chunks and no checkpoints."""
    view = RunView()
    view.take(Event(Kind.RUN_STARTED, "", {"run": "a-1", "profile": "a", "stages": ["training"]}), at=0.0)
    view.take(Event(*_progress(10, epoch=0, chunk=3, loss=1.0)), at=1.0)
    assert view.targets == ()
    assert view.stages["training"].chunks is None
    assert view.stages["training"].done == 10
