"""What evaluation adds to the report of its run: figures by class and size, curves, confusions, worst images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes
from pipeline.report.parts import (
    REPORT_KIND,
    Block,
    Box,
    Cell,
    LinesBlock,
    MatrixBlock,
    Picture,
    PicturesBlock,
    ReportPart,
    Series,
    TableBlock,
    encode_image,
    encode_part,
)
from pipeline.stage import Output, StageContext
from stages.evaluation.config import SYNTHETIC, file_suffix
from stages.evaluation.judgement import Judgement, Scene, confusion_counts, judge_view, worst_scenes
from stages.evaluation.measure import View
from stages.evaluation.real_image import Unusable
from stages.evaluation.sources import DataSet

NUM_SCENES, NUM_REAL = 24, 12  # pictures of the held-out scenes, and of each real data set
_MAX_SIDE = 320  # pixels of an embedded picture: twice as many as it is wide on the page
_MAX_BOXES = 40  # of each kind in one picture; more could not be told apart
_QUALITY = 80  # of WebP: 24 noisy scenes of 416 pixels stay under half a megabyte
_DECIMALS = 4
_AREAS = ("", "small", "medium", "large")
_CURVE_IOUS = (0, 5, 8)  # of the thresholds .50, .55 … .95: those that are drawn


def save_report_part(context: StageContext, data_set: DataSet, view: View) -> Output:
    """Write what the report of this run says of `data_set`; the same measurement gives the same bytes."""
    path = context.results_folder / f"evaluation_report{file_suffix(data_set.name)}.json"
    data = encode_part(report_part(data_set, view))
    files.write_bytes(path, data)
    return Output(REPORT_KIND, path, digest_bytes(data))


def report_part(data_set: DataSet, view: View) -> ReportPart:
    """Return what there is to say of what was measured on `data_set`."""
    title = "Held-out scenes" if data_set.name == SYNTHETIC else f"Real images: {data_set.name}"
    if view.evaluation is None:
        empty = TableBlock(title="Nothing was measured", header=("images left out",), rows=((view.num_skipped,),))
        return ReportPart(title=title, blocks=(empty,))
    judgement = judge_view(view)
    return ReportPart(title=title, blocks=tuple(_blocks(data_set, view, view.evaluation.precision, judgement)))


def _blocks(data_set: DataSet, view: View, precision: npt.NDArray[np.float64], judgement: Judgement) -> Iterator[Block]:
    yield _figures_table(view, precision)
    yield _curves_by_class(view, precision)
    if len(view.shared) > 1:
        yield _curves_by_overlap(view, precision)
    if len(view.seen.classes) > 1:
        yield _confusion_matrix(judgement)
    scenes = worst_scenes(judgement, number=NUM_SCENES if data_set.name == SYNTHETIC else NUM_REAL)
    yield PicturesBlock(
        title=f"The {len(scenes)} worst of {len(view.seen.images)} images",
        note=f"Worst first. Predictions with a score of at least {judgement.threshold:.2f} count, where F1 at an "
        "overlap of 0.5 is best. Quality is the sum of the overlaps of what was found, over TP + FP / 2 + FN / 2.",
        pictures=tuple(picture for scene in scenes for picture in _picture(data_set, judgement, scene)),
    )


def _figures_table(view: View, precision: npt.NDArray[np.float64]) -> TableBlock:
    """Return AP by class, over all sizes and by size, the mean of all classes first."""
    labels, shared = view.seen.truth.labels, list(view.shared)
    rows: list[tuple[Cell, ...]] = []
    if len(shared) > 1:
        rows.append(("all classes", len(labels), *_figures(precision[:, :, shared])))
    rows += [
        (view.seen.classes[label], int((labels == label).sum()), *_figures(precision[:, :, [label]]))
        for label in shared
    ]
    return TableBlock(
        title="Average precision by class and size",
        note="Small: less than 32 x 32 pixels; large: more than 96 x 96, as in COCO. "
        f"{len(view.seen.images)} images were measured on, {view.num_skipped} left out.",
        header=("class", "objects", "AP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
        rows=tuple(rows),
    )


def _figures(precision: npt.NDArray[np.float64]) -> Iterator[float | None]:
    """Yield AP, AP50, AP75 and AP of small, medium and large objects from a precision [IoU, recall, class, area]."""
    yield from (_mean(part) for part in (precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]))
    yield from (_mean(precision[..., area]) for area in range(1, len(_AREAS)))


def _mean(precision: npt.NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return round(float(known.mean()), _DECIMALS) if known.size else None


def _curves_by_class(view: View, precision: npt.NDArray[np.float64]) -> LinesBlock:
    series = [(view.seen.classes[label], precision[0, :, label, 0]) for label in view.shared]
    return _curves("Precision and recall by class, overlap 0.50", series)


def _curves_by_overlap(view: View, precision: npt.NDArray[np.float64]) -> LinesBlock:
    known = [label for label in view.shared if precision[0, 0, label, 0] > -1]
    means = [(f"overlap {0.5 + 0.05 * place:.2f}", precision[place][:, known, 0]) for place in _CURVE_IOUS]
    series = [(name, values.mean(axis=1)) for name, values in means if known]
    return _curves("Precision and recall by overlap, mean of all classes", series)


def _curves(title: str, series: Sequence[tuple[str, npt.NDArray[np.float64]]]) -> LinesBlock:
    recalls = np.linspace(0, 1, 101)
    return LinesBlock(
        title=title,
        x_title="recall",
        y_title="precision",
        x_domain=(0, 1),
        y_domain=(0, 1),
        series=tuple(
            Series(
                name=name,
                points=tuple(
                    (round(float(x), 2), round(float(y), _DECIMALS)) for x, y in zip(recalls, values, strict=True)
                ),
            )
            for name, values in series
            if values[0] > -1
        ),
    )


def _confusion_matrix(judgement: Judgement) -> MatrixBlock:
    classes = judgement.view.seen.classes
    return MatrixBlock(
        title="Confusion matrix",
        note=f"Predictions with a score of at least {judgement.threshold:.2f}; an object is found where the overlap is "
        "at least 0.5. Of several predictions of one object only one counts as finding it.",
        row_title="what is there",
        column_title="what was predicted",
        row_names=(*classes, "(nothing)"),
        column_names=(*classes, "(not found)"),
        counts=tuple(tuple(row) for row in confusion_counts(judgement).tolist()),
    )


def _picture(data_set: DataSet, judgement: Judgement, scene: Scene) -> Iterator[Picture]:
    """Yield the picture of a scene, if it can still be read."""
    truth, found, classes = judgement.view.seen.truth, judgement.view.found, judgement.view.seen.classes
    try:
        data = _webp(data_set.picture(scene.image))
    except (Unusable, IntegrityError, OSError):
        return  # it was there when it was measured on; a report is no reason to fail
    is_found = judgement.matches.is_found(len(truth.labels)) | truth.is_crowd
    is_right = (judgement.matches.objects >= 0) | judgement.matches.is_ignored
    num_missed, num_wrong = int((~is_found[scene.objects]).sum()), int((~is_right[scene.detections]).sum())
    yield Picture(
        name=scene.image.file_name or f"scene {scene.image.id}",
        caption=f"quality {scene.quality:.2f}: {num_missed} of {len(scene.objects)} missed, "
        f"{num_wrong} of {len(scene.detections)} wrong",
        width=scene.image.width,
        height=scene.image.height,
        media_type="image/webp",
        image=encode_image(data),
        truth=tuple(
            _box(truth.boxes[row], classes[truth.labels[row]], is_right=bool(is_found[row]))
            for row in scene.objects[:_MAX_BOXES]
        ),
        found=tuple(
            _box(found.boxes[row], classes[found.labels[row]], is_right=bool(is_right[row]), score=found.scores[row])
            for row in scene.detections[:_MAX_BOXES]
        ),
    )


def _box(box: npt.NDArray[np.float64], label: str, *, is_right: bool, score: float | None = None) -> Box:
    x, y, width, height = (round(float(number), 2) for number in box)
    score = None if score is None else round(float(score), _DECIMALS)
    return Box(x=x, y=y, width=width, height=height, label=label, score=score, is_right=is_right)


def _webp(picture: Image.Image) -> bytes:
    if max(picture.size) > _MAX_SIDE:
        picture = picture.copy()
        picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()
