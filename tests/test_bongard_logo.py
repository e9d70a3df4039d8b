"""Boxes that are derived from the ink of Bongard-LOGO images are those of the shapes that were drawn."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.errors import UsageError
from stages.evaluation.bongard_logo import BongardLogo, derive_boxes, is_bongard_logo
from stages.evaluation.real_image import Unusable, read_picture

_REAL = Path(os.environ.get("BONGARD_LOGO", Path(__file__).resolve().parents[2] / "shared" / "data" / "bongard_logo"))


def ink(*boxes: tuple[int, int, int, int], side: int = 512) -> npt.NDArray[np.uint8]:
    """Return a white image [side, side] with black rectangles x, y, width, height."""
    grey = np.full((side, side), 255, np.uint8)
    for x, y, width, height in boxes:
        grey[y : y + height, x : x + width] = 0
    return grey


def dotted(x: int, y: int, *, num_dots: int, gap: int) -> list[tuple[int, int, int, int]]:
    """Return the dots, 10 pixels wide, of a horizontal line with gaps between them."""
    return [(x + index * (10 + gap), y, 10, 10) for index in range(num_dots)]


def write_png(path: Path, grey: npt.NDArray[np.uint8]) -> None:
    """Write an RGB image, as the release has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).convert("RGB").save(path)


def test_lone_shape_is_all_the_ink() -> None:
    """With one shape known, parts belong to it however far apart they are."""
    boxes = derive_boxes(ink((10, 20, 5, 5), (400, 300, 6, 7)), num_shapes=1)
    assert boxes.tolist() == [[10, 20, 396, 287]]


def test_dilation_goes_on_until_there_are_as_many_components_as_shapes() -> None:
    """Two shapes made of dots with wide gaps are two boxes, tight around the ink itself."""
    grey = ink(*dotted(20, 50, num_dots=6, gap=14), *dotted(30, 300, num_dots=4, gap=9))
    assert derive_boxes(grey, num_shapes=2).tolist() == [[20, 50, 130, 10], [30, 300, 67, 10]]


def test_without_a_program_small_gaps_belong_to_a_shape_and_wide_ones_do_not() -> None:
    """The documented rule: parts up to 6 pixels of 512 apart are one shape."""
    grey = ink(*dotted(20, 50, num_dots=6, gap=6), *dotted(20, 300, num_dots=3, gap=8))
    boxes = derive_boxes(grey, num_shapes=None)
    assert boxes.tolist() == [[20, 50, 90, 10], [20, 300, 10, 10], [38, 300, 10, 10], [56, 300, 10, 10]]


def test_rule_without_a_program_scales_with_the_image() -> None:
    """In an image of half the size half the gap is bridged."""
    assert len(derive_boxes(ink((10, 10, 5, 5), (17, 10, 5, 5), side=256), num_shapes=None)) == 1
    assert len(derive_boxes(ink((10, 10, 5, 5), (21, 10, 5, 5), side=256), num_shapes=None)) == 2


def test_diagonal_neighbours_are_one_component() -> None:
    """Pixels that meet at a corner belong together."""
    assert len(derive_boxes(ink((10, 10, 5, 5), (15, 15, 5, 5), side=64), num_shapes=None)) == 1


def test_grey_edges_below_the_threshold_are_ink() -> None:
    """Smoothed edges count as ink below grey 200."""
    grey = ink((100, 100, 20, 20))
    grey[100:120, 99], grey[100:120, 120] = 199, 200
    assert derive_boxes(grey, num_shapes=1).tolist() == [[99, 100, 21, 20]]


@pytest.mark.parametrize(
    ("grey", "num_shapes", "reason"),
    [
        (ink((10, 10, 50, 50), (40, 40, 50, 50)), 2, "touch"),
        (ink((10, 10, 50, 50), (64, 10, 50, 50)), 2, "touch"),
        (ink(), 2, "no ink"),
        (ink(), None, "no ink"),
    ],
    ids=["crossing", "closer than parts", "blank", "blank without program"],
)
def test_what_cannot_be_told_apart_is_unusable(grey: npt.NDArray[np.uint8], num_shapes: int, reason: str) -> None:
    """Shapes that touch, and blank images, are refused with their reason rather than given wrong boxes."""
    with pytest.raises(Unusable, match=reason):
        derive_boxes(grey, num_shapes=num_shapes)


