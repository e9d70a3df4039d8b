"""What a run looks like, at 80 and at 40 columns, and in states that are not of every day."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.events import Event, Kind
from pipeline.picture import ASCII, Line, picture, strip
from pipeline.run_view import RunView

_STAGES = ["data_generation", "training", "evaluation"]
_TARGETS = [
    {"data_set": "synthetic", "metric": metric, "minimum": minimum, "value": None}
    for metric, minimum in (("ap", 0.85), ("ap50", 0.95))
]
_FIGURES = {
    "epoch": 2, "num_epochs": 3, "chunk": 3, "sample": 50, "chunks_done": 12, "num_chunks": 40, "loss": 0.7363,
    "loss_box": 0.1, "images_per_second": 59.1, "lr": 0.000275, "gradient_norm": 3.1, "eta_seconds": 41.2,
    "checkpoint_age_seconds": 1.0, "gpu_memory_gb": 12.345, "gpu_use": 0.87,
}  # fmt: skip


def _view(*events: tuple[float, Kind, str, dict[str, Any]]) -> RunView:
    """Return a view of a run that began at 0 and took `events`, each at its moment."""
    view = RunView()
    start = {"run": "standard-2147298c", "profile": "standard", "stages": _STAGES, "targets": _TARGETS}
    for at, kind, stage, data in ((0.0, Kind.RUN_STARTED, "", start), *events):
        view.take(Event(kind, stage, data), at=at)
    return view


def _training(done: int, **figures: Any) -> dict[str, Any]:
    return {"done": done, "total": 1500, "unit": "steps", "figures": {**_FIGURES, **figures}}


_TRAINING = (
    (1.0, Kind.STAGE_STARTED, "data_generation", {"action": "run"}),
    (3.0, Kind.STAGE_FINISHED, "data_generation", {"duration_seconds": 2.1, "metrics": {}}),
    (3.0, Kind.STAGE_STARTED, "training", {"action": "run"}),
    (3.0, Kind.PROGRESS, "training", _training(1000)),
    (9.0, Kind.CHECKPOINT, "training", {"step": 1000, "num_bytes": 1, "seconds": 0.3}),
    (12.0, Kind.PROGRESS, "training", _training(1064)),
    (12.0, Kind.METRICS, "training", {"step": 1000, "validation_ap": 0.8829, "validation_ap50": 0.93}),
)  # fmt: skip


def _texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_training_at_80_columns() -> None:
    """State, rate, rest, chunk strip, loss, figures beside their targets, images, GPU, age of the checkpoint."""
    assert _texts(picture(_view(*_TRAINING), at=13.0, width=79)) == [
        "standard-2147298c  running 13s",
        "├─ ✓ data_generation  done in 2.1s",
        "├─ ▶ training         70%  ETA 40s",
        "│    3rd of 3 epochs  ████████████▒░░░░░░░░░░░░░░░░░░░░░░░░░░░ 12/40 chunks",
        "│    step 1064/1500  7.11 steps/s  images/s 59.1",
        "│    loss 0.7363  lr 0.000275  gradient norm 3.1",
        "│    ap 0.8829 (target 0.85 met)  ap50 0.9300 (target 0.95)",
        "│    checkpoint 4s ago  GPU memory 12.3 GB  GPU use 87%",
        "└─ · evaluation       waiting",
    ]


def test_a_training_at_40_columns() -> None:
    """The same is to be seen, and nothing is cut."""
    assert _texts(picture(_view(*_TRAINING), at=13.0, width=39)) == [
        "standard-2147298c  running 13s",
        "├─ ✓ data_generation  done in 2.1s",
        "├─ ▶ training  70%  ETA 40s",
        "│    3rd of 3 epochs  ███▒░░░░░░░ 12/40",
        "│    step 1064/1500  7.11 steps/s",
        "│    images/s 59.1",
        "│    loss 0.7363  lr 0.000275",
        "│    gradient norm 3.1",
        "│    ap 0.8829 (target 0.85 met)",
        "│    ap50 0.9300 (target 0.95)",
        "│    checkpoint 4s ago",
        "│    GPU memory 12.3 GB  GPU use 87%",
        "└─ · evaluation  waiting",
    ]


def test_two_stages_at_work_and_one_that_is_up_to_date() -> None:
    """What has no chunks of an epoch shows how much of all its work is done; any figure of a stage can be shown."""
    view = _view(
        (0.0, Kind.DECISION, "training", {"action": "skip", "reason": "UP_TO_DATE", "detail": ""}),
        (0.0, Kind.STAGE_STARTED, "data_generation", {"action": "run"}),
        (1.0, Kind.PROGRESS, "data_generation", {"done": 3, "total": 40, "unit": "chunks", "figures": {}}),
        (2.0, Kind.PROGRESS, "data_generation", {"done": 13, "total": 40, "unit": "chunks", "figures": {}}),
        (2.0, Kind.STAGE_STARTED, "evaluation", {"action": "run"}),
        (2.0, Kind.PROGRESS, "evaluation", {"done": 7, "total": 0, "unit": "images", "figures": {"data_set": "real"}}),
    )
    assert _texts(picture(view, at=2.0, width=59)) == [
        "standard-2147298c  running 2.0s",
        "├─ ▶ data_generation  32%  ETA 2.7s",
        "│    █████████████▒░░░░░░░░░░░░░░░░░░░░░░░░░░░ 13/40 chunks",
        "│    10 chunks/s",
        "├─ ✓ training  up to date",
        "└─ ▶ evaluation  begins",
        "     7 images",
        "     data set real",
    ]


def test_a_validation_is_seen_to_go_on() -> None:
    """Nothing else moves meanwhile."""
    view = _view(*_TRAINING, (12.0, Kind.PROGRESS, "training", _training(1064, validated=0.45)))
    assert _texts(picture(view, at=13.0, width=79))[2] == "├─ ▶ training         70%  ETA 40s  validating 45%"


def test_before_the_first_step_a_stage_begins() -> None:
    """There is no share, no rate and no rest."""
    view = _view((1.0, Kind.STAGE_STARTED, "training", {"action": "run"}))
    assert _texts(picture(view, at=4.0, width=79))[2] == "├─ ▶ training         begins"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (
            (14.0, Kind.STAGE_FAILED, "training", {"error": "the loss is nan \x1b[31m at step 50", "code": "E0104"}),
            ["standard-2147298c  took 14s", "├─ ✓ data_generation  done in 2.1s", "├─ ✗ training  failed after 11s",
             "│    E0104: the loss is nan �[31m at", "│    step 50", "└─ · evaluation  not begun"],
        ),
        (
            (14.0, Kind.INTERRUPTED, "training", {"signal": 2, "where": "stopped by SIGINT"}),
            ["standard-2147298c  took 14s", "├─ ✓ data_generation  done in 2.1s",
             "├─ ‖ training  interrupted after 11s", "│    stopped by SIGINT", "└─ · evaluation  not begun"],
        ),
    ],
)  # fmt: skip
def test_a_run_that_ended_early(last: tuple[float, Kind, str, dict[str, Any]], expected: list[str]) -> None:
    """It says why, and no text can command the terminal."""
    assert _texts(picture(_view(*_TRAINING, last), at=20.0, width=39)) == expected


def test_a_terminal_without_unicode_gets_other_signs() -> None:
    """Nothing but ASCII."""
    lines = _texts(picture(_view(*_TRAINING), at=13.0, width=59, signs=ASCII))
    assert all(line.isascii() for line in lines)
    assert lines[2:4] == ["|- > training  70%  ETA 40s", "|    3rd of 3 epochs  #########>..................... 12/40"]


@pytest.mark.parametrize("height", [1, 3, 4, 6, 9, 20])
def test_what_is_higher_than_the_terminal_loses_particulars_first(height: int) -> None:
    """Run and stages are the last to go."""
    view = _view(*_TRAINING)
    whole = picture(view, at=13.0, width=79)
    lines = picture(view, at=13.0, width=79, height=height)
    assert len(lines) == min(height, len(whole))
    assert [line for line in lines if line.is_headline] == [line for line in whole if line.is_headline][:height]


@pytest.mark.parametrize("width", range(1, 100))
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """However narrow it is."""
    assert all(len(line.text) <= width for line in picture(_view(*_TRAINING), at=13.0, width=width))


@pytest.mark.parametrize(("epoch", "words"), [(0, "1st"), (1, "2nd"), (10, "11th"), (11, "12th"), (20, "21st")])
def test_epochs_are_counted_in_words_that_cannot_be_mistaken(epoch: int, words: str) -> None:
    """Files count from 0; "3rd" does not."""
    view = _view(*_TRAINING, (12.0, Kind.PROGRESS, "training", _training(1064, epoch=epoch)))
    assert f" {words} of 3 epochs" in _texts(picture(view, at=13.0, width=79))[3]


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [(0, 10, "▒░░░░"), (1, 10, "▒░░░░"), (2, 10, "█▒░░░"), (9, 10, "████▒"), (10, 10, "█████"), (0, 0, "▒░░░░")],
)
def test_nothing_looks_done_that_is_not(done: int, total: int, expected: str) -> None:
    """A cell is full when all that it stands for is done."""
    assert "".join(span.text for span in strip(done, total, cells=5)) == expected


@pytest.mark.parametrize("value", ["x", None, float("nan"), float("inf"), [], {}, 1e300, 10**400, -(10**400)])
def test_whatever_a_log_holds_can_be_drawn(value: Any) -> None:
    """Figures may be anything: a log may have been written by anybody."""
    figures = dict.fromkeys(_FIGURES, value)
    counted = {**figures, "epoch": 0, "chunks_done": 1, "num_chunks": 2}
    view = _view(
        *_TRAINING,
        (12.0, Kind.PROGRESS, "training", {**_training(1100), "figures": figures}),
        (12.0, Kind.PROGRESS, "training", _training(1100, **counted)),
        (12.0, Kind.PROGRESS, "training", {**_training(1100), "done": value}),
        (12.0, Kind.CHUNK, "training", {"epoch": 0, "done": 1, "total": value}),
        (12.0, Kind.METRICS, "training", {"step": 1, "validation_ap": value}),
        (12.0, Kind.CHECKPOINT, "training", {"step": 1, "num_bytes": 1, "seconds": value}),
    )  # fmt: skip
    assert picture(view, at=13.0, width=79)
