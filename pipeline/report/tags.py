"""Where the words of the boxes in a picture stand: beside their box, inside the picture, and not on each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.report.parts import Box, Picture

_LINES = 16  # of words that a picture is wide
_LETTER_WIDTH = 0.68  # of its height, in a bold letter of common fonts
_ASCENT, _DESCENT = 0.8, 0.25  # of the height, above and below the line that letters stand on
_MANY = 50  # tags that are kept clear of; a picture with more is full of words anyway


@dataclass(frozen=True)
class Tag:
    """The words of a box; `x` is where they begin, or where they end if `anchor` says so, `y` the line they stand on.

    Attributes:
        is_moved: whether they would leave the picture beside this side of their box, and so lie elsewhere.
    """

    box: Box
    words: str
    x: float
    y: float
    size: float
    anchor: str = "start"
    is_moved: bool = False

    def overlap(self, other: Tag) -> float:
        """Return the area that both cover, in square pixels."""
        left, top, right, bottom = self._covered()
        other_left, other_top, other_right, other_bottom = other._covered()
        width = min(right, other_right) - max(left, other_left)
        height = min(bottom, other_bottom) - max(top, other_top)
        return max(0.0, width) * max(0.0, height)

    def _covered(self) -> tuple[float, float, float, float]:
        width = _width(self.words, self.size)
        left = self.x - width if self.anchor == "end" else self.x
        return left, self.y - _ASCENT * self.size, left + width, self.y + _DESCENT * self.size


def tags_of(boxes: Sequence[Box], words: Sequence[str], picture: Picture) -> list[Tag]:
    """Return where the words of each box stand, one after the other at the first of its places that is free.

    Where none is free they take the one where least is covered.
    """
    tags: list[Tag] = []
    for box, text in zip(boxes, words, strict=True):
        tags.append(_best(_places(box, text, picture), tags[:_MANY]))
    return tags


def _best(places: Iterator[Tag], others: Sequence[Tag]) -> Tag:
    found: list[tuple[float, Tag]] = []
    for place in places:
        covered = sum(place.overlap(other) for other in others)
        if not covered and not place.is_moved:
            return place
        found.append((covered, place))
    return min(found, key=lambda each: (each[0], each[1].is_moved))[1]


def _places(box: Box, words: str, picture: Picture) -> Iterator[Tag]:
    """Yield the places for the words of a box: above it, or below first where it is on one side only; then inside."""
    size = picture.width / _LINES
    above, below = box.y - size * _DESCENT, box.y + box.height + size
    outside = (above, below) if box.is_right else (below, above)
    for y in (*outside, box.y + size, box.y + box.height - size * _DESCENT):
        for is_at_end in (False, True):
            yield _inside(box, words, y=y, size=size, is_at_end=is_at_end, picture=picture)


def _inside(box: Box, words: str, *, y: float, size: float, is_at_end: bool, picture: Picture) -> Tag:
    """Return the words at one end of a line, moved into the picture."""
    width = _width(words, size)
    # Letters may be wider than they are taken to be: what is near the right end of the picture ends there.
    is_at_end = width < picture.width and (is_at_end or box.x + width > picture.width)
    end = min(max(box.x + box.width, width), picture.width)
    x = end if is_at_end else min(max(0.0, box.x), max(0.0, picture.width - width))
    line = min(max(y, size), picture.height - 1)
    anchor = "end" if is_at_end else "start"
    return Tag(box, words, round(x, 2), round(line, 2), round(size, 2), anchor, is_moved=line != y)


def _width(words: str, size: float) -> float:
    return len(words) * size * _LETTER_WIDTH
