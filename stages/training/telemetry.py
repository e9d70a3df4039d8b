"""What training tells while it runs: progress, points of curves, and the sample log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch

from pipeline.stage import StageContext
from stages.chunks.reader import Batch
from stages.training.forecast import Forecast
from stages.training.gpu_meter import GpuMeter
from stages.training.mini_epochs import MiniEpochs
from stages.training.progress import TrainingProgressTracker
from stages.training.sample_log import SampleLog

_PROGRESS_SECONDS = 0.25  # as often as the eye follows; reporters thin it out further
_LEAST_POINTS, _MOST_POINTS = 50, 500  # of a curve over the whole run, where it has as many steps
_POINT_STEPS = 10  # between two points, within these limits: a point takes 0.1 to 0.3 ms, a short step no more
_SMOOTHING = 0.3  # weight of the newest interval in the rate


class Telemetry:
    """Costs little per step: clocks and counters are looked at, and figures are read from the device only when due."""

    def __init__(
        self,
        context: StageContext,
        tracker: TrainingProgressTracker,
        mini_epochs: MiniEpochs,
        *,
        device: torch.device,
        total_steps: int,
        num_epochs: int,
        validation_batches: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._tracker = tracker
        self._mini_epochs = mini_epochs
        self._gpu = GpuMeter(device) if device.type == "cuda" else None
        self._total_steps = total_steps
        self._clock = clock
        self._points_every = max(1, min(_POINT_STEPS, total_steps // _LEAST_POINTS), -(-total_steps // _MOST_POINTS))
        self._shown_at = self._saved_at = clock()
        self._shown_step, self._num_images = 0, 0
        self._images_per_second = 0.0
        self._num_epochs = num_epochs
        self._validation_batches = validation_batches
        self._forecast = Forecast(validation_batches=validation_batches)
        self._validation_began = self._validation_shown_at = 0.0
        self._shown_figures: Mapping[str, float] = {}
        self._validation: dict[str, float] = {}  # the figures of the last one
        self._open = ExitStack()
        self._sample_log: SampleLog | None = None

    def start(self) -> None:
        """Open the files, at the step that the tracker has come to."""
        context, step = self._context, self._tracker.global_step
        self._shown_step = step
        if context.runtime.sample_log:
            self._sample_log = SampleLog(context.workspace.logs / "samples.jsonl", run=context.run, tell=context.warn)
            self._open.callback(self._sample_log.close)

    def after_step(self, batch: Batch, *, step: int, figures: Callable[[], Mapping[str, float]]) -> None:
        """Tell of a step; `figures` reads loss terms, learning rate and gradient norm, and is called only when due."""
        self._num_images += len(batch.sample_ids)
        if self._sample_log is not None:
            self._sample_log.write(epoch=batch.epoch, global_step=step, sample_ids=batch.sample_ids.tolist())
        if step % self._points_every == 0:
            self.point(step, figures())
        now = self._clock()
        # By the clock, not by steps: a step may take a millisecond or a minute.
        if now - self._shown_at >= _PROGRESS_SECONDS:
            self._show(now, step, figures())

    def begin_validation(self) -> None:
        """Take note that training pauses for a validation."""
        self._validation_began = self._validation_shown_at = self._clock()

    def after_validation_batch(self, num_done: int) -> None:
        """Tell how far a validation is."""
        now = self._clock()
        if now - self._validation_shown_at >= _PROGRESS_SECONDS:
            self._validation_shown_at = now
            self._tell(now, self._tracker.global_step, validated=min(1.0, num_done / self._validation_batches))

    def end_validation(self) -> None:
        """Take note that training goes on; the time of the validation is no part of any step."""
        seconds = self._clock() - self._validation_began
        self._shown_at += seconds
        self._forecast.after_validation(seconds)

    def recall_validation(self, figures: Mapping[str, float | None]) -> None:
        """Tell these figures with all progress from now on, as those of the last validation."""
        self._validation = {f"validation_{name}": value for name, value in figures.items() if value is not None}

    def point(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves."""
        self._context.metrics(step, **values)

    def after_save(self) -> None:
        """Take note that the state of this moment is in a checkpoint, or will be in a moment."""
        self._saved_at = self._clock()

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    def _show(self, now: float, step: int, figures: Mapping[str, float]) -> None:
        seconds, num_steps = now - self._shown_at, step - self._shown_step
        weight = _SMOOTHING if self._images_per_second else 1.0
        self._images_per_second += weight * (self._num_images / seconds - self._images_per_second)
        self._forecast.after_steps(num_steps, seconds=seconds)
        self._shown_at, self._shown_step, self._num_images, self._shown_figures = now, step, 0, figures
        self._tell(now, step)

    def _tell(self, now: float, step: int, *, validated: float | None = None) -> None:
        position = self._tracker.get_resume_position()
        num_validations = self._num_epochs * self._mini_epochs.per_epoch - self._mini_epochs.completed(position)
        remaining = self._forecast.remaining_seconds(
            num_steps=self._total_steps - step,
            num_validations=num_validations + (validated is not None),
            validated=validated or 0.0,
        )
        self._context.progress(
            step,
            self._total_steps,
            "steps",
            epoch=position.epoch,
            num_epochs=self._num_epochs,
            chunk=position.chunk_id,
            sample=position.offset,
            chunks_done=self._mini_epochs.chunks_before(position),
            num_chunks=self._mini_epochs.num_chunks,
            images_per_second=round(self._images_per_second, 1),
            **self._shown_figures,
            **self._validation,
            **({} if remaining is None else {"eta_seconds": round(remaining, 1)}),
            **({} if validated is None else {"validated": round(validated, 3)}),
            checkpoint_age_seconds=round(now - self._saved_at, 1),
            **(self._gpu.figures() if self._gpu is not None else {}),
        )
