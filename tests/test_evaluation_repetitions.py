"""With all classes taken as one, an object that was named twice was found once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_detector import make_scenes

from stages.coco import Detections
from stages.evaluation.measure import measure
from stages.evaluation.repetitions import without_repetitions
from stages.evaluation.sources import HeldOutScenes, LabelledBatch


def detections(*rows: tuple[int, tuple[float, float, float, float], int, float]) -> Detections:
    """Return detections from rows of image id, box, label and score."""
    ids, boxes, labels, scores = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Detections(
        np.array(ids, np.int64), np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64), np.array(scores)
    )


def test_the_best_name_of_a_place_is_kept() -> None:
    """Of boxes that lie on each other the one with the highest score stays, wherever it stands in the table."""
    found = without_repetitions(
        detections(
            (7, (10, 10, 20, 20), 0, 0.3),
            (7, (11, 10, 20, 20), 1, 0.8),
            (7, (10, 11, 20, 20), 2, 0.5),
        )
    )
    assert (found.labels.tolist(), found.scores.tolist()) == ([1], [0.8])


def test_boxes_of_other_images_and_places_stay() -> None:
    """Neither the same place in another image nor a neighbour that overlaps a little is a repetition."""
    rows = detections(
        (2**40, (10, 10, 20, 20), 0, 0.3),
        (2**40 + 1, (10, 10, 20, 20), 1, 0.8),
        (2**40 + 1, (15, 15, 20, 20), 1, 0.2),
    )
    found = without_repetitions(rows)
    assert found.image_ids.tolist() == rows.image_ids.tolist()
    assert found.scores.tolist() == rows.scores.tolist()


def test_nothing_found_is_nothing() -> None:
    """An image without detections is no special case."""
    assert without_repetitions(detections()).boxes.shape == (0, 4)


def test_class_agnostic_figures_do_not_count_further_names_as_mistakes(tmp_path: Path) -> None:
    """A detector that gives each object the wrong name first and then the right one has found all of them."""

    def named_twice(batch: LabelledBatch) -> Detections:
        truth = batch.truth
        scores = np.linspace(0.9, 0.5, len(truth.labels))
        return Detections(
            np.tile(truth.image_ids, 2),
            np.tile(truth.boxes, (2, 1)),
            np.concatenate([1 - truth.labels, truth.labels]),
            np.concatenate([scores + 0.05, scores]),
        )

    scenes = HeldOutScenes(make_scenes(tmp_path))
    figures = measure(scenes, named_twice, batch_size=4, on_progress=lambda _: None).figures
    assert figures["agnostic_ap"] == pytest.approx(1.0)
    assert figures["ap"] < 0.7
    assert figures["num_detections"] == 20
