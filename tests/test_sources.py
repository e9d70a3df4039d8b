"""Data sets to measure on: every image with what is really in it; what cannot be used is left out and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_detector import CLASSES, SIDE, bar_image, make_scenes
from PIL import Image

from pipeline.errors import IntegrityError, UsageError
from stages.evaluation.config import RealData
from stages.evaluation.real_folder import open_folder
from stages.evaluation.real_image import Unusable, fit, read_picture
from stages.evaluation.sources import HeldOutScenes, LabelledBatch, RealImages, open_data_sets

_CATEGORIES = [{"id": 30, "name": "STANDING"}, {"id": 7, "name": "lamp"}]


def make_coco(root: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> RealData:
    """Write annotations and white 64 x 48 images with ids as named, and return the setting for them."""
    (root / "images").mkdir(parents=True)
    for image in images:
        Image.new("L", (64, 48), "white").save(root / "images" / image["file_name"])
    document = {
        "images": [{"width": 64, "height": 48} | image for image in images],
        "categories": _CATEGORIES,
        "annotations": annotations,
    }
    (root / "annotations.json").write_text(json.dumps(document))
    return RealData(name="own", path=root)


def opened(real: RealData) -> RealImages:
    """Return the data set as evaluation opens it."""
    return RealImages(open_folder(real), name=real.name, detected=CLASSES, side=SIDE, channels=1)


def names(batches: list[LabelledBatch]) -> list[str]:
    """Return the names of the images in `batches`."""
    return [image.file_name for batch in batches for image in batch.images]


def test_held_out_scenes_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    """All scenes of the split, each once, with their true boxes and without padding."""
    data_set = HeldOutScenes(make_scenes(tmp_path, count=10))
    ids, boxes = [], []
    for batch in data_set.batches(3):
        ids += [image.id for image in batch.images]
        boxes += batch.truth.boxes.tolist()
    assert ids == list(range(1000, 1010))
    assert boxes[:2] == [[3, 2, 5, 12], [3, 3, 12, 5]]
    assert len(boxes) == data_set.num_images == 10
    assert data_set.vocabulary.classes == CLASSES


def test_damaged_scenes_stop_the_evaluation(tmp_path: Path) -> None:
    """Figures over a part of the held-out scenes would not be comparable: the damage is told, with the remedy."""
    manifest = make_scenes(tmp_path)
    chunk = tmp_path / "test_00001.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"test_00001\.safetensors"):
        list(HeldOutScenes(manifest).batches(4))


def test_coco_truth_is_matched_by_class_name_and_left_in_original_pixels(tmp_path: Path) -> None:
    """Ids and order of categories are the file's own; names count; a class the detector lacks comes behind its own."""
    real = make_coco(
        tmp_path,
        [{"id": 9, "file_name": "b.png"}, {"id": 4, "file_name": "a.png"}],
        [
            {"image_id": 4, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 6, "iscrowd": 1},
            {"image_id": 9, "category_id": 30, "bbox": [10, 20, 30, 8]},
            {"image_id": 4, "category_id": 30, "bbox": [5, 6, 7, 8]},
        ],
    )
    data_set = opened(real)
    (batch,) = data_set.batches(8)
    assert data_set.vocabulary.classes == (*CLASSES, "lamp")
    assert data_set.vocabulary.shared == (1,)
    assert names([batch]) == ["b.png", "a.png"]
    assert batch.truth.image_ids.tolist() == [9, 4, 4]
    assert batch.truth.labels.tolist() == [1, 2, 1]
    assert batch.truth.boxes.tolist() == [[10, 20, 30, 8], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert batch.truth.areas.tolist() == [240, 6, 56]
    assert batch.truth.is_crowd.tolist() == [False, True, False]
    assert batch.scales.tolist() == [0.5, 0.5]


def test_the_task_is_not_told_what_is_in_real_images(tmp_path: Path) -> None:
    """The arrays have the form of chunks, with no object in them."""
    real = make_coco(tmp_path, [{"id": 1, "file_name": "a.png"}], [{"image_id": 1, "category_id": 7, "bbox": [1] * 4}])
    (batch,) = opened(real).batches(8)
    assert batch.arrays["image"].shape == (1, 1, SIDE, SIDE)
    assert batch.arrays["labels"].max() == -1


def test_images_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    """Missing, cut short, altered, of another size or no image at all: the others are still measured on."""
    files = ["good.png", "missing.png", "short.png", "altered.png", "large.png", "text.png", "last.png"]
    images = [{"id": number, "file_name": name} for number, name in enumerate(files)]
    data_set = opened(make_coco(tmp_path, images, []))
    folder = tmp_path / "images"
    (folder / "missing.png").unlink()
    whole = (folder / "short.png").read_bytes()
    (folder / "short.png").write_bytes(whole[: len(whole) // 2])
    (folder / "altered.png").write_bytes(whole[:40] + b"\xff\xff\xff\xff" + whole[44:])
    Image.new("L", (65, 48)).save(folder / "large.png")
    (folder / "text.png").write_text("no image")
    for _ in range(2):  # reading again does not count twice
        assert names(list(data_set.batches(2))) == ["good.png", "last.png"]
    assert data_set.skipped == {
        "missing": ["missing.png"],
        "unreadable": ["short.png", "altered.png", "text.png"],
        "not of the annotated size": ["large.png"],
    }


def test_every_image_is_read_once_whatever_the_batch_size(tmp_path: Path) -> None:
    """Only the last batch is shorter; no image is lost or doubled."""
    data_set = opened(make_coco(tmp_path, [{"id": n, "file_name": f"{n}.png"} for n in range(5)], []))
    for size, lengths in [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])]:
        batches = list(data_set.batches(size))
        assert [len(batch.images) for batch in batches] == lengths
        assert names(batches) == [f"{n}.png" for n in range(5)]


@pytest.mark.parametrize("file_name", ["../secret.png", "/etc/passwd", "a/../../x.png", "", "a\0.png"])
def test_file_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, file_name: str) -> None:
    """Nothing outside images/ is opened because an annotation file says so."""
    real = make_coco(tmp_path, [], [])
    document = {"images": [{"id": 1, "width": 1, "height": 1, "file_name": file_name}], "categories": []}
    (tmp_path / "annotations.json").write_text(json.dumps(document | {"annotations": []}))
    with pytest.raises(UsageError, match="no file inside images/"):
        open_folder(real)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a COCO document"),
        ('{"images": [], "categories": []}', "annotations"),
        (
            json.dumps({"images": [{"id": 1, "width": 2, "height": 2, "file_name": n} for n in "ab"]})[:-1]
            + ', "categories": [], "annotations": []}',
            "two images the same id",
        ),
    ],
    ids=["cut short", "a list", "no annotations", "equal ids"],
)
def test_malformed_annotations_are_told_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    """The message names the file and what is wrong with it."""
    real = make_coco(tmp_path, [], [])
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(UsageError, match=complaint) as refusal:
        open_folder(real)
    assert str(tmp_path / "annotations.json") in refusal.value.message


