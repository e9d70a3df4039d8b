"""The guard: what is not finite is found before it is saved; what is out of proportion is told, but not too often."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import StageFailed
from stages.training.config import GuardConfig
from stages.training.guard import BadStepError, Guard, Rollbacks

_OFF = torch.amp.GradScaler("cpu", enabled=False)


def _observe(guard: Guard, step: int, *, loss: float = 1.0, norm: float = 1.0) -> None:
    guard.observe(loss=torch.tensor(loss), norm=torch.tensor(norm), step=step, sample_ids=[step * 10, step * 10 + 1])


@pytest.mark.parametrize(
    ("loss", "norm", "what"),
    [
        (float("nan"), 1.0, "the loss is nan"),
        (float("inf"), 1.0, "the loss is inf"),
        (1.0, float("nan"), "the gradient norm is nan"),
        (1.0, float("inf"), "the gradient norm is inf"),
    ],
)
def test_step_that_is_not_finite_is_named(loss: float, norm: float, what: str) -> None:
    """NaN and infinity in loss or gradient raise at once, with step and samples."""
    guard = Guard(GuardConfig(), window=1, scaler=_OFF, warn=pytest.fail)
    _observe(guard, 1)
    with pytest.raises(BadStepError, match=rf"{what} at step 2 \(samples 20, 21\)"):
        _observe(guard, 2, loss=loss, norm=norm)


def test_window_is_checked_together_and_before_a_save() -> None:
    """With a window nothing is read until the next one is full, or all is settled; then the first bad step is named."""
    guard = Guard(GuardConfig(), window=4, scaler=_OFF, warn=pytest.fail)
    for step, loss in ((1, 1.0), (2, float("nan")), (3, float("nan"))):
        _observe(guard, step, loss=loss)
    with pytest.raises(BadStepError, match="at step 2"):
        guard.settle()
    guard.settle()
    for step in range(4, 11):
        _observe(guard, step, norm=float("inf") if step == 7 else 1.0)
    with pytest.raises(BadStepError, match="at step 7"):
        _observe(guard, 11)
    guard.settle()
    for step in range(12, 17):
        _observe(guard, step, loss=float("nan") if step == 14 else 1.0)
    with pytest.raises(BadStepError, match="at step 14"):
        guard.settle()
    guard.settle()


def test_infinite_gradients_are_normal_while_the_scale_can_fall() -> None:
    """The fp16 scaler leaves such steps out by itself; only when its scale is below 1 is there no way out."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    guard = Guard(GuardConfig(), window=1, scaler=scaler, warn=pytest.fail)
    _observe(guard, 1, norm=float("inf"))
    tiny = Guard(GuardConfig(), window=1, scaler=torch.amp.GradScaler("cpu", init_scale=0.5), warn=pytest.fail)
    with pytest.raises(BadStepError, match="gradient norm"):
        _observe(tiny, 1, norm=float("inf"))


@pytest.mark.parametrize(("kind", "norm"), [("vanishing", 1e-9), ("exploding", 1e6)])
def test_gradients_out_of_proportion_are_told_rarely(kind: str, norm: float) -> None:
    """The 1st, 10th and 100th such step is told, also when the count goes through a checkpoint."""
    warnings: list[str] = []
    guard = Guard(GuardConfig(), window=1, scaler=_OFF, warn=warnings.append)
    for step in range(1, 6):
        _observe(guard, step, norm=norm)
    again = Guard(GuardConfig(), window=1, scaler=_OFF, warn=warnings.append)
    again.load_state_dict(guard.state_dict())
    for step in range(6, 120):
        _observe(again, step, norm=norm)
    assert [warning.split(":")[0] for warning in warnings] == [
        f"{kind} gradient at step {step}" for step in (1, 10, 100)
    ]


def test_long_lists_of_samples_are_cut() -> None:
    """An error names 64 samples at most, and counts the others."""
    error = BadStepError("the loss is nan", step=1, sample_ids=range(100))
    assert str(error).endswith("62, 63 and 36 more)")


def test_rollbacks_end_when_the_same_step_stays_bad() -> None:
    """So many returns and no more; the error names what was bad."""
    rollbacks = Rollbacks(2)
    bad = BadStepError("the loss is nan", step=7, sample_ids=[1])
    assert rollbacks.note(bad).endswith("(1 of 2)")
    assert rollbacks.note(BadStepError("the loss is nan", step=6, sample_ids=[3])).endswith("(2 of 2)")
    with pytest.raises(StageFailed, match=r"the loss is nan at step 7 \(samples 1\), and again after 2 returns"):
        rollbacks.note(bad)


def test_troubles_that_passed_do_not_add_up() -> None:
    """A bad step further on is a new trouble: over weeks a few flipped bits end nothing."""
    rollbacks = Rollbacks(1)
    for step in (5, 9, 30):
        assert "(1 of 1)" in rollbacks.note(BadStepError("the loss is nan", step=step, sample_ids=[1]))
