"""Words of boxes: beside their box, inside the picture, and not on each other as long as there is room."""

from __future__ import annotations

from itertools import combinations

import pytest
from test_report_page import part_of

from pipeline.report.parts import Box, Picture, PicturesBlock
from pipeline.report.tags import Tag, tags_of

_SIZE = 8  # of words, in a picture of 128 pixels


def picture(*boxes: Box) -> Picture:
    """Return a picture of 128 pixels with these boxes."""
    made = next(block for block in part_of().blocks if isinstance(block, PicturesBlock)).pictures[0]
    return made.model_copy(update={"width": 128, "height": 128, "truth": boxes, "found": ()})


def box(x: float, y: float, width: float = 30, height: float = 30, *, is_right: bool = True) -> Box:
    """Return a box."""
    return Box(x=x, y=y, width=width, height=height, label="freeform", score=0.72, is_right=is_right)


def tags(*boxes: Box, words: str = "freeform 0.72") -> list[Tag]:
    """Return the tags of some boxes."""
    return tags_of(boxes, [words] * len(boxes), picture(*boxes))


def test_words_stand_above_a_box_that_both_sides_have_and_below_one_of_one_side() -> None:
    """Two boxes at the same place, one right and one wrong, are told apart."""
    right, wrong = tags(box(10, 40), box(10, 40, is_right=False))
    assert (right.x, right.y, right.anchor) == (10, 40 - _SIZE / 4, "start")
    assert (wrong.x, wrong.y, wrong.anchor) == (10, 70 + _SIZE, "start")


@pytest.mark.parametrize("is_right", [True, False])
def test_words_of_boxes_close_to_each_other_do_not_lie_on_each_other(is_right: bool) -> None:
    """Of the same box twice, of three that overlap, and of two in a row whose words are longer than they are."""
    for boxes in (
        [box(10, 40, is_right=is_right)] * 4,
        [box(10 + 4 * number, 40 + 3 * number, is_right=is_right) for number in range(3)],
        [box(10, 40, 20, is_right=is_right), box(35, 40, 20, is_right=is_right)],
    ):
        assert [one.overlap(other) for one, other in combinations(tags(*boxes), 2) if one.overlap(other)] == []


@pytest.mark.parametrize("x", [-20, 0, 60, 120, 140])
@pytest.mark.parametrize("y", [-20, 0, 60, 120, 140])
def test_words_stay_inside_the_picture(x: float, y: float) -> None:
    """Wherever the box is, and also where its other places are taken."""
    for tag in tags(*[box(x, y)] * 3):
        assert _SIZE <= tag.y < 128
        width = len(tag.words) * _SIZE * 0.68
        left = tag.x - width if tag.anchor == "end" else tag.x
        assert -0.01 <= left <= 128 - width + 0.01


def test_words_longer_than_the_picture_begin_at_its_edge() -> None:
    """Their first letters are those that are seen."""
    (tag,) = tags(box(60, 60), words="w" * 300)
    assert (tag.x, tag.anchor) == (0, "start")


def test_where_there_is_no_room_words_lie_on_each_other() -> None:
    """As many as there are: each has a tag."""
    assert len(tags(*[box(40, 40)] * 200)) == 200
