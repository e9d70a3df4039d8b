"""Tells of each chunk of an epoch that was trained to its end."""

from __future__ import annotations

import torch

from pipeline.stage import StageContext
from stages.training.meter import LossMeter
from stages.training.mini_epochs import MiniEpochs
from stages.training.progress import ResumePosition, TrainingProgressTracker


class ChunkLog:
    """Tells of the chunks that `end_chunk` and `end_epoch` name, each with its mean loss.

    That is the mean over the steps that began in the chunk, those of a process that was interrupted since included; of
    a chunk in which none began, because one step took all of it and more, it is the loss of that step.

    On CUDA reading a loss makes the host wait for the device, so what is to be told waits for `flush`, which is called
    where something is read anyway.
    """

    def __init__(
        self,
        context: StageContext,
        *,
        tracker: TrainingProgressTracker,
        meter: LossMeter,
        mini_epochs: MiniEpochs,
        device: torch.device,
    ) -> None:
        self._context = context
        self._tracker = tracker
        self._meter = meter
        self._mini_epochs = mini_epochs
        self._is_read_at_once = device.type == "cpu"
        self._untold: list[tuple[dict[str, int], torch.Tensor | float | None]] = []

    def end_chunk(self, chunk_id: int, *, loss: torch.Tensor | None) -> None:
        """Take note that the position has come to the end of a chunk, by a step of this `loss`, if by one at all."""
        count, epoch = self._mini_epochs.count(chunk_id), self._tracker.epoch
        num_trained = self._tracker.get_chunk_samples(chunk_id)
        facts = {
            "epoch": epoch,
            "chunk": chunk_id,
            "done": self._mini_epochs.chunks_before(ResumePosition(epoch, chunk_id, count)),
            "total": self._mini_epochs.num_chunks,
            "samples": num_trained,
            "skipped": count - num_trained,
        }
        self._untold.append((facts, self._mean(loss) if num_trained else None))
        if self._is_read_at_once:
            self.flush()

    def end_epoch(self) -> None:
        """Take note that no sample comes any more of the rest of the epoch, if there is one: it was lost."""
        for chunk_id in self._mini_epochs.chunks_after(self._tracker.get_resume_position()):
            self.end_chunk(chunk_id, loss=None)

    def _mean(self, loss: torch.Tensor | None) -> torch.Tensor | float | None:
        total, num_steps = self._meter.take()
        if num_steps:
            return total / num_steps
        return None if loss is None else loss.detach()

    def flush(self) -> None:
        """Tell what is still untold; on CUDA this waits for the device."""
        untold, self._untold = self._untold, []
        for facts, mean in untold:
            self._context.chunk(**facts, loss=None if mean is None else round(float(mean), 6))
