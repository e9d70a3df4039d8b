"""Data generation as a stage: the same bytes on every path, and nothing drawn twice."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from chunk_sets import flip_byte
from fakes import RecordingReporter, make_context, make_record
from generate import data_bytes, environment, make_stage

from pipeline import files
from pipeline.config import RuntimeOptions
from pipeline.disk import Disk
from pipeline.errors import Interrupted, ResourceExhausted
from pipeline.events import Kind
from pipeline.interrupts import StopFlag
from pipeline.records import Artifact
from pipeline.stage import OwnsFolders, Repairable, ReportsProgress, Resumable, StageResult
from stages.chunks.chunk import map_chunk
from stages.chunks.manifest import chunk_path, load_manifest
from stages.data_generation import making
from stages.data_generation.stage import DataGenerationStage


def _execute(stage: DataGenerationStage, root: Path, **others: Any) -> StageResult:
    return stage.execute(make_context(stage, root, **others))


def _artifacts(stage: DataGenerationStage, root: Path, result: StageResult) -> tuple[Artifact, ...]:
    return make_record(stage, make_context(stage, root), result).artifacts


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace with the small data set, drawn without interruption; not to be changed."""
    root = tmp_path_factory.mktemp("small")
    _execute(make_stage(), root)
    return root


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """Give a copy of it."""
    return shutil.copytree(small, tmp_path / "copy")


def test_it_keeps_the_protocols_that_it_claims() -> None:
    """It resumes, mends itself, owns its folder and tells its progress."""
    stage = make_stage()
    assert all(isinstance(stage, protocol) for protocol in (Resumable, Repairable, OwnsFolders, ReportsProgress))
    matches = [fnmatch(f"datasets/{name}", stage.folders[0]) for name in ("bongard-0123abcd", "photos", "my-pictures")]
    assert matches == [True, False, False]


def test_it_is_light_until_it_draws() -> None:
    """Importing the stage and asking it about partial work loads neither NumPy nor a drawing library."""
    code = """
import sys
from pathlib import Path
from fakes import make_context
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.stage import DataGenerationStage
stage = DataGenerationStage(DataGenerationConfig())
stage.partial_work(make_context(stage, Path("nowhere")))
print(*sorted({"numpy", "aggdraw", "PIL", "torch", "safetensors"} & set(sys.modules)))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert output.stdout.strip() == ""


def test_outputs_are_all_files_of_the_data_set(tmp_path: Path) -> None:
    """Each chunk is an output of its split, and the manifest and the annotations are outputs too."""
    result = _execute(make_stage(), tmp_path)
    kinds = [output.kind for output in result.outputs]
    assert kinds == ["train"] * 5 + ["validation"] * 2 + ["test"] * 2 + ["annotations", "manifest"]
    assert {output.path for output in result.outputs} == {tmp_path / name for name in data_bytes(tmp_path)}
    assert result.metrics["train"], result.metrics["test"] == (25, 7)


def test_the_manifest_vouches_for_every_chunk(small: Path) -> None:
    """Count, size and digest of each chunk are those of its file, and readers find what they must know."""
    (manifest_path,) = (small / "datasets").rglob("manifest.json")
    manifest = load_manifest(manifest_path)
    for entry in manifest.chunks:
        path = chunk_path(manifest_path, entry)
        assert path.stat().st_size == entry.size
        assert len(map_chunk(path)["image"]) == entry.count
    assert [entry.count for entry in manifest.split("test")] == [5, 2]
    assert manifest.split("test")[1].file == "../test_00001_2.safetensors"
    assert manifest.meta["classes"] == list(make_stage().config.classes)
    assert (manifest.meta["image_size"], manifest.meta["channels"]) == (32, 1)


def test_no_sample_is_in_two_splits(small: Path) -> None:
    """The ids of the splits are disjoint in the manifest and in the chunks, and so are the pictures."""
    (manifest_path,) = (small / "datasets").rglob("manifest.json")
    manifest = load_manifest(manifest_path)
    ids: list[int] = []
    pictures: list[bytes] = []
    for entry in manifest.chunks:
        arrays = map_chunk(chunk_path(manifest_path, entry))
        assert arrays["sample_id"].tolist() == list(entry.sample_ids)
        ids += arrays["sample_id"].tolist()
        pictures += [picture.tobytes() for picture in arrays["image"]]
    assert len(set(ids)) == len(set(pictures)) == 25 + 10 + 7


def test_annotations_say_what_the_chunks_hold(small: Path) -> None:
    """Every shape of every chunk is there once, with its box, its class and the split of its image."""
    (manifest_path,) = (small / "datasets").rglob("manifest.json")
    manifest = load_manifest(manifest_path)
    document = json.loads(manifest_path.with_name("annotations.json").read_bytes())
    names = {category["id"]: category["name"] for category in document["categories"]}
    told = [(row["image_id"], tuple(row["bbox"]), names[row["category_id"]]) for row in document["annotations"]]
    splits = {image["id"]: image["split"] for image in document["images"]}
    held = []
    for entry in manifest.chunks:
        arrays = map_chunk(chunk_path(manifest_path, entry))
        for sample_id, boxes, labels in zip(
            *(arrays[name].tolist() for name in ("sample_id", "boxes", "labels")), strict=True
        ):
            assert splits.pop(sample_id) == entry.split
            shapes = zip(boxes, labels, strict=True)
            held += [(sample_id, tuple(box), manifest.meta["classes"][label]) for box, label in shapes if label >= 0]
    assert told == held
    assert splits == {}


def test_nothing_is_drawn_twice(copy: Path) -> None:
    """A second execution reads the chunks, writes none, and leaves the same bytes."""
    before = data_bytes(copy)
    result = _execute(make_stage(), copy)
    assert result.metrics["new_chunks"] == 0
    assert data_bytes(copy) == before


def test_little_work_is_done_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting processes takes longer than drawing a few scenes."""
    monkeypatch.delattr(making, "map_in_processes")
    _execute(make_stage(), tmp_path, runtime=RuntimeOptions(num_workers=4))


