"""Steps of a real training, taken for their time: what the loop does, without validation and checkpoints."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from gpu_check_setting import Setting

from pipeline.config import RuntimeOptions
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.stage import StageContext
from pipeline.workspace import Workspace
from stages.chunks.reader import Batch
from stages.determinism import numerics
from stages.training.config import TrainingConfig
from stages.training.data import load_data
from stages.training.loop import _commit_epoch, _step
from stages.training.session import Session, open_session


@dataclass(frozen=True)
class Steps:
    """How long steps took together, and for how much of that the device had nothing to do but wait for data."""

    seconds: float
    waiting_seconds: float
    num_images: int

    @property
    def images_per_second(self) -> float:
        """The rate."""
        return self.num_images / self.seconds


class _Warnings:
    """Keeps what is warned of, and is silent about the rest."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def emit(self, event: Event) -> None:
        if event.kind is Kind.WARNING:
            self.texts.append(str(event.data["text"]))

    def close(self) -> None:
        return None


@contextmanager
def opened(setting: Setting, config: TrainingConfig, manifest: Path) -> Iterator[tuple[Session, list[str]]]:
    """Open a training from its start, in a folder that is removed afterwards; with the warnings it gives."""
    setting.workspace.mkdir(parents=True, exist_ok=True)
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    warnings = _Warnings()
    with tempfile.TemporaryDirectory(dir=setting.workspace) as folder:
        context = StageContext(
            stage="training",
            run="gpu-check-00000000",
            profile="gpu-check",
            workspace=Workspace.at(Path(folder)),
            config_hash="0" * 32,
            input_digests={},
            inputs={},
            settings={},
            runtime=RuntimeOptions(device=setting.device.type, trackers=()),
            reporter=warnings,
            stop=StopFlag(),
        )
        with (
            numerics(is_deterministic=config.deterministic),
            open_session(context, config, data=load_data(manifest)) as session,
        ):
            yield session, warnings.texts
    torch._dynamo.reset()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()


def take(session: Session, num_steps: int, *, is_waiting_first: bool = True) -> Steps:
    """Take steps; the device has done all when the clock stops, and, where that `is_waiting_first`, when it starts."""
    device = session.learner.batches.device
    moments: list[tuple[_Moment, _Moment]] = []
    num_images = 0
    if is_waiting_first:
        _synchronize(device)
    started = time.perf_counter()
    before = _Moment(device)
    for _ in range(num_steps):
        batch = _next(session)
        moments.append((before, _Moment(device)))
        _step(session, batch)
        before = _Moment(device)
        num_images += len(batch.sample_ids)
    _synchronize(device)
    seconds = time.perf_counter() - started
    return Steps(seconds, sum(end.seconds_since(start) for start, end in moments), num_images)


def _next(session: Session) -> Batch:
    while (batch := session.feed.next(session.tracker.get_resume_position())) is None:
        _commit_epoch(session)
    return batch


class _Moment:
    """When the device has done what it was given so far; on the CPU that is now.

    Between the end of one step and the start of the next the device gathers the batch, waits for its copy, or for the
    host, which has not yet asked for the next step: all of that is waiting for data.
    """

    def __init__(self, device: torch.device) -> None:
        self._event: torch.cuda.Event | None = None
        self._time = 0.0
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._time = time.perf_counter()

    def seconds_since(self, earlier: _Moment) -> float:
        if self._event is None or earlier._event is None:
            return self._time - earlier._time
        return float(earlier._event.elapsed_time(self._event)) / 1000


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
