"""Watches losses and gradients: a step that is not finite never gets into a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.errors import StageFailed
from stages.training.config import GuardConfig

_SHOWN_IDS = 64


class BadStepError(Exception):
    """The loss or the gradient of a step is not finite; training must go back to its last good checkpoint."""

    def __init__(self, what: str, *, step: int, sample_ids: Sequence[int]) -> None:
        super().__init__(what)
        self.what = what
        self.step = step
        self.sample_ids = tuple(sample_ids)

    def __str__(self) -> str:
        shown = ", ".join(str(sample_id) for sample_id in self.sample_ids[:_SHOWN_IDS])
        more = f" and {len(self.sample_ids) - _SHOWN_IDS} more" if len(self.sample_ids) > _SHOWN_IDS else ""
        return f"{self.what} at step {self.step} (samples {shown}{more})"


@dataclass(frozen=True)
class _Observed:
    step: int
    sample_ids: Sequence[int]
    loss: torch.Tensor
    norm: torch.Tensor


class _Sent:
    """Losses and norms of some steps on their way to the host, in one transfer."""

    def __init__(self, items: Sequence[_Observed]) -> None:
        self.items = items
        numbers = torch.stack([*(item.loss.float() for item in items), *(item.norm.float() for item in items)])
        self._event: torch.cuda.Event | None = None
        self._numbers = numbers
        if numbers.device.type == "cuda":
            # Only from pinned memory does the host not wait.
            self._numbers = torch.empty(numbers.shape, pin_memory=True).copy_(numbers, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def arrived(self) -> tuple[list[float], list[float]]:
        """Return losses and norms, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        numbers = self._numbers.tolist()
        return numbers[: len(self.items)], numbers[len(self.items) :]


class Guard:
    """Checks each step for numbers that are not finite, and for gradients out of all proportion.

    On the CPU a step is checked before the optimizer takes it. On CUDA asking for a number makes the host wait for
    the device, so the numbers of `window` steps are sent to the host together, and looked at when the next window is
    full: by then they have long arrived. What was taken of the steps since is undone by going back.

    Args:
        scaler: while it is at work, infinite gradients are a normal event: it leaves out the step and lowers its scale.
    """

    def __init__(
        self, config: GuardConfig, *, window: int, scaler: torch.amp.GradScaler, warn: Callable[[str], None]
    ) -> None:
        self._config = config
        self._window = window
        self._scaler = scaler
        self._warn = warn
        self._observed: list[_Observed] = []
        self._sent: _Sent | None = None
        self._newest: tuple[int, Sequence[int]] = (0, ())
        self._counts = {"vanishing": 0, "exploding": 0}
        self.norm = 0.0

    def observe(self, *, loss: torch.Tensor, norm: torch.Tensor, step: int, sample_ids: Sequence[int]) -> float | None:
        """Take note of a step, and return its norm where that is known at once.

        Raises:
            BadStepError: a step is not finite: this one, or one of the last full window.
        """
        self._newest = (step, sample_ids)
        if self._window == 1:
            known = norm.item()
            self._check(step, sample_ids, loss=loss.item(), norm=known)
            return known
        self._observed.append(_Observed(step, sample_ids, loss.detach(), norm.detach()))
        if len(self._observed) < self._window:
            return None
        # Emptied first: after an error these steps are undone and must not be looked at again.
        before, sent = self._sent, _Sent(self._observed)
        self._sent, self._observed = None, []
        self._check_all(before)
        self._sent = sent
        return None

    def settle(self) -> None:
        """Check what is still unchecked, as must be done before anything is saved; raises BadStepError."""
        before, observed = self._sent, self._observed
        self._sent, self._observed = None, []  # first, as above
        self._check_all(before)
        self._check_all(_Sent(observed) if observed else None)

    @property
    def newest(self) -> tuple[int, Sequence[int]]:
        """The newest step with its sample ids: the one at fault where state that is to be saved is not finite."""
        return self._newest

    def state_dict(self) -> dict[str, Any]:
        """Return how often gradients were out of proportion."""
        return dict(self._counts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting."""
        self._counts = {name: int(state[name]) for name in self._counts}

    def _check_all(self, sent: _Sent | None) -> None:
        if sent is None:
            return
        losses, norms = sent.arrived()
        for item, loss, norm in zip(sent.items, losses, norms, strict=True):
            self._check(item.step, item.sample_ids, loss=loss, norm=norm)

    def _check(self, step: int, sample_ids: Sequence[int], *, loss: float, norm: float) -> None:
        if not math.isfinite(loss):
            raise BadStepError(f"the loss is {loss}", step=step, sample_ids=sample_ids)
        if not math.isfinite(norm):
            # A scale below 1 means that the gradients overflow fp16 without being scaled up: no lower scale helps.
            if not self._scaler.is_enabled() or self._scaler.get_scale() < 1:
                raise BadStepError(f"the gradient norm is {norm}", step=step, sample_ids=sample_ids)
            return
        self.norm = norm
        if norm < self._config.vanishing_norm:
            self._tell("vanishing", step, norm)
        elif norm > self._config.exploding_norm:
            self._tell("exploding", step, norm)

    def _tell(self, kind: str, step: int, norm: float) -> None:
        """Warn at the 1st, 10th, 100th … time, so that a lasting trouble does not drown everything else."""
        self._counts[kind] += 1
        count = self._counts[kind]
        if count == 10 ** (len(str(count)) - 1):
            self._warn(f"{kind} gradient at step {step}: norm {norm:.3g} ({count} such steps so far)")


class Rollbacks:
    """Counts how often training went back without getting past the same bad step.

    What made the step bad decides whether going back helps: a flipped bit does not come again; a sample or a setting
    that is at fault does, at the same step, and after `limit` times training gives up and names it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._step = -1

    def note(self, bad: BadStepError) -> str:
        """Return what is told of going back once more; raises StageFailed when that was done often enough."""
        self._count = self._count + 1 if bad.step <= self._step else 1
        self._step = max(self._step, bad.step)
        if self._count > self._limit:
            raise StageFailed(
                f"{bad}, and again after {self._limit} returns to the last good checkpoint",
                code="E0153",
                hint="look at these samples, lower training.optimizer.lr, or set training.precision=fp32; "
                "the last good checkpoint is kept",
            )
        return f"{bad}; training goes back to its last good checkpoint ({self._count} of {self._limit})"
