"""The layout of scenes: which shapes, how large, where; all samples of a chunk at once, each on its own numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.data_generation.config import MAX_SHAPES, DataGenerationConfig
from stages.data_generation.draws import LAYOUT_STREAM, Draws, Floats, words
from stages.data_generation.shapes import KINDS, NUM_PARAMETERS, NUM_POINTS, make_paths

NUM_PARTS = 4  # parts of a path that may differ in style
THINNEST = 0.8  # pixels; a thinner line fades to a grey that is no longer ink
_NUM_TRIES = 12  # places tried for a shape; each time it is a little smaller
_SHRINK = 0.9
_WORDS_PER_SHAPE = 56  # what a shape draws below, rounded up to whole steps of the generator
# A mitred corner reaches out by up to two widths of the line (AGG's limit is 4 half-widths); 1 pixel is for rounding.
_MITRE = 2.0

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Strokes:
    """Shapes that have found a place, ready to be drawn; arrays have one row for each shape, lengths are in pixels.

    Attributes:
        sample: which sample of the chunk the shape belongs to; ascending.
        label: its class, as a place in the config's `classes`.
        sheet: the part of the image that surely holds its ink: left, top, right, bottom, [n, 4].
        points: x and y of its path on that sheet, [n, 2, NUM_POINTS].
        num_points: how many of these are wanted; those behind repeat the last.
        styles: the style of each of its parts, [n, NUM_PARTS], places in the order of `StyleWeights`.
        spacing: distance of motifs, as a multiple of their size.
    """

    sample: Integers
    label: Integers
    sheet: Integers
    points: Floats
    num_points: Integers
    width: Floats
    motif: Floats
    spacing: Floats
    styles: Integers


def lay_out(config: DataGenerationConfig, *, first_sample_id: int, count: int) -> Strokes:
    """Return the shapes of `count` scenes; each scene depends on the config and its sample id alone."""
    raw = words(
        seed=config.seed,
        stream=LAYOUT_STREAM,
        first_sample_id=first_sample_id,
        count=count,
        width=MAX_SHAPES * _WORDS_PER_SHAPE,
    )
    draws = Draws(raw, rows=MAX_SHAPES)
    side = config.image_size
    kinds = [KINDS[name] for name in config.classes]
    label = np.floor(draws.one() * len(kinds)).astype(np.int64)
    paths = _bent(make_paths(kinds, labels=label, parameters=draws.take(NUM_PARAMETERS)), draws, config.jitter)
    detail = np.array([kind.detail for kind in kinds])[label]
    smallest = np.minimum(config.min_extent * detail, config.max_extent)
    extent = draws.between(smallest, config.max_extent) * side
    # Small shapes and intricate ones get thin lines and small motifs, or their class could not be seen.
    width = np.minimum(draws.between(config.min_stroke, config.max_stroke) * side, extent / 12)
    motif = np.minimum(draws.between(config.min_motif, config.max_motif) * side, extent / (8 * detail))
    can_change = extent > 2 * config.min_extent * side
    styles = _styles(config, draws, can_change=can_change)
    spacing = draws.between(1.05, 1.5)
    width = np.maximum(width, THINNEST)
    breadth = np.where((styles > 0).any(axis=1), motif, width)
    margin = breadth / 2 + _MITRE * width + 1
    num_wanted = config.min_shapes + np.floor(draws.one() * (config.max_shapes + 1 - config.min_shapes))
    is_wanted = np.arange(MAX_SHAPES) < num_wanted.reshape(count, MAX_SHAPES)[:, :1]
    placed = _place(
        spans=paths.max(axis=2),
        scale=np.maximum(extent[:, None] * _SHRINK ** np.arange(_NUM_TRIES), smallest[:, None] * side)
        - breadth[:, None],
        margin=margin,
        is_wanted=is_wanted,
        u=draws.take(2 * _NUM_TRIES),
        config=config,
    )
    found = np.flatnonzero(placed.is_found)
    points = paths[found] * placed.scale[found, None, None] + placed.corner[found, :, None]
    reach = margin[found, None]
    low, high = np.floor(points.min(axis=2) - reach), np.ceil(points.max(axis=2) + reach)
    sheet = np.concatenate([np.maximum(low, 0), np.minimum(high, side)], axis=1).astype(np.int64)
    is_last = (points == points[:, :, -1:]).all(axis=1)
    return Strokes(
        sample=found // MAX_SHAPES,
        label=label[found],
        sheet=sheet,
        points=points - sheet[:, :2, None],
        num_points=NUM_POINTS - np.logical_and.accumulate(is_last[:, ::-1], axis=1).sum(axis=1) + 1,
        width=width[found],
        motif=motif[found],
        spacing=spacing[found],
        styles=styles[found],
    )


def _bent(paths: Floats, draws: Draws, jitter: float) -> Floats:
    """Bend, stretch and turn paths, and move their lowest x and y to 0 and their longer side to 1."""
    paths = _unit(paths)
    phase = draws.take(2)[:, :, None] * 2 * np.pi
    # A slow wave moves each coordinate along the other: lines stay lines between corners, curves wobble.
    paths = paths + jitter * np.sin(5.0 * paths[:, ::-1] + phase)
    stretch = np.stack([np.ones(len(paths)), draws.between(0.6, 1.0)], axis=1)
    angle = draws.between(0, 2 * np.pi)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    return _unit((turn * stretch[:, None]) @ paths)


def _unit(paths: Floats) -> Floats:
    paths = paths - paths.min(axis=2, keepdims=True)
    unit: Floats = paths / paths.max(axis=(1, 2), keepdims=True)
    return unit


def _styles(config: DataGenerationConfig, draws: Draws, *, can_change: npt.NDArray[np.bool_]) -> Integers:
    weights = np.array(config.styles.as_tuple())
    bounds = np.cumsum(weights / weights.sum())[:-1]
    styles = np.searchsorted(bounds, draws.take(NUM_PARTS), side="right")
    changes = (draws.one() < config.style_change) & can_change
    return np.where(changes[:, None], styles, styles[:, :1])


@dataclass(frozen=True)
class _Places:
    is_found: npt.NDArray[np.bool_]
    scale: Floats
    corner: Floats  # where (0, 0) of the unit path comes to lie


def _place(
    *,
    spans: Floats,
    scale: Floats,
    margin: Floats,
    is_wanted: npt.NDArray[np.bool_],
    u: Floats,
    config: DataGenerationConfig,
) -> _Places:
    """Find places for the shapes of each sample, one after the other, the first of its tries that overlaps little.

    The boxes of the ink are measured later. Here an overlap is taken between boxes that surely hold the ink, and
    compared with areas that it surely covers, so that the measured boxes never overlap by more than `max_iou`.
    """
    count = len(is_wanted)
    shape = (count, MAX_SHAPES, _NUM_TRIES)
    scale = scale.reshape(shape)
    inner = spans.reshape(count, MAX_SHAPES, 1, 2) * scale[..., None]
    outer = inner + 2 * margin.reshape(count, MAX_SHAPES, 1, 1)
    low = u.reshape(*shape, 2) * (config.image_size - outer)
    boxes = np.concatenate([low, low + outer], axis=3)
    areas = np.prod(np.maximum(inner - 2, 0), axis=3)
    chosen = np.zeros((count, MAX_SHAPES), np.int64)
    is_found = np.zeros((count, MAX_SHAPES), bool)
    rows = np.arange(count)
    for slot in range(MAX_SHAPES):
        is_free = (low[:, slot] >= 0).all(axis=2) & is_wanted[:, slot, None]
        for other in range(slot):
            pick = chosen[:, other]
            overlap = _overlap(boxes[:, slot], boxes[rows, other, pick][:, None])
            allowed = config.max_iou * (areas[:, slot] + areas[rows, other, pick][:, None])
            is_free &= (overlap * (1 + config.max_iou) <= allowed) | ~is_found[:, other, None]
        chosen[:, slot] = is_free.argmax(axis=1)
        is_found[:, slot] = is_free.any(axis=1)
    taken = (rows[:, None], np.arange(MAX_SHAPES), chosen)
    corner = low[taken].reshape(-1, 2) + margin[:, None]
    return _Places(is_found.ravel(), scale[taken].ravel(), corner)


def _overlap(a: Floats, b: Floats) -> Floats:
    """Return the areas common to boxes given by their corners, [..., 4]."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    areas: Floats = np.prod(np.maximum(sides, 0), axis=-1)
    return areas
