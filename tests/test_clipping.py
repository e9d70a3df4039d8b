"""Clipping has the bits of torch's own, also where a factor of 1 is not carried out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from resume import run_to_the_end
from tiny_task import tiny_config
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from stages.training import clipping
from stages.training.clipping import clip_gradients

# of the limit: far off, at the margin that is left for rounding, and around 1
_RATIOS = (1e-30, 1e-6, 0.5, 0.998, 0.999, 0.9999999, 1.0, 1.0000001, 1.5, 1e6)


def parameters(norm: float) -> list[nn.Parameter]:
    """Return parameters whose gradients have about this norm together."""
    generator = torch.Generator().manual_seed(5)
    found = [nn.Parameter(torch.zeros(shape)) for shape in ((7, 3), (11,), (1,))]
    for parameter in found:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    scale = norm / float(norm_of(found))
    for parameter in found:
        assert parameter.grad is not None
        parameter.grad *= scale
    return found


def norm_of(found: Sequence[nn.Parameter]) -> torch.Tensor:
    """Return the norm of all gradients together."""
    return get_total_norm([parameter.grad for parameter in found if parameter.grad is not None])


def bits(found: Sequence[nn.Parameter]) -> bytes:
    """Return all gradients, byte for byte."""
    return b"".join(parameter.grad.numpy().tobytes() for parameter in found if parameter.grad is not None)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("ratio", _RATIOS)
@pytest.mark.parametrize("limit", [1e-9, 1e-6, 2e-6, 1.0, 10.0, 1e9])
def test_gradients_are_those_of_torch(limit: float, ratio: float, is_known: bool) -> None:
    """Whatever limit and norm are, and whether or not the norm is known, no bit differs from torch's clipping."""
    expected, found = parameters(ratio * limit), parameters(ratio * limit)
    clip_grad_norm_(expected, limit)
    norm = norm_of(found)
    clip_gradients(found, limit, norm=norm, known=norm.item() if is_known else None)
    assert bits(found) == bits(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_clipped_as_by_torch(value: float) -> None:
    """A norm that is not finite, which a scaler at work lets pass, is never taken for a small one."""
    expected, found = parameters(1.0), parameters(1.0)
    for one in (expected, found):
        assert one[0].grad is not None
        one[0].grad[0, 0] = value
    clip_grad_norm_(expected, 10.0)
    clip_gradients(found, 10.0, norm=norm_of(found), known=value)
    assert bits(found) == bits(expected)


def test_a_known_small_norm_spares_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are left alone where it is known that they are within the limit, and without a limit."""
    monkeypatch.setattr(clipping, "clip_grads_with_norm_", lambda *_: pytest.fail("walked over all gradients"))
    found = parameters(1.0)
    clip_gradients(found, 10.0, norm=norm_of(found), known=1.0)
    clip_gradients(found, 0.0, norm=norm_of(found), known=None)


def test_training_clips(tmp_path: Path) -> None:
    """A limit below the gradients' norms changes what plain gradient descent makes of them; one above does not."""
    ends = {
        limit: run_to_the_end(tmp_path / str(limit), tiny_config(optimizer={"name": "sgd"}, gradient_clip_norm=limit))
        for limit in (0.0, 1e-3, 1e9)
    }
    assert ends[1e9].weights == ends[0.0].weights
    assert ends[1e-3].weights != ends[0.0].weights
