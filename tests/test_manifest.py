"""Manifests: what they promise about chunks, and what they refuse to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import IntegrityError
from pipeline.sealed import save_sealed
from stages.chunks.manifest import ChunkEntry, ChunkPlan, Manifest, chunk_path, load_manifest, save_manifest


def _entry(**changes: Any) -> ChunkEntry:
    values = {"chunk_id": 0, "split": "train", "file": "a.safetensors", "first_sample_id": 0, "count": 4, "size": 9}
    return ChunkEntry.model_validate({**values, "xxh3": "0" * 32, **changes})


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """Nothing is lost on the way to disk, and the same manifest gives the same bytes."""
    manifest = Manifest(meta={"image_size": 128}, chunks=(_entry(), _entry(split="test", first_sample_id=4)))
    save_manifest(tmp_path / "one.json", manifest)
    save_manifest(tmp_path / "two.json", manifest)
    assert load_manifest(tmp_path / "one.json") == manifest
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_split_comes_in_the_order_of_its_numbers() -> None:
    """The order of the entries in the file does not matter."""
    second, first = _entry(chunk_id=1, first_sample_id=4), _entry()
    manifest = Manifest(meta={}, chunks=(second, first))
    assert manifest.split("train") == (first, second)
    assert manifest.split("nothing") == ()


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([_entry(chunk_id=1)], "not numbered from 0"),
        ([_entry(), _entry(first_sample_id=4)], "not numbered from 0"),
        ([_entry(), _entry(chunk_id=1, first_sample_id=3)], "occurs in two chunks"),
        ([_entry(), _entry(split="test", first_sample_id=0)], "occurs in two chunks"),
    ],
)
def test_chunks_that_contradict_each_other_are_refused(entries: list[ChunkEntry], problem: str) -> None:
    """Numbers have no gaps, and a sample belongs to one chunk of one split."""
    with pytest.raises(ValidationError, match=problem):
        Manifest(meta={}, chunks=tuple(entries))


@pytest.mark.parametrize("file", ["/etc/passwd", "../../x", "a/b", "..", "../", ".hidden", "", "a\0b", "..\\x"])
def test_a_file_name_leads_nowhere_else(file: str) -> None:
    """A manifest from elsewhere cannot point out of the data set."""
    with pytest.raises(ValidationError, match="file"):
        _entry(file=file)


def test_chunks_lie_beside_the_manifest_or_beside_its_folder() -> None:
    """Both layouts are found: own data in one folder, generated data with a manifest for each size."""
    manifest_path = Path("data/40-2-2/manifest.json")
    assert chunk_path(manifest_path, _entry(file="a.safetensors")) == Path("data/40-2-2/a.safetensors")
    assert chunk_path(manifest_path, _entry(file="../a.safetensors")) == Path("data/a.safetensors")


def test_a_foreign_document_is_named_with_its_problem(tmp_path: Path) -> None:
    """A sealed document that is no manifest says which part is wrong."""
    save_sealed(tmp_path / "manifest.json", {"schema_version": 1, "meta": {}, "chunks": {}})
    with pytest.raises(IntegrityError, match="chunks: ") as caught:
        load_manifest(tmp_path / "manifest.json")
    assert caught.value.hint


def test_a_plan_becomes_the_entry_of_its_bytes() -> None:
    """Size and digest are those of the bytes; all else is the plan's."""
    plan = ChunkPlan(chunk_id=3, split="test", file="t.safetensors", first_sample_id=12, count=4, origin="x")
    entry = plan.entry(b"chunk", folder="../")
    assert (entry.chunk_id, entry.split, entry.file, entry.size) == (3, "test", "../t.safetensors", 5)
    assert list(entry.sample_ids) == [12, 13, 14, 15]
    assert entry.xxh3 != plan.entry(b"chunx").xxh3
