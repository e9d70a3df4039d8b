"""Which detection found which object, and what is made of it: the score that counts, confusions, the worst images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.coco import CocoImage, CocoSet, Detections, Truth
from stages.evaluation.judgement import Judgement, confusion_counts, judge_view, worst_scenes
from stages.evaluation.matching import best_threshold, confusions, match, overlap, rows_by_image
from stages.evaluation.measure import View

Row = tuple[Any, ...]


def truth_of_rows(*rows: Row, crowds: tuple[int, ...] = ()) -> Truth:
    """Return objects from rows (image, x, label): boxes of 10 x 10 at height 0."""
    boxes = np.array([[x, 0, 10, 10] for _, x, _ in rows], np.float64).reshape(-1, 4)
    is_crowd = np.array([place in crowds for place in range(len(rows))], bool)
    ids, labels = (np.array([row[column] for row in rows], np.int64) for column in (0, 2))
    return Truth(ids, boxes, labels, np.full(len(rows), 100.0), is_crowd)


def found_of_rows(*rows: Row) -> Detections:
    """Return detections from rows (image, x, label, score)."""
    boxes = np.array([[row[1], 0, 10, 10] for row in rows], np.float64).reshape(-1, 4)
    ids, labels = (np.array([row[column] for row in rows], np.int64) for column in (0, 2))
    return Detections(ids, boxes, labels, np.array([row[3] for row in rows], np.float64))


def all_of(found: Detections) -> Any:
    """Let every detection count."""
    return np.ones(len(found.labels), bool)


def view_of(truth: Truth, found: Detections, *, num_images: int = 3, classes: tuple[str, ...] = ("a", "b")) -> View:
    """Return what a report sees."""
    images = tuple(CocoImage(id=number, width=64, height=32) for number in range(num_images))
    return View(CocoSet(images, classes, truth), found, None, tuple(range(len(classes))), 0)


@pytest.mark.parametrize(
    ("first", "second", "iou", "inside"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0, 1.0),
        ([0, 0, 10, 10], [5, 0, 10, 10], 1 / 3, 0.5),
        ([0, 0, 10, 10], [10, 0, 10, 10], 0.0, 0.0),
        ([0, 0, 2, 2], [0, 0, 4, 4], 0.25, 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0, 0.0),
    ],
)
def test_overlap(first: list[float], second: list[float], iou: float, inside: float) -> None:
    """Intersection over union; for crowds over the first box; nothing for boxes without area."""
    boxes = np.array([first], np.float64), np.array([second], np.float64)
    assert overlap(*boxes)[0, 0] == pytest.approx(iou)
    assert overlap(*boxes, is_crowd=True)[0, 0] == pytest.approx(inside)


def test_best_score_takes_the_object() -> None:
    """Two detections of one object: the better score finds it, the other is one too many."""
    truth, found = truth_of_rows((1, 0, 0)), found_of_rows((1, 0, 0, 0.5), (1, 1, 0, 0.9))
    assert match(truth, found, counts=all_of(found)).objects.tolist() == [-1, 0]


def test_greatest_overlap_is_taken_first() -> None:
    """Of two objects the one that fits better; the other is left for the next detection."""
    truth = truth_of_rows((1, 0, 0), (1, 4, 0))
    found = found_of_rows((1, 3, 0, 0.9), (1, 1, 0, 0.8))
    matches = match(truth, found, counts=all_of(found))
    assert matches.objects.tolist() == [1, 0]
    assert matches.overlaps.tolist() == pytest.approx([9 / 11, 9 / 11])


def test_images_and_classes_are_kept_apart() -> None:
    """What lies in another image, or is of another class, finds nothing."""
    truth = truth_of_rows((1, 0, 0))
    found = found_of_rows((2, 0, 0, 0.9), (1, 0, 1, 0.9))
    assert match(truth, found, counts=all_of(found)).objects.tolist() == [-1, -1]


def test_what_does_not_count_takes_nothing() -> None:
    """A detection that is left out leaves its object to others."""
    truth, found = truth_of_rows((1, 0, 0)), found_of_rows((1, 0, 0, 0.9), (1, 1, 0, 0.5))
    assert match(truth, found, counts=np.array([False, True])).objects.tolist() == [-1, 0]


def test_detections_in_a_crowd_are_no_mistake() -> None:
    """They find nothing, are ignored, and any number of them may lie there; a single object is still found."""
    truth = truth_of_rows((1, 0, 0), (1, 30, 0), crowds=(1,))
    found = found_of_rows((1, 0, 0, 0.9), (1, 30, 0, 0.8), (1, 31, 0, 0.7), (1, 50, 0, 0.6))
    matches = match(truth, found, counts=all_of(found))
    assert matches.objects.tolist() == [0, -1, -1, -1]
    assert matches.is_ignored.tolist() == [False, True, True, False]


def test_confusion_is_a_place_with_another_name() -> None:
    """Only objects that nothing found, and detections that found nothing, are brought together."""
    truth = truth_of_rows((1, 0, 0), (1, 20, 0))
    found = found_of_rows((1, 0, 0, 0.9), (1, 0, 1, 0.8), (1, 20, 1, 0.7))
    matches = match(truth, found, counts=all_of(found))
    assert confusions(truth, found, matches, counts=all_of(found)).tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    ("rows", "threshold"),
    [
        ([(1, 0, 0, 0.9), (2, 0, 0, 0.6), (2, 40, 0, 0.2)], 0.6),
        ([(1, 0, 0, 0.9), (1, 40, 0, 0.9), (2, 0, 0, 0.9)], 0.9),
        ([(1, 0, 0, 0.9), (2, 0, 0, 0.5), *[(2, 40, 0, 0.5)] * 5], 0.9),  # those of one score stand or fall together
        ([(1, 40, 0, 0.9)], 1.0),
        ([], 1.0),
    ],
)
def test_threshold_is_where_f1_is_best(rows: list[Row], threshold: float) -> None:
    """Right ones are kept, wrong ones below them are not; without any right one nothing but certainty counts."""
    truth, found = truth_of_rows((1, 0, 0), (2, 0, 0)), found_of_rows(*rows)
    assert best_threshold(found, match(truth, found, counts=all_of(found)), num_objects=2) == threshold


def test_confusion_counts_every_object_and_every_detection_once() -> None:
    """Right, taken for another, missed, made up: each in its cell."""
    truth = truth_of_rows((0, 0, 0), (0, 20, 0), (1, 0, 1), (2, 0, 0), crowds=(3,))
    found = found_of_rows((0, 0, 0, 0.9), (0, 20, 1, 0.8), (1, 40, 0, 0.85), (2, 0, 0, 0.8))
    view = view_of(truth, found)
    matches = match(truth, found, counts=all_of(found))
    confused = confusions(truth, found, matches, counts=all_of(found))
    counts = confusion_counts(Judgement(view, 0.5, all_of(found), matches, confused))
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_worst_images_come_first() -> None:
    """Nothing found is worse than half found, than all found; of equal ones the lower id comes first."""
    truth = truth_of_rows((0, 0, 0), (0, 20, 0), (1, 0, 0), (1, 20, 0), (2, 0, 0))
    found = found_of_rows((0, 0, 0, 0.9), (0, 20, 0, 0.9), (1, 0, 0, 0.9))
    scenes = worst_scenes(judge_view(view_of(truth, found, num_images=4)), number=3)
    assert [scene.image.id for scene in scenes] == [2, 1, 0]
    assert [scene.quality for scene in scenes] == pytest.approx([0.0, 1 / 1.5, 1.0])
    assert [scene.objects.tolist() for scene in scenes] == [[4], [2, 3], [0, 1]]


def test_image_without_anything_is_perfect() -> None:
    """Where nothing is and nothing was found, nothing is wrong."""
    view = view_of(truth_of_rows(), found_of_rows(), num_images=1)
    assert [scene.quality for scene in worst_scenes(judge_view(view), number=5)] == [1.0]
    assert confusion_counts(judge_view(view)).sum() == 0


@given(st.lists(st.integers(-3, 3)))
def test_rows_by_image(ids: list[int]) -> None:
    """Every row is with its image, in order, once."""
    found = rows_by_image(np.array(ids, np.int64))
    assert {image: rows.tolist() for image, rows in found.items()} == {
        image: [place for place, each in enumerate(ids) if each == image] for image in ids
    }


_ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 1)), max_size=8)


@settings(max_examples=200)
@given(
    _ROWS, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 1), st.floats(0, 1)), max_size=12)
)
def test_sums_of_the_confusion_matrix(objects: list[Row], detections: list[Row]) -> None:
    """Rows add up to the objects of a class, columns to the detections that count: nothing twice, nothing lost."""
    truth, found = truth_of_rows(*objects), found_of_rows(*detections)
    judgement = judge_view(view_of(truth, found))
    counts = confusion_counts(judgement)
    assert counts[:-1].sum(axis=1).tolist() == [int((truth.labels == label).sum()) for label in (0, 1)]
    seen = found.labels[judgement.counts]
    assert counts[:, :-1].sum(axis=0).tolist() == [int((seen == label).sum()) for label in (0, 1)]
    assert 0 <= counts.trace() <= judgement.counts.sum()
    assert all(0 <= scene.quality <= 1 + 1e-9 for scene in worst_scenes(judgement, number=9))