def test_a_stop_is_heeded_before_the_first_chunk(tmp_path: Path) -> None:
    """A stop that was asked for earlier draws nothing; the message says how far it is."""
    stop = StopFlag()
    stop.set(signal.SIGTERM)
    with pytest.raises(Interrupted, match="0 of 9 chunks"):
        _execute(make_stage(), tmp_path, stop=stop)
    assert data_bytes(tmp_path) == {}


def _identity(path: Path) -> tuple[int, int]:
    return (path.stat().st_ino, path.stat().st_mtime_ns)


def test_a_larger_data_set_adds_chunks_and_touches_none(copy: Path, tmp_path: Path) -> None:
    """The chunks of the smaller one are used as they are; both sizes keep their manifest."""
    before = {path: _identity(path) for path in (copy / "datasets").rglob("*.safetensors")}
    result = _execute(make_stage(dataset_size=43), copy)
    assert result.metrics["new_chunks"] == 4  # 3 full ones and one of 3
    assert {path: _identity(path) for path in before} == before
    manifests = list((copy / "datasets").rglob("manifest.json"))
    assert sorted(sum(entry.count for entry in load_manifest(path).split("train")) for path in manifests) == [25, 43]
    _execute(make_stage(dataset_size=43), tmp_path / "fresh")
    assert data_bytes(tmp_path / "fresh").items() < data_bytes(copy).items()


def test_a_chunk_that_is_not_full_is_replaced_by_a_full_one_when_growing(tmp_path: Path) -> None:
    """The short last chunk of the smaller set stays its own, whichever was drawn first."""
    for sizes in ((23, 25), (25, 23)):
        root = tmp_path / str(sizes[0])
        for size in sizes:
            _execute(make_stage(dataset_size=size), root)
    assert data_bytes(tmp_path / "23") == data_bytes(tmp_path / "25")


def test_other_settings_have_a_folder_of_their_own(copy: Path) -> None:
    """All but the sizes decide what a sample looks like, and no chunk is shared between them."""
    before = data_bytes(copy)
    result = _execute(make_stage(noise=3), copy)
    assert result.metrics["new_chunks"] == 9
    assert before.items() < data_bytes(copy).items()
    assert len(list((copy / "datasets").iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("consolidated_00003.safetensors", Path.unlink),
        ("consolidated_00003.safetensors", lambda path: flip_byte(path, -100)),
        ("test_00001_2.safetensors", lambda path: path.write_bytes(b"")),
        ("validation_00000.safetensors", lambda path: flip_byte(path, 60)),
        ("manifest.json", lambda path: flip_byte(path, 60)),
        ("annotations.json", Path.unlink),
    ],
)
def test_damage_is_mended_without_the_rest(copy: Path, small: Path, name: str, damage: Callable[[Path], Any]) -> None:
    """The damaged file is made again with the same bytes, what was there is kept aside, and no other chunk is drawn."""
    stage = make_stage()
    artifacts = _artifacts(stage, copy, _execute(stage, copy))
    damaged = [artifact for artifact in artifacts if artifact.path.endswith(f"/{name}")]
    path = copy / damaged[0].path
    damage(path)
    was_there = path.exists()
    reporter = RecordingReporter()
    assert stage.can_repair(damaged)
    result = stage.repair(make_context(stage, copy, reporter=reporter), damaged)
    assert result.metrics["new_chunks"] == name.endswith(".safetensors")
    assert _artifacts(stage, copy, result) == artifacts
    left = data_bytes(copy)
    assert {key: data for key, data in left.items() if ".corrupt-" not in key} == data_bytes(small)
    assert any(f"{name}.corrupt-0" in text for text in reporter.texts(Kind.WARNING)) == was_there


