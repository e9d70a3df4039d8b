"""The layout of scenes: which shapes, how large, where; all samples of a chunk at once, each on its own numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.data_generation.config import MAX_SHAPES, DataGenerationConfig
from stages.data_generation.draws import LAYOUT_STREAM, Draws, Floats, words
from stages.data_generation.placement import NUM_TRIES, place
from stages.data_generation.shapes import KINDS, NUM_PARAMETERS, NUM_POINTS, make_paths

NUM_PARTS = 4  # parts of a path that may differ in style
THINNEST = 0.8  # pixels; a thinner line fades to a grey that is no longer ink
_WORDS_PER_SAMPLE = MAX_SHAPES * 54  # what each shape draws below, and a multiple of 4
# A mitred corner reaches out by up to two widths of the line: AGG's limit is four half-widths.
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
        is_closed: whether the path returns to its first point.
        styles: the style of each of its parts, [n, NUM_PARTS], places in the order of `StyleWeights`.
        spacing: distance of motifs, as a multiple of their size.
    """

    sample: Integers
    label: Integers
    sheet: Integers
    points: Floats
    num_points: Integers
    is_closed: npt.NDArray[np.bool_]
    width: Floats
    motif: Floats
    spacing: Floats
    styles: Integers


def lay_out(config: DataGenerationConfig, *, first_sample_id: int, count: int) -> Strokes:
    """Return the shapes of `count` scenes; each scene depends on the config and its sample id alone."""
    raw = words(
        seed=config.seed, stream=LAYOUT_STREAM, first_sample_id=first_sample_id, count=count, width=_WORDS_PER_SAMPLE
    )
    draws = Draws(raw, rows=MAX_SHAPES)
    side = config.image_size
    kinds = [KINDS[name] for name in config.classes]
    label = np.floor(draws.one() * len(kinds)).astype(np.int64)
    paths = _bent(make_paths(kinds, labels=label, parameters=draws.take(NUM_PARAMETERS)), draws, config.jitter)
    look = _look(config, draws, detail=np.array([kind.detail for kind in kinds])[label])
    num_wanted = config.min_shapes + np.floor(draws.one() * (config.max_shapes + 1 - config.min_shapes))
    placed = place(
        spans=paths.max(axis=2),
        extent=look.extent,
        smallest=look.smallest,
        breadth=look.breadth,
        reach=look.reach,
        is_wanted=np.arange(MAX_SHAPES) < num_wanted.reshape(count, MAX_SHAPES)[:, :1],
        u=draws.take(2 * NUM_TRIES),
        side=side,
        max_iou=config.max_iou,
    )
    found = np.flatnonzero(placed.is_found)
    points = paths[found] * placed.scale[found, None, None] + placed.corner[found, :, None]
    reach = look.reach[found, None]
    low, high = np.floor(points.min(axis=2) - reach), np.ceil(points.max(axis=2) + reach)
    sheet = np.concatenate([np.maximum(low, 0), np.minimum(high, side)], axis=1).astype(np.int64)
    return Strokes(
        sample=found // MAX_SHAPES,
        label=label[found],
        sheet=sheet,
        points=points - sheet[:, :2, None],
        num_points=_num_distinct(points),
        is_closed=np.array([kind.is_closed for kind in kinds])[label[found]],
        width=look.width[found],
        motif=look.motif[found],
        spacing=look.spacing[found],
        styles=look.styles[found],
    )


@dataclass(frozen=True)
class _Look:
    """Sizes and styles of shapes, before they have a place; lengths in pixels."""

    smallest: Floats
    extent: Floats
    width: Floats
    motif: Floats
    spacing: Floats
    styles: Integers

    @property
    def breadth(self) -> Floats:
        """How broad a stroke looks: its motifs, or its line."""
        return np.where((self.styles > 0).any(axis=1), self.motif, self.width)

    @property
    def reach(self) -> Floats:
        """How far ink may reach out beyond the path; 1 pixel is for rounding."""
        return self.breadth / 2 + _MITRE * self.width + 1


def _look(config: DataGenerationConfig, draws: Draws, *, detail: Floats) -> _Look:
    side = config.image_size
    smallest = np.minimum(config.min_extent * detail, config.max_extent) * side
    extent = draws.between(smallest, config.max_extent * side)
    # Small shapes and intricate ones get thin lines and small motifs, or their class could not be seen.
    width = np.minimum(draws.between(config.min_stroke, config.max_stroke) * side, extent / 12)
    motif = np.minimum(draws.between(config.min_motif, config.max_motif) * side, extent / (8 * detail))
    bounds = np.cumsum(config.styles.as_tuple())
    styles = np.searchsorted(bounds[:-1] / bounds[-1], draws.take(NUM_PARTS), side="right")
    changes = (draws.one() < config.style_change) & (extent > 2 * config.min_extent * side)
    return _Look(
        smallest=smallest,
        extent=extent,
        width=np.maximum(width, THINNEST),
        motif=motif,
        spacing=draws.between(1.05, 1.35),
        styles=np.where(changes[:, None], styles, styles[:, :1]),
    )


def _num_distinct(points: Floats) -> Integers:
    """Return how many points of each path there are without the repetitions of its last point."""
    is_last = (points == points[:, :, -1:]).all(axis=1)
    num_last: Integers = np.logical_and.accumulate(is_last[:, ::-1], axis=1).sum(axis=1)
    return NUM_POINTS + 1 - num_last


def _bent(paths: Floats, draws: Draws, jitter: float) -> Floats:
    """Bend, stretch and turn paths, and move their lowest x and y to 0 and their longer side to 1."""
    paths = _unit(paths)
    phase = draws.take(2)[:, :, None] * 2 * np.pi
    # A slow wave moves each coordinate along the other: lines stay lines between corners, curves wobble.
    paths = paths + jitter * np.sin(5.0 * paths[:, ::-1] + phase)
    stretch = np.stack([np.ones(len(paths)), draws.between(0.7, 1.0)], axis=1)
    angle = draws.between(0, 2 * np.pi)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    return _unit((turn * stretch[:, None]) @ paths)


def _unit(paths: Floats) -> Floats:
    paths = paths - paths.min(axis=2, keepdims=True)
    unit: Floats = paths / paths.max(axis=(1, 2), keepdims=True)
    return unit
