"""Other views of a scene, for training: a pure function of (seed, epoch, sample id)."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def draws(sample_ids: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return for each sample id [B] 32 random bits, as int64 [B]; no state, so the batch does not matter."""
    bits = _mixed(_mixed(torch.zeros_like(sample_ids) + (seed & _MASK)) ^ (epoch & _MASK))
    return _mixed(_mixed(bits ^ (sample_ids >> 32 & _MASK)) ^ (sample_ids & _MASK))


def _mixed(bits: Tensor) -> Tensor:
    """Permute 32-bit numbers; the two factors are below 2^31, so that no product overflows int64.

    Constants of the best two-round function that the search of C. Wellons, "Hash function prospector", has found.
    """
    bits = (bits ^ bits >> 16) * 0x21F0AAAD & _MASK
    bits = (bits ^ bits >> 15) * 0x735A2D97 & _MASK
    return bits ^ bits >> 15


def reoriented(image: Tensor, sizes: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
    """Flip and transpose images [B, C, H, W] and their boxes xywh [B, M, 4] as bits 0, 1 and 2 of `bits` [B] say.

    The eight symmetries of the square, equally often; of an image that is not square only the four that keep its
    shape.
    """
    height, width = image.shape[-2:]
    image, sizes = _flipped(image, sizes, bits & 1 > 0, side=width, axis=0)
    image, sizes = _flipped(image, sizes, bits & 2 > 0, side=height, axis=1)
    if height != width:
        return image, sizes
    is_turned = bits & 4 > 0
    turned = torch.where(is_turned[:, None, None, None], image.transpose(-1, -2), image)
    # Not by a list of indices, which the host would have to bring to the device, waiting for it.
    swapped = sizes.reshape(*sizes.shape[:-1], 2, 2).flip(-1).flatten(-2)
    return turned, torch.where(is_turned[:, None, None], swapped, sizes)


def _flipped(image: Tensor, sizes: Tensor, is_flipped: Tensor, *, side: int, axis: int) -> tuple[Tensor, Tensor]:
    mirrored = sizes.clone()
    mirrored[..., axis] = side - sizes[..., axis] - sizes[..., axis + 2]
    return (
        torch.where(is_flipped[:, None, None, None], image.flip(-1 - axis), image),
        torch.where(is_flipped[:, None, None], mirrored, sizes),
    )
