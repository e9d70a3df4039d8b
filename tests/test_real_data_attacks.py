"""Real data that were made to do harm: pictures that are bombs or programs, annotations beyond all bounds."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import EpsImagePlugin

from pipeline.errors import UsageError
from stages.coco import coco_set
from stages.evaluation.bongard_logo import BongardLogo
from stages.evaluation.coco_folder import CocoFolder
from stages.evaluation.real_image import Unusable, read_picture

_PICKLE = pickle.dumps(Path("canary"))


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(min((width + 1) * height, 100_010_000)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


_PICTURES: dict[str, bytes] = {
    "bomb": _png(60_000, 60_000),
    "half a bomb": _png(10_000, 10_000),  # of which Pillow itself only warns
    "pickle": _PICKLE,
    "program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(canary) (w) file\n%%EOF\n",
    "polyglot": b"\x89PNG\r\n\x1a\n" + _PICKLE,
    "empty": b"",
}


@pytest.mark.parametrize("name", _PICTURES)
def test_pictures_that_are_bombs_or_programs_are_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that would fill the memory, or for which Pillow would start a program, is unusable."""

    def start_a_program(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript would have been started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start_a_program)
    path = tmp_path / "x.png"
    path.write_bytes(_PICTURES[name])
    with pytest.raises(Unusable, match="unreadable"):
        read_picture(path)


_ANNOTATIONS: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b'{"images":' + b"[" * 200_000,
    "pickle": lambda: _PICKLE,
    "huge id": lambda: _coco(image={"id": 10**30}),
    "huge number": lambda: b'{"images": ' + b"1" * 5000 + b"}",
    "infinite box": lambda: _coco(box=[0, 0, 1e300, 1e300]),
    "not finite": lambda: _coco(box=[0, 0, float("inf"), 1]),
    "way out": lambda: _coco(image={"file_name": "../../precious.png"}),
    "absolute": lambda: _coco(image={"file_name": "/etc/passwd"}),
    "NUL": lambda: _coco(image={"file_name": "a\0b.png"}),
}


def _coco(*, image: dict[str, Any] | None = None, box: list[float] | None = None) -> bytes:
    listed = {"id": 1, "width": 4, "height": 4, "file_name": "x.png", **(image or {})}
    row = {"image_id": listed["id"], "category_id": 1, "bbox": box or [0, 0, 2, 2]}
    document = {"images": [listed], "categories": [{"id": 1, "name": "a"}], "annotations": [row]}
    return json.dumps(document).encode()


@pytest.mark.parametrize("name", _ANNOTATIONS)
def test_annotations_from_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    """Annotations that are no JSON, beyond all bounds, or lead out of their folder end with 2, naming the file."""
    (tmp_path / "annotations.json").write_bytes(_ANNOTATIONS[name]())
    with pytest.raises(UsageError, match=r"annotations\.json"):
        CocoFolder(tmp_path)


def test_programs_of_bongard_logo_are_plain_json(tmp_path: Path) -> None:
    """Endless nesting in the action programs of a real data set is told, not a crash."""
    (tmp_path / "ff" / "images").mkdir(parents=True)
    (tmp_path / "ff" / "ff_action_programs.json").write_bytes(b"[" * 200_000)
    with pytest.raises(UsageError, match="not readable as JSON"):
        BongardLogo(tmp_path)


def test_coco_documents_need_no_more_than_they_say() -> None:
    """A document without anything in it is one with nothing in it."""
    assert coco_set({"images": [], "categories": [], "annotations": []}, source="x").images == ()
