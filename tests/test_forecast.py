"""How long a training still takes: right within a tenth after a twentieth of it, whatever its beginning was like."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import RecordingReporter
from tiny_task import tiny_stage

from pipeline.events import Event, Kind
from pipeline.run_view import RunView
from stages.chunks.reader import Batch, Position
from stages.training.forecast import Forecast
from stages.training.mini_epochs import MiniEpochs
from stages.training.progress import ResumePosition, TrainingProgressTracker
from stages.training.telemetry import Telemetry

_CHUNK, _NUM_CHUNKS, _EPOCHS, _BATCH = 100, 20, 6, 8
_STEPS_PER_EPOCH = _CHUNK * _NUM_CHUNKS // _BATCH
_TOTAL = _EPOCHS * _STEPS_PER_EPOCH
_VALIDATION_BATCHES = 25

StepSeconds = Callable[[int], float]


def _steady(_step: int) -> float:
    return 0.14


def _noisy(step: int) -> float:
    return 0.14 * random.Random(step).uniform(0.6, 1.4)  # noqa: S311


def _slow_to_begin(step: int) -> float:
    """Data are being made beside the first steps, and the very first one compiles the model."""
    return 3.0 if step == 1 else 0.28 if step < 12 else 0.14


def _slow_steps(_step: int) -> float:
    return 7.0


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _errors(root: Path, step_seconds: StepSeconds, *, validation_seconds: float, first: int = 1) -> dict[int, float]:
    """Train on a clock; return by how much of the true rest the told one is wrong, by the percent of the whole."""
    clock, reporter, view = _Clock(), RecordingReporter(), RunView()
    _, context = tiny_stage(root, reporter=reporter)
    tracker = TrainingProgressTracker(root / "progress.json", seed=0)
    mini_epochs = MiniEpochs((_CHUNK,) * _NUM_CHUNKS, seed=0, num_chunks=_NUM_CHUNKS // 2)
    telemetry = Telemetry(
        context, tracker, mini_epochs, device=torch.device("cpu"), total_steps=_TOTAL, num_epochs=_EPOCHS,
        validation_batches=_VALIDATION_BATCHES, clock=clock,
    )  # fmt: skip
    view.take(Event(Kind.STAGE_STARTED, "training", {"action": "run"}), at=clock.now)
    began, told = clock.now, list[tuple[float, float]]()
    for step in range(1, _TOTAL + 1):
        epoch, in_epoch = divmod(step - 1, _STEPS_PER_EPOCH)
        chunk_place, offset = divmod((in_epoch + 1) * _BATCH - 1, _CHUNK)
        chunk = mini_epochs.chunks_after(_position(epoch))[chunk_place]
        tracker.update(
            global_step=step, epoch=epoch, chunk_id=chunk, offset=offset + 1, samples_in_batch=_BATCH, chunk_size=_CHUNK
        )
        if step < first:
            continue
        if step == first:
            telemetry.start()
        clock.now += step_seconds(step)
        telemetry.after_step(Batch(epoch, {}, np.arange(_BATCH), (), Position(0)), step=step, figures=dict)
        _look(reporter, view, clock, told)
        if (in_epoch + 1) % (_STEPS_PER_EPOCH // 2) == 0:
            telemetry.begin_validation()
            for batch in range(1, _VALIDATION_BATCHES + 1):
                clock.now += validation_seconds / _VALIDATION_BATCHES
                telemetry.after_validation_batch(batch)
                _look(reporter, view, clock, told)
            telemetry.end_validation()
    whole = clock.now - began
    return {
        int(100 * (at - began) / whole): abs(remaining / (clock.now - at) - 1)
        for at, remaining in told
        if 0.05 <= (at - began) / whole <= 0.95
    }


def _position(epoch: int) -> ResumePosition:
    return ResumePosition(epoch, -1, 0)


def _look(reporter: RecordingReporter, view: RunView, clock: _Clock, told: list[tuple[float, float]]) -> None:
    """Take in what was told, and note what a display shows at this moment."""
    for event in reporter.events:
        view.take(event, at=clock.now)
    reporter.events.clear()
    remaining = view.stages["training"].remaining_seconds(clock.now)
    if remaining is not None:
        told.append((clock.now, remaining))


@pytest.mark.parametrize("validation_seconds", [0.5, 2.0])
@pytest.mark.parametrize("step_seconds", [_steady, _noisy, _slow_to_begin, _slow_steps])
def test_the_rest_is_right_within_a_tenth(tmp_path: Path, step_seconds: StepSeconds, validation_seconds: float) -> None:
    """From 5 % of the run to 95 %, at each moment at which a display draws, validations included."""
    errors = _errors(tmp_path, step_seconds, validation_seconds=validation_seconds)
    assert errors.keys() >= set(range(6, 95))
    worst = max(errors, key=lambda share: errors[share])
    assert errors[worst] < 0.10, f"{100 * errors[worst]:.0f} % wrong after {worst} % of the run"


def test_validations_that_take_long_are_known_from_the_first_on(tmp_path: Path) -> None:
    """Where they take as long as the steps between them, nobody can know it before; then it is told."""
    errors = _errors(tmp_path, _steady, validation_seconds=17.5)
    assert max(error for share, error in errors.items() if share >= 10) < 0.10


def test_a_run_that_is_continued_tells_its_own_rest(tmp_path: Path) -> None:
    """From its own steps alone, in the middle of an epoch."""
    errors = _errors(tmp_path, _slow_to_begin, validation_seconds=2.0, first=700)
    assert max(errors.values()) < 0.10


def test_before_anything_is_measured_nothing_is_told() -> None:
    """The first interval, with all that is done once, only begins the measurement."""
    forecast = Forecast(validation_batches=6)
    assert forecast.remaining_seconds(num_steps=10, num_validations=1) is None
    forecast.after_steps(1, seconds=100.0)
    assert forecast.remaining_seconds(num_steps=10, num_validations=1) is None
    forecast.after_steps(2, seconds=1.0)
    assert forecast.remaining_seconds(num_steps=10, num_validations=0) == 5.0
    assert forecast.remaining_seconds(num_steps=10, num_validations=2) == 5.0 + 2 * 6 * 0.5 / 3


def test_a_validation_that_was_measured_replaces_the_guess() -> None:
    """Of one that is under way only the rest counts."""
    forecast = Forecast(validation_batches=6)
    forecast.after_steps(1, seconds=100.0)
    forecast.after_steps(1, seconds=1.0)
    forecast.after_validation(4.0)
    forecast.after_validation(2.0)
    assert forecast.remaining_seconds(num_steps=1, num_validations=2) == 7.0
    assert forecast.remaining_seconds(num_steps=1, num_validations=2, validated=0.5) == 5.5