def make_release(root: Path) -> None:
    """Write two problems: one of ff in `images` with a program, one of hd in `png` without."""
    pair = ink((20, 20, 30, 40), (200, 300, 50, 60))
    write_png(root / "ff" / "images" / "ff_b" / "1" / "0.png", pair)
    write_png(root / "ff" / "images" / "ff_b" / "0" / "0.png", pair)
    write_png(root / "hd" / "png" / "hd_a" / "1" / "3.png", pair)
    shapes = [["line_normal_0.500-0.500"]]
    programs = {"ff_b": [[shapes], [shapes * 2]]}
    (root / "ff" / "ff_action_programs.json").write_text(json.dumps(programs))


def test_layout_is_read_with_what_is_there(tmp_path: Path) -> None:
    """Images come in the order ff, bd, hd, problem, label, number; a missing kind is no error; programs are inputs."""
    make_release(tmp_path)
    folder = BongardLogo(tmp_path)
    assert is_bongard_logo(tmp_path)
    assert [image.name for image in folder.images] == [
        "ff/images/ff_b/0/0.png",
        "ff/images/ff_b/1/0.png",
        "hd/png/hd_a/1/3.png",
    ]
    assert [image.image_id for image in folder.images] == [1, 2, 3]
    assert folder.files == (
        tmp_path / "ff" / "ff_action_programs.json",
        *(image.path for image in folder.images),
    )


def test_programs_tell_the_number_of_shapes_of_positives_and_negatives(tmp_path: Path) -> None:
    """The first list of a program is the positives (`1`), the second the negatives (`0`)."""
    make_release(tmp_path)
    folder = BongardLogo(tmp_path)
    boxes = [len(folder.truth(image, read_picture(image.path)).boxes) for image in folder.images]
    assert boxes == [2, 1, 2]  # two by program, one by program, two by the ink


@pytest.mark.parametrize("programs", [{}, {"ff_b": []}, {"ff_b": [[7]]}, {"ff_b": 7}, {"ff_b": [[[]], [[]]]}])
def test_programs_that_say_nothing_of_an_image_leave_it_to_the_ink(tmp_path: Path, programs: dict[str, Any]) -> None:
    """A program that is missing, too short, of another form or without shapes is no reason to stop."""
    make_release(tmp_path)
    (tmp_path / "ff" / "ff_action_programs.json").write_text(json.dumps(programs))
    folder = BongardLogo(tmp_path)
    assert len(folder.truth(folder.images[1], read_picture(folder.images[1].path)).boxes) == 2


@pytest.mark.parametrize("text", ["{", "[]"])
def test_unreadable_programs_are_told_by_name(tmp_path: Path, text: str) -> None:
    """A program file that is cut short or something else stops evaluation, naming the file."""
    make_release(tmp_path)
    (tmp_path / "ff" / "ff_action_programs.json").write_text(text)
    with pytest.raises(UsageError, match=r"ff_action_programs\.json"):
        BongardLogo(tmp_path)


def overlap(box: list[float], other: list[float]) -> float:
    """Return the intersection over union of two boxes x, y, width, height."""
    sides = [min(box[i] + box[i + 2], other[i] + other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
    common = max(sides[0], 0) * max(sides[1], 0)
    return common / (box[2] * box[3] + other[2] * other[3] - common)


@pytest.mark.skipif(not is_bongard_logo(_REAL), reason=f"no Bongard-LOGO images in {_REAL} (set BONGARD_LOGO)")
def test_derived_boxes_are_those_that_were_drawn() -> None:
    """On 420 real images: mean IoU of each kind >= 0.98, none below 0.9, only crossing shapes left out."""
    true: dict[str, Any] = {}
    for kind in ("ff", "bd", "hd"):
        true |= json.loads((_REAL / f"{kind}_true_boxes.json").read_text())
    folder = BongardLogo(_REAL)
    found: dict[str, list[float]] = {"ff": [], "bd": [], "hd": []}
    left_out: Counter[str] = Counter()
    for image in folder.images:
        kind, _, problem, label, file = image.name.split("/")
        (drawn,) = [row for row in true[problem] if row["label"] == label and f"{row['index']}.png" == file]
        try:
            boxes = folder.truth(image, read_picture(image.path)).boxes.tolist()
        except Unusable as reason:
            left_out[f"{kind}: {reason}"] += 1
            continue
        assert len(boxes) == len(drawn["shapes"])
        found[kind] += [max(overlap(shape["bbox"], box) for box in boxes) for shape in drawn["shapes"]]
    assert len(folder.images) == 420
    assert {kind: len(values) for kind, values in found.items()} == {"ff": 252, "bd": 178, "hd": 140}
    assert {kind: np.mean(values) >= 0.98 for kind, values in found.items()} == dict.fromkeys(found, True)
    assert min(map(min, found.values())) > 0.9
    assert left_out == {"bd: shapes touch": 2}
