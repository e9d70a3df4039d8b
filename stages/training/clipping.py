"""Gradients that are scaled down to a greatest norm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn.utils import clip_grads_with_norm_


def clip_gradients(
    parameters: Iterable[torch.nn.Parameter], limit: float, *, norm: torch.Tensor, known: float | None
) -> None:
    """Scale all gradients by min(1, limit / (norm + 1e-6)), as torch's `clip_grad_norm_` does, to the same bits.

    Args:
        parameters: whose gradients they are.
        limit: of the norm; 0: none.
        norm: of all gradients together.
        known: its value, if that is known without waiting for the device; a factor of 1 is then not carried out.
    """
    if not limit or (known is not None and _is_surely_below(known, limit)):
        return
    clip_grads_with_norm_(parameters, limit, norm)


def _is_surely_below(norm: float, limit: float) -> bool:
    # The margin is for rounding: torch computes the factor in the precision of the norm. A norm that is NaN is not.
    return norm + 1e-6 < 0.999 * limit
