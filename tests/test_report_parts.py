"""What a stage adds to a report: a document that is checked before it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.parts import (
    Box,
    LinesBlock,
    MatrixBlock,
    NoPart,
    Picture,
    PicturesBlock,
    ReportPart,
    Series,
    TableBlock,
    encode_image,
    encode_part,
    load_part,
)

BOX = Box(x=1, y=2, width=3, height=4, label="star", score=0.5, is_right=True)
PICTURE = Picture(
    name="scene 7", width=8, height=8, media_type="image/png", image=encode_image(b"png"), truth=(BOX,), found=()
)
PART = ReportPart(
    title="Held-out scenes",
    blocks=(
        TableBlock(title="t", header=("a", "b"), rows=(("x", 1.5), ("y", None))),
        LinesBlock(title="l", x_title="x", y_title="y", x_domain=(0, 1), series=(Series(name="s", points=((0, 1),)),)),
        MatrixBlock(title="m", row_title="r", column_title="c", row_names=("a",), column_names=("b",), counts=((3,),)),
        PicturesBlock(title="p", pictures=(PICTURE,)),
    ),
)


def test_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every kind of block comes back; the same part gives the same bytes."""
    (tmp_path / "part.json").write_bytes(encode_part(PART))
    assert load_part(tmp_path / "part.json") == PART
    assert encode_part(PART) == encode_part(PART.model_copy())


def _with_picture(**changes: Any) -> dict[str, Any]:
    document = json.loads(encode_part(PART))
    document["blocks"][3]["pictures"][0] |= changes
    return dict(document)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"title": "no blocks"},
        {"schema_version": 2, "title": "t", "blocks": []},
        {"title": "t", "blocks": [{"kind": "script", "text": "alert(1)"}]},
        {"title": "t", "blocks": [{"kind": "table", "title": "t", "header": [], "rows": [], "html": "<b>"}]},
        _with_picture(image='"><script>'),
        _with_picture(media_type="image/svg+xml"),
        _with_picture(media_type="text/html"),
        _with_picture(width=0),
        _with_picture(truth=[{"x": "NaN", "y": 0, "width": 1, "height": 1, "label": "a", "is_right": True}]),
    ],
)
def test_what_is_no_part_is_refused(document: Any, tmp_path: Path) -> None:
    """Unknown blocks, other versions, and pictures that are none are not shown."""
    (tmp_path / "part.json").write_text(json.dumps(document))
    with pytest.raises(NoPart, match="is no part of a report"):
        load_part(tmp_path / "part.json")


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    """A file that was cut short is told as what it is."""
    (tmp_path / "part.json").write_bytes(encode_part(PART)[:-5])
    with pytest.raises(NoPart, match="is no part of a report"):
        load_part(tmp_path / "part.json")


def test_letters_that_no_text_has_do_no_harm(tmp_path: Path) -> None:
    """Half a letter, as a broken file name may have, becomes a question mark."""
    part = ReportPart.model_construct(title="\ud800", blocks=())
    (tmp_path / "part.json").write_bytes(encode_part(part))
    assert load_part(tmp_path / "part.json").title == "?"
