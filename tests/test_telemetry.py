"""Telemetry: what is told while training runs, and how rarely."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import RecordingReporter
from resume import run_interrupted
from tiny_task import tiny_config, tiny_stage

from pipeline.events import Kind
from pipeline.reporting import AppendedFile
from stages.chunks.reader import Batch, Position
from stages.training.data import load_data
from stages.training.mini_epochs import MiniEpochs
from stages.training.progress import TrainingProgressTracker
from stages.training.session import open_session
from stages.training.telemetry import Telemetry

_BATCH = Batch(0, {}, np.arange(16), (), Position(0))


class _Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _start(
    root: Path, *, total_steps: int, **runtime: Any
) -> tuple[Telemetry, RecordingReporter, _Clock, TrainingProgressTracker]:
    reporter, clock = RecordingReporter(), _Clock()
    _, context = tiny_stage(root, reporter=reporter, **runtime)
    tracker = TrainingProgressTracker(root / "training_progress.json", seed=0)
    mini_epochs = MiniEpochs((500, 500, 500), seed=0, num_chunks=0)
    device = torch.device("cpu")
    telemetry = Telemetry(
        context,
        tracker,
        mini_epochs,
        device=device,
        total_steps=total_steps,
        num_epochs=1,
        validation_batches=0,
        clock=clock,
    )
    telemetry.start()
    return telemetry, reporter, clock, tracker


def test_progress_has_rate_position_and_time_left(tmp_path: Path) -> None:
    """A step of 16 images every eighth of a second: 128 images/s, and 12 s for the last 96 of 100 steps."""
    telemetry, reporter, clock, tracker = _start(tmp_path, total_steps=100)
    for step in range(1, 11):
        tracker.update(global_step=step, epoch=0, chunk_id=2, offset=step * 16, samples_in_batch=16, chunk_size=500)
        clock.now += 0.125
        telemetry.after_step(_BATCH, step=step, figures=lambda: {"loss": 0.5, "lr": 0.1})
    shown = reporter.of(Kind.PROGRESS)
    assert [event["done"] for event in shown] == [2, 4, 6, 8, 10]
    clock.now = 103.0
    telemetry.after_save()
    clock.now = 104.0
    telemetry.after_step(_BATCH, step=11, figures=lambda: {"loss": 0.5, "lr": 0.1})
    last = reporter.of(Kind.PROGRESS)[-1]
    assert (last["done"], last["total"], last["unit"]) == (11, 100, "steps")
    assert (last["figures"]["epoch"], last["figures"]["chunk"], last["figures"]["sample"]) == (0, 2, 160)
    assert (last["figures"]["chunks_done"], last["figures"]["num_chunks"]) == (2, 3)
    assert last["figures"]["checkpoint_age_seconds"] == 1.0
    first = shown[0]["figures"]
    assert first["images_per_second"] == 128.0
    # The first interval, with all that is done once, says nothing of the rest.
    assert "eta_seconds" not in first
    assert shown[1]["figures"]["eta_seconds"] == 12.0


@pytest.mark.parametrize(
    ("total_steps", "every"), [(3, 1), (99, 1), (200, 4), (500, 10), (5000, 10), (5001, 11), (100_000, 200)]
)
def test_curves_have_enough_points_and_short_steps_not_many(tmp_path: Path, total_steps: int, every: int) -> None:
    """A point takes as long as a short step: every tenth step has one, unless that makes fewer than 50 or above 500."""
    telemetry, reporter, _, _ = _start(tmp_path, total_steps=total_steps)
    for step in range(1, 3 * every + 1):
        telemetry.after_step(_BATCH, step=step, figures=lambda: {"loss": 1.0})
    assert [data["step"] for data in reporter.of(Kind.METRICS)] == [every, 2 * every, 3 * every]


def test_figures_are_read_only_when_they_are_shown(tmp_path: Path) -> None:
    """Reading a loss makes the host wait for the device: it is done for a point of a curve, not for each step."""
    telemetry, reporter, _, _ = _start(tmp_path, total_steps=5000)
    num_reads = 0

    def read() -> dict[str, float]:
        nonlocal num_reads
        num_reads += 1
        return {"loss": 1.0}

    for step in range(1, 101):
        telemetry.after_step(_BATCH, step=step, figures=read)
    assert num_reads == 10
    assert [data["step"] for data in reporter.of(Kind.METRICS)] == list(range(10, 101, 10))


@pytest.mark.parametrize("what", ["a full disk", "a link", "a file for a folder"])
def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The sample log is for people; training goes on without it."""
    logs = tmp_path / "logs"
    logs.mkdir()
    if what == "a full disk":
        # As a file on a full disk: it can be opened, and takes nothing.
        full = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
        monkeypatch.setattr(AppendedFile, "_open", lambda _: full)
    elif what == "a link":
        (logs / "samples.jsonl").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").mkdir()
    else:
        (logs / "samples.jsonl").mkdir()
    telemetry, reporter, _, _ = _start(tmp_path, total_steps=3, sample_log=True)
    for step in range(1, 4):
        telemetry.after_step(_BATCH, step=step, figures=lambda: {"loss": 1.0})
    telemetry.after_save()
    telemetry.close()
    [warning] = reporter.texts(Kind.WARNING)
    assert "the run goes on without it" in warning
    assert not list(tmp_path.glob("elsewhere/*"))


def test_the_last_validation_is_told_until_the_next(tmp_path: Path) -> None:
    """Also by a process that continues behind it; a figure that is none is left out."""
    telemetry, reporter, clock, _ = _start(tmp_path, total_steps=100)
    telemetry.recall_validation({"ap": 0.5, "ap50": None})
    clock.now += 1
    telemetry.after_step(_BATCH, step=1, figures=lambda: {"loss": 0.5})
    figures = reporter.of(Kind.PROGRESS)[-1]["figures"]
    assert {name: value for name, value in figures.items() if "validation" in name} == {"validation_ap": 0.5}


def test_a_continued_training_recalls_its_last_validation(tmp_path: Path) -> None:
    """From the history in its checkpoint."""
    assert run_interrupted(tmp_path, tiny_config(), stop_after=7)
    _, context = tiny_stage(tmp_path)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        [entry] = session.history.entries
        assert session.telemetry._validation == {"validation_score": entry.figures["score"]}