def test_a_bad_chunk_of_an_interrupted_run_is_found(copy: Path, small: Path) -> None:
    """Without record and manifest a chunk must prove itself: what does not is set aside, said aloud and drawn again."""
    folder = next((copy / "datasets").iterdir())
    for path in folder.glob("*/*.json"):
        path.unlink()
    flip_byte(folder / "consolidated_00001.safetensors", 2000)
    shutil.copy(folder / "consolidated_00002.safetensors", folder / "consolidated_00004.safetensors")
    reporter = RecordingReporter()
    result = _execute(make_stage(), copy, reporter=reporter)
    assert result.metrics["new_chunks"] == 2
    assert len(reporter.texts(Kind.WARNING)) == 2
    left = data_bytes(copy)
    assert {name: data for name, data in left.items() if ".corrupt-" not in name} == data_bytes(small)


def test_partial_work_is_that_of_this_very_size(copy: Path) -> None:
    """Chunks that another size left are used, but are no interrupted run; a finished set is all of its chunks."""

    def partial_work(**values: Any) -> str:
        stage = make_stage(**values)
        return stage.partial_work(make_context(stage, copy))

    assert partial_work() == "9 of 9 chunks"
    assert partial_work(dataset_size=50) == ""
    assert partial_work(noise=1) == ""
    assert partial_work(dataset_size=50, noise=1) == ""


def test_discarded_work_is_drawn_again(copy: Path) -> None:
    """After that it starts from zero, with the same bytes; work of another size that was never begun is left alone."""
    before = data_bytes(copy)
    make_stage(dataset_size=50).discard_partial_work(make_context(make_stage(), copy))
    assert data_bytes(copy) == before
    stage = make_stage()
    stage.discard_partial_work(make_context(stage, copy))
    assert data_bytes(copy) == {}
    assert _execute(stage, copy).metrics["new_chunks"] == 9
    assert data_bytes(copy) == before


def test_progress_is_told_chunk_by_chunk(copy: Path) -> None:
    """Each chunk counts once, kept or new; the rate is that of the images that were drawn."""
    next((copy / "datasets").glob("*/consolidated_00000.safetensors")).unlink()
    reporter = RecordingReporter()
    _execute(make_stage(), copy, reporter=reporter)
    told = reporter.of(Kind.PROGRESS)
    assert [(data["done"], data["total"], data["unit"]) for data in told] == [(n, 9, "chunks") for n in range(1, 10)]
    assert all(data["figures"]["images_per_second"] > 0 for data in told)


def test_progress_can_be_read_from_disk(copy: Path) -> None:
    """Per split, in scenes; nothing is told of a data set that was not begun."""
    next((copy / "datasets").glob("*/test_00000.safetensors")).unlink()
    stage = make_stage()
    report = stage.progress_report(make_context(stage, copy))
    assert report is not None
    assert [(row.name, row.done, row.total) for row in report.rows] == [
        ("train", 25, 25),
        ("validation", 10, 10),
        ("test", 2, 7),
    ]
    other = make_stage(noise=1)
    assert other.progress_report(make_context(other, copy)) is None


def test_it_does_not_begin_what_cannot_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is too small is told before the first chunk, with what is needed and what is free."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=50_000))
    with pytest.raises(ResourceExhausted, match=r"data set needs \d+ bytes more .* 50000 bytes are free") as caught:
        _execute(make_stage(), tmp_path)
    assert "dataset_size" in caught.value.hint
    assert not (tmp_path / "datasets").exists()


def test_a_disk_that_fills_up_costs_only_the_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written stays, and the same command goes on from there."""
    stage = make_stage()
    context = make_context(stage, tmp_path)

    class FullDisk(Disk):
        num_files = 0

        def fsync(self, descriptor: int) -> None:
            self.num_files += 1
            if self.num_files == 5:
                raise OSError(errno.ENOSPC, "no space left on device")
            super().fsync(descriptor)

    with monkeypatch.context() as patch, pytest.raises(ResourceExhausted):
        patch.setattr(files, "disk", FullDisk())
        stage.execute(context)
    assert 0 < len(data_bytes(tmp_path)) < 9
    assert not [name for name in data_bytes(tmp_path) if ".tmp-" in name]
    assert stage.execute(context).metrics["new_chunks"] < 9


def test_what_killed_workers_left_is_gone_at_the_end(tmp_path: Path) -> None:
    """A worker that dies in a write leaves a temporary: with the last chunk it goes, not with a later run."""
    stage = make_stage()
    _execute(stage, tmp_path)
    left = next((tmp_path / "datasets").iterdir()) / f"{files.TEMPORARY_PREFIX}0-x"
    left.write_bytes(b"half")
    _execute(stage, tmp_path)
    assert not left.exists()