@pytest.mark.parametrize(
    ("layout", "files", "complaint"),
    [
        ("auto", None, "is not there"),
        ("auto", [], "neither of the known layouts"),
        ("coco", [], r"annotations\.json is missing"),
        ("bongard_logo", [], "has no images"),
        ("auto", ["ff/images/notes.txt"], "has no images"),
    ],
)
def test_folders_without_a_data_set_are_refused(
    tmp_path: Path, layout: Any, files: list[str] | None, complaint: str
) -> None:
    """A path that is wrong, empty or of no known layout is a mistake in the settings, named with its remedy."""
    root = tmp_path / "data"
    for file in files or []:
        (root / file).parent.mkdir(parents=True)
        (root / file).touch()
    if files is not None:
        root.mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=complaint) as refusal:
        open_folder(RealData(name="own", path=root, layout=layout))
    assert str(root) in refusal.value.message
    assert refusal.value.hint


def test_data_sets_are_opened_at_the_size_of_the_scenes(tmp_path: Path) -> None:
    """The held-out scenes first, then the real ones in the order of the settings."""
    manifest = make_scenes(tmp_path / "scenes")
    first = make_coco(tmp_path / "first", [{"id": 1, "file_name": "a.png"}], [])
    second = make_coco(tmp_path / "second", [{"id": 1, "file_name": "a.png"}], []).model_copy(update={"name": "more"})
    data_sets = open_data_sets(manifest, [second, first])
    assert [data_set.name for data_set in data_sets] == ["synthetic", "more", "own"]
    (batch,) = data_sets[1].batches(4)
    assert batch.arrays["image"].shape[2:] == (SIDE, SIDE)


@pytest.mark.parametrize(("size", "inside"), [((64, 32), (32, 16)), ((16, 8), (32, 16)), ((20, 40), (16, 32))])
def test_fit_keeps_proportions_and_fills_up_with_white(size: tuple[int, int], inside: tuple[int, int]) -> None:
    """A picture of any shape becomes a square; a box times the scale lies where its object went."""
    pixels, scale = fit(Image.new("L", size, "black"), side=32, channels=1)
    expected = np.full((1, 32, 32), 255)
    expected[0, : inside[1], : inside[0]] = 0
    assert pixels.tolist() == expected.tolist()
    assert (size[0] * scale, size[1] * scale) == inside


def test_fit_takes_the_mean_over_the_area_of_a_pixel() -> None:
    """A stroke of one pixel in four darkens the new pixel by a quarter, wherever in it it lies."""
    strokes = np.full((8, 8), 255, np.uint8)
    strokes[:, [0, 7]] = 55
    pixels, _ = fit(Image.fromarray(strokes), side=2, channels=3)
    assert pixels.shape == (3, 2, 2)
    assert set(pixels.ravel().tolist()) == {205}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_pictures_of_every_mode_are_black_on_white(tmp_path: Path, mode: str) -> None:
    """Colour, palette, one bit or an alpha channel: the pixels are the same."""
    bar = bar_image((3, 4, 10, 5))
    Image.fromarray(bar).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "a.png").convert("L")), bar)


def test_what_is_transparent_is_paper(tmp_path: Path) -> None:
    """Black ink on a transparent ground is seen on white, as people see it."""
    layers = np.zeros((8, 8, 4), np.uint8)
    layers[2:4, 2:4, 3] = 255
    Image.fromarray(layers).save(tmp_path / "a.png")
    assert np.asarray(read_picture(tmp_path / "a.png").convert("L"))[[0, 3], [0, 3]].tolist() == [255, 0]


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    """What is no file counts as missing."""
    with pytest.raises(Unusable, match="missing"):
        read_picture(tmp_path)
