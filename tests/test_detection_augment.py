"""Augmentation is a pure function of (seed, epoch, sample id) and moves boxes with the ink."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.detection.augment import draws, reoriented


def scenes(*, height: int, width: int, num_scenes: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images with two filled rectangles each, of grey 100 and 200, and their boxes."""
    rng = np.random.default_rng(3)
    image = torch.zeros(num_scenes, 1, height, width, dtype=torch.uint8)
    boxes = torch.zeros(num_scenes, 2, 4)
    for scene in range(num_scenes):
        for index, grey in enumerate((100, 200)):
            x, y = int(rng.integers(0, width // 2 - 9)) + index * width // 2, int(rng.integers(0, height - 9))
            w, h = (int(side) for side in rng.integers(3, 9, 2))
            image[scene, 0, y : y + h, x : x + w] = grey
            boxes[scene, index] = torch.tensor([x, y, w, h])
    return image, boxes


def hashed(sample_id: int, *, seed: int, epoch: int) -> int:
    """Return what `draws` should give for one sample, with Python's unbounded integers."""

    def mixed(bits: int) -> int:
        bits = ((bits ^ bits >> 16) * 0x21F0AAAD) % 2**32
        bits = ((bits ^ bits >> 15) * 0x735A2D97) % 2**32
        return bits ^ bits >> 15

    bits = mixed(mixed(seed % 2**32) ^ epoch)
    return mixed(mixed(bits ^ sample_id >> 32) ^ sample_id % 2**32)


def test_draws_equal_arithmetic_without_overflow() -> None:
    """The vectorised hash is the hash of Python's integers, also for ids beyond 32 bits."""
    ids = [0, 1, 2, 99_999, 2**31, 2**32 + 7, 2**40 + 3, 2**62]
    bits = draws(torch.tensor(ids), seed=2**32 - 1, epoch=41)
    assert bits.tolist() == [hashed(sample_id, seed=2**32 - 1, epoch=41) for sample_id in ids]


def test_draws_do_not_depend_on_batch() -> None:
    """A sample gets the same bits wherever it stands in a batch, and others in another epoch or with another seed."""
    ids = torch.arange(1000)
    bits = draws(ids, seed=1, epoch=2)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws(ids[order][:7], seed=1, epoch=2), bits[order][:7])
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert (draws(ids, seed=seed, epoch=epoch) == bits).float().mean() < 0.01


@pytest.mark.parametrize("shift", [0, 3, 8, 29])
def test_all_orientations_come_equally_often(shift: int) -> None:
    """Over samples and over epochs each of the eight views comes in an eighth of the cases."""
    ids = torch.arange(4000)
    over_samples = draws(ids, seed=5, epoch=0) >> shift & 7
    over_epochs = torch.stack([draws(ids[:1], seed=5, epoch=epoch) for epoch in range(4000)]).flatten() >> shift & 7
    for views in (over_samples, over_epochs):
        counts = torch.bincount(views, minlength=8)
        assert counts.min() > 420  # 500 expected, standard deviation 21
        assert counts.max() < 580


@pytest.mark.parametrize(("height", "width"), [(40, 40), (32, 48)])
def test_views_equal_those_of_single_scenes(height: int, width: int) -> None:
    """Each scene of a batch is flipped and turned as numpy does it with that scene alone."""
    image, boxes = scenes(height=height, width=width)
    bits = torch.arange(16) % 8
    views, _ = reoriented(image, boxes, bits)
    for scene, view, orientation in zip(image.numpy(), views.numpy(), bits.tolist(), strict=True):
        expected = scene[0]
        expected = expected[:, ::-1] if orientation & 1 else expected
        expected = expected[::-1] if orientation & 2 else expected
        expected = expected.T if orientation & 4 and height == width else expected
        np.testing.assert_array_equal(view[0], expected)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (32, 48)])
def test_boxes_stay_around_their_ink(height: int, width: int) -> None:
    """In every view a box is still the extent of the ink that it belonged to."""
    image, boxes = scenes(height=height, width=width)
    views, moved = reoriented(image, boxes, torch.arange(16))
    for view, its_boxes in zip(views.numpy(), moved.tolist(), strict=True):
        for grey, box in zip((100, 200), its_boxes, strict=True):
            y, x = np.nonzero(view[0] == grey)
            assert box == [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
