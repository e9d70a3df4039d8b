"""What evaluation adds to a report: figures that equal the recorded ones, and the images where it went wrong."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_evaluation_stage import evaluate, make_real, outputs_of

from pipeline.report.parts import LinesBlock, MatrixBlock, PicturesBlock, ReportPart, TableBlock, load_part
from pipeline.stage import StageResult
from stages.evaluation.config import EvaluationConfig


def parts_of(result: StageResult) -> list[ReportPart]:
    """Return what a stage added, read back."""
    return [load_part(path) for path in outputs_of(result, "report")]


def block(part: ReportPart, kind: type[Any], *, place: int = 0) -> Any:
    """Return one of the blocks of a kind."""
    return [each for each in part.blocks if isinstance(each, kind)][place]


def picture_of(image: str) -> Image.Image:
    """Open an embedded picture."""
    return Image.open(io.BytesIO(base64.b64decode(image)))


def test_table_has_the_recorded_figures(tmp_path: Path) -> None:
    """AP of every class as in the record, by size too; sizes that do not occur are unknown, not zero."""
    _, result = evaluate(tmp_path, shift=2.0)
    table = block(parts_of(result)[0], TableBlock)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    for name, figures in result.metrics["synthetic"]["per_class"].items():
        assert [rows[name][key] for key in ("AP", "AP50", "AP75")] == pytest.approx([*figures.values()], abs=5e-5)
    everything = result.metrics["synthetic"]
    assert rows["all classes"]["AP"] == pytest.approx(everything["ap"], abs=5e-5)
    assert rows["all classes"]["AP small"] == pytest.approx(everything["ap_small"], abs=5e-5)
    assert rows["all classes"]["AP large"] is None
    assert [row["objects"] for row in rows.values()] == [10, 5, 5]


def test_curves_run_from_no_recall_to_all(tmp_path: Path) -> None:
    """A perfect detector has precision 1 at every recall; one that finds no standing bars has none for them."""
    _, perfect = evaluate(tmp_path / "perfect")
    curves = block(parts_of(perfect)[0], LinesBlock)
    assert [series.name for series in curves.series] == ["Lying", "standing"]
    assert [series.points[0] for series in curves.series] == [(0, 1)] * 2
    assert {y for series in curves.series for _, y in series.points} == {1}
    _, shifted = evaluate(tmp_path / "shifted", shift=2.0)
    by_class, by_overlap = (block(parts_of(shifted)[0], LinesBlock, place=place) for place in (0, 1))
    assert {y for _, y in by_class.series[1].points} == {0}
    assert [series.name for series in by_overlap.series] == ["overlap 0.50", "overlap 0.75", "overlap 0.90"]
    assert by_overlap.series[0].points[50] == (0.5, 0.5)


def test_confusion_matrix_counts_what_was_found(tmp_path: Path) -> None:
    """Lying bars are found, standing ones are missed where they are and seen where nothing is."""
    _, result = evaluate(tmp_path, shift=2.0)
    matrix = block(parts_of(result)[0], MatrixBlock)
    assert matrix.row_names == ("Lying", "standing", "(nothing)")
    assert matrix.counts == ((5, 0, 0), (0, 0, 5), (0, 5, 0))


def test_worst_scenes_come_first_with_their_boxes(tmp_path: Path) -> None:
    """The scenes with standing bars, whose boxes are off, before the others; boxes and pixels are the scene's."""
    _, result = evaluate(tmp_path, shift=2.0)
    shown = block(parts_of(result)[0], PicturesBlock)
    assert [picture.name for picture in shown.pictures[:5]] == [f"scene {1000 + 2 * number}" for number in range(5)]
    worst, best = shown.pictures[0], shown.pictures[-1]
    assert worst.caption == "quality 0.00: 1 of 1 missed, 1 of 1 wrong"
    ((there,), (seen,)) = worst.truth, worst.found
    assert (there.x, there.y, there.width, there.height, there.label, there.is_right) == (
        3,
        2,
        5,
        12,
        "standing",
        False,
    )
    assert (seen.x, seen.label, seen.score, seen.is_right) == (5, "standing", pytest.approx(0.9), False)
    assert best.truth[0].is_right
    assert best.found[0].is_right
    picture = picture_of(worst.image).convert("L")
    assert picture.size == (32, 32)
    pixels = np.asarray(picture)
    assert (pixels[8, 5], pixels[20, 20]) == (pytest.approx(0, abs=60), pytest.approx(255, abs=50))


def test_real_images_are_shown_small(tmp_path: Path) -> None:
    """A picture of 3,000 pixels is embedded with 320; its boxes are in pixels of the original."""
    real = make_real(tmp_path / "real", num_images=1)
    image = next((tmp_path / "real" / "images").iterdir())
    Image.open(image).resize((64, 64)).save(image)
    _, result = evaluate(tmp_path, config=EvaluationConfig(batch_size=4, real_data=(real,)))
    shown = block(parts_of(result)[1], PicturesBlock)
    assert shown.pictures[0].name == "0.png"
    assert (shown.pictures[0].truth[0].x, shown.pictures[0].width) == (4, 64)
    from stages.evaluation.report import _webp

    assert picture_of(base64.b64encode(_webp(Image.new("RGB", (3000, 1500)))).decode()).size == (320, 160)


def test_classes_that_nobody_shares_are_one(tmp_path: Path) -> None:
    """Where detector and data name nothing alike, there is one class, no confusion, and still curves and pictures."""
    real = make_real(tmp_path / "real", classes=("cat", "dog"))
    _, result = evaluate(tmp_path, config=EvaluationConfig(real_data=(real,)))
    part = parts_of(result)[1]
    assert part.title == "Real images: own"
    assert [row[0] for row in block(part, TableBlock).rows] == ["object"]
    assert not [each for each in part.blocks if isinstance(each, MatrixBlock)]
    assert all(picture.found[0].is_right for picture in block(part, PicturesBlock).pictures)


def test_data_set_without_any_usable_image(tmp_path: Path) -> None:
    """Nothing was measured, and the report says just that."""
    real = make_real(tmp_path / "real")
    for image in (tmp_path / "real" / "images").iterdir():
        image.write_bytes(b"")
    _, result = evaluate(tmp_path, config=EvaluationConfig(real_data=(real,)))
    (table,) = parts_of(result)[1].blocks
    assert isinstance(table, TableBlock)
    assert (table.title, table.rows) == ("Nothing was measured", ((3,),))


def test_image_that_is_gone_by_then_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between measuring and showing a disk may lose an image: one picture less."""
    from stages.evaluation import sources

    monkeypatch.setattr(sources, "map_chunk", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
    _, result = evaluate(tmp_path)
    assert block(parts_of(result)[0], PicturesBlock).pictures == ()


def test_the_same_measurement_gives_the_same_bytes(tmp_path: Path) -> None:
    """Nothing in the part depends on time or place."""
    results = [evaluate(tmp_path / name, shift=1.3)[1] for name in ("one", "other")]
    one, other = (outputs_of(result, "report")[0].read_bytes() for result in results)
    assert one == other
