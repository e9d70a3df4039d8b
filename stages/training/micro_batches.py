"""The gradient of a batch: of the whole at once, or, where memory does not suffice for that, of its parts in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from pipeline.errors import ResourceExhausted
from pipeline.memory import is_out_of_memory, said
from stages.chunks.reader import Batch
from stages.training.compiling import compiler_failure
from stages.training.config import TrainingConfig
from stages.training.learner import Learner
from stages.training.rng import RngState


class MicroBatches:
    """Computes the gradients of batches; only here is a step ever begun again for want of memory.

    With `on_oom = "accumulate"` a batch that does not fit is taken again from its start, in parts whose losses are
    weighted by their share, so that the step is the same as far as the task takes means over samples (and batch norm,
    dropout and the like, which see smaller batches, allow it). The optimizer has not moved by then. From there on, and
    in a run that is continued, all batches are taken in such parts; samples and their order stay the same.
    """

    def __init__(self, learner: Learner, config: TrainingConfig, rng: RngState, *, warn: Callable[[str], None]) -> None:
        self._learner = learner
        self._is_allowed = config.on_oom == "accumulate"
        self._rng = rng
        self._warn = warn
        self._size = 0  # samples in a part; 0: whole batches
        self._halvings: list[tuple[int, int]] = []  # at which step, to which size

    def backward(self, batch: Batch, *, step: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Compute the (scaled) gradients of all weights, and return the loss terms and their sum.

        Raises:
            ResourceExhausted: not even one sample at a time fits into memory.
            StageFailed: the compiler fails for the model.
        """
        if not self._is_allowed:
            return self._attempt(batch, size=0)
        while True:
            rng = self._rng.state_dict()
            buffers = [buffer.clone() for buffer in self._learner.model.buffers()]
            try:
                return self._attempt(batch, size=self._size)
            except (MemoryError, RuntimeError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = said(error)
            # Outside of the `except`, whose error holds the frames that hold the tensors of the attempt.
            self._undo(rng, buffers)
            self._halve(len(batch.sample_ids), step=step, problem=problem)

    def warnings(self) -> tuple[str, ...]:
        """Return a line for each time that memory ran out."""
        return tuple(_line(step, size) for step, size in self._halvings)

    def state_dict(self) -> dict[str, Any]:
        """Return the size of the parts, and since when it is that."""
        return {"size": self._size, "halvings": [list(halving) for halving in self._halvings]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with parts of the same size."""
        self._size = int(state["size"])
        self._halvings = [(int(step), int(size)) for step, size in state["halvings"]]

    def _attempt(self, batch: Batch, *, size: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        try:
            return self._gradients(batch, size=size)
        except RuntimeError as error:
            if failure := compiler_failure(error):
                raise failure from error
            raise

    def _gradients(self, batch: Batch, *, size: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        learner, count = self._learner, len(batch.sample_ids)
        learner.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, torch.Tensor] = {}
        total: torch.Tensor | None = None
        for part in _parts(batch, size=size or count):
            prepared = learner.batches.prepare(part, epoch=batch.epoch)
            with learner.batches.autocast():
                terms = learner.task.losses(learner.model_for(len(part.sample_ids)), prepared)
            # One kernel for any number of terms, and one order of summation; none for a single one.
            found = list(terms.values())
            loss = found[0] if len(found) == 1 else torch.stack(found).sum()
            share = len(part.sample_ids) / count
            if share == 1:
                learner.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                return dict(terms), loss
            loss = loss * share
            learner.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total = loss.detach() if total is None else total + loss.detach()
            sums = {name: sums.get(name, 0.0) + value.detach() * share for name, value in terms.items()}
        assert total is not None
        return sums, total

    def _undo(self, rng: Mapping[str, Any], buffers: Sequence[torch.Tensor]) -> None:
        """Put back what an attempt has moved: gradients, generators, and buffers such as running means."""
        learner = self._learner
        learner.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(learner.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self._rng.load_state_dict(rng)
        if learner.batches.device.type == "cuda":
            torch.cuda.empty_cache()

    def _halve(self, count: int, *, step: int, problem: str) -> None:
        size = min(self._size or count, count)
        if size == 1:
            raise ResourceExhausted(
                f"out of memory at step {step} with one sample at a time: {problem}",
                code="E0650",
                hint="the last checkpoint stands; free memory, or use a smaller model or smaller images",
            )
        self._size = (size + 1) // 2
        self._halvings.append((step, self._size))
        self._warn(f"{_line(step, self._size)}: {problem}")


def _parts(batch: Batch, *, size: int) -> Iterator[Batch]:
    if size >= len(batch.sample_ids):
        yield batch
        return
    for start in range(0, len(batch.sample_ids), size):
        rows = slice(start, start + size)
        arrays = {name: array[rows] for name, array in batch.arrays.items()}
        yield replace(batch, arrays=arrays, sample_ids=batch.sample_ids[rows])


def _line(step: int, size: int) -> str:
    return f"out of memory at step {step}; from there on batches are taken in parts of {size}"
