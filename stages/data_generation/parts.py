"""Paths cut into parts of one style each, and places along them; all parts of many shapes at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stages.data_generation.draws import Floats
from stages.data_generation.scene import NUM_PARTS, Integers, Strokes


@dataclass(frozen=True)
class Parts:
    """Parts of paths, one row for each, in the order in which they are drawn; lengths are in pixels.

    Attributes:
        shape: which of the shapes it belongs to; ascending.
        points: x and y along it, [n, p, 2]; a part of fewer than p points repeats its last.
        num_points: how many of these are wanted, at least 2.
        is_loop: whether it is a whole path that returns to its first point.
        spacing: distance of motifs, as a multiple of their size `motif`.
    """

    shape: Integers
    style: Integers
    points: Floats
    num_points: Integers
    is_loop: npt.NDArray[np.bool_]
    motif: Floats
    spacing: Floats

    def rows(self, chosen: npt.NDArray[np.int64]) -> Parts:
        """Return the chosen rows."""
        return Parts(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @cached_property
    def lengths(self) -> Floats:
        """How far along its part each point lies, [n, p]."""
        steps = np.diff(self.points, axis=1)
        lengths = np.zeros(self.points.shape[:2])
        np.cumsum(np.hypot(steps[..., 0], steps[..., 1]), axis=1, out=lengths[:, 1:])
        return lengths

    def at(self, row: Integers, fractions: Floats) -> tuple[Floats, Floats]:
        """Return the places at fractions of the lengths of rows, and the unit tangents there, both [m, 2]."""
        wanted = fractions * self.lengths[row, -1]
        # Complex numbers are ordered by their real parts first: one search goes through all rows.
        keys = np.arange(len(self.shape))[:, None] + 1j * self.lengths
        before = np.searchsorted(keys.ravel(), row + 1j * wanted, side="right") - 1 - row * keys.shape[1]
        before = np.clip(before, 0, self.num_points[row] - 2)
        start, length = self.points[row, before], self.lengths[row, before]
        tangents = (self.points[row, before + 1] - start) / (self.lengths[row, before + 1] - length)[:, None]
        return start + tangents * (wanted - length)[:, None], tangents


def cut(strokes: Strokes) -> Parts:
    """Cut each path where its style changes; neighbouring parts of one style are one."""
    points, num_points = _with_returns(strokes)
    is_start = np.ones(strokes.styles.shape, bool)
    is_start[:, 1:] = strokes.styles[:, 1:] != strokes.styles[:, :-1]
    shape, part = np.nonzero(is_start)
    is_last = np.append(shape[1:] != shape[:-1], [True])
    first = _bound(part, num_points[shape])
    last = _bound(np.where(is_last, NUM_PARTS, np.append(part[1:], [0])), num_points[shape])
    (kept,) = np.nonzero(last > first)
    shape, first, last = shape[kept], first[kept], last[kept]
    along = np.arange((last - first).max(initial=0) + 1)
    return Parts(
        shape=shape,
        style=strokes.styles[shape, part[kept]],
        points=points[shape[:, None], np.minimum(first[:, None] + along, last[:, None])],
        num_points=last - first + 1,
        is_loop=strokes.is_closed[shape] & (is_start.sum(axis=1) == 1)[shape],
        motif=strokes.motif[shape],
        spacing=strokes.spacing[shape],
    )


def _with_returns(strokes: Strokes) -> tuple[Floats, Integers]:
    """Return the points of the paths, [n, p, 2], and how many there are, closed paths with their first point behind."""
    points = np.concatenate([strokes.points, strokes.points[:, :, -1:]], axis=2).swapaxes(1, 2)
    is_behind = np.arange(points.shape[1]) >= strokes.num_points[:, None]
    is_return = is_behind & strokes.is_closed[:, None]
    return np.where(is_return[:, :, None], points[:, :1], points), strokes.num_points + strokes.is_closed


def _bound(part: Integers, num_points: Integers) -> Integers:
    """Return the number of the point at which a part begins."""
    return np.rint(part / NUM_PARTS * (num_points - 1)).astype(np.int64)
