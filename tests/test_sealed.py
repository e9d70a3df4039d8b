"""Documents that prove themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.sealed import MAX_BYTES, load_sealed, save_sealed

_DOCUMENT = {"name": "größe", "value": 0.1, "list": [1, 2, {"deep": None}], "yes": True}


def test_round_trip(tmp_path: Path) -> None:
    """What was saved is what is loaded."""
    save_sealed(tmp_path / "x.json", _DOCUMENT)
    assert load_sealed(tmp_path / "x.json") == _DOCUMENT


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """Flipping any one byte is found, even where JSON would read the same."""
    path = tmp_path / "x.json"
    save_sealed(path, _DOCUMENT)
    good = path.read_bytes()
    for position in range(len(good)):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :])
            with pytest.raises(IntegrityError, match=r"x\.json"):
                load_sealed(path)


@pytest.mark.parametrize(
    "text",
    ["", "\0" * 64, "[]", "3", '{"a": 1}', '{"a": 1, "a": 1}', '{"a": NaN}', "[" * 100_000, '{"digest": 5}'],
    ids=["empty", "zeros", "list", "number", "unsealed", "twice", "nan", "deep", "digest"],
)
def test_what_we_never_write_is_refused(tmp_path: Path, text: str) -> None:
    """Anything but a sealed document is an IntegrityError that names the file."""
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(IntegrityError, match=r"x\.json"):
        load_sealed(path)


def test_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    """A repeated key is found although the last one fits the digest: readers differ in which one they believe."""
    path = tmp_path / "x.json"
    save_sealed(path, {"a": 1})
    path.write_text(path.read_text().replace('"a": 1', '"a": 2, "a": 1'))
    with pytest.raises(IntegrityError, match="twice"):
        load_sealed(path)


def test_huge_document_is_not_read(tmp_path: Path) -> None:
    """A file far larger than any document of ours is refused by its size, before it fills the memory."""
    path = tmp_path / "x.json"
    save_sealed(path, _DOCUMENT)
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(IntegrityError, match="is larger than"):
        load_sealed(path)


def test_absent_is_not_damaged(tmp_path: Path) -> None:
    """A missing document is told apart from a damaged one."""
    with pytest.raises(FileNotFoundError):
        load_sealed(tmp_path / "x.json")
