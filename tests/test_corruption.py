"""Every changed byte of what a run leaves and later trusts is found before it is used, and the file is named."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import tiny_command_line
from tiny_command_line import newest_checkpoint

from pipeline.errors import IntegrityError
from pipeline.lock import LEASE_NAME, RunLock, read_lease
from pipeline.observe import find_damage
from pipeline.records import RecordStore, StageRecord
from pipeline.sealed import load_sealed
from pipeline.stat_cache import StatCache
from pipeline.workspace import Workspace
from stages.chunks.chunk import prove_chunk
from stages.chunks.damage import Damage
from stages.chunks.damage import find_damage as find_chunk_damage
from stages.chunks.listed import load_chunks
from stages.chunks.manifest import chunk_path, load_manifest
from stages.chunks.reader import ChunkReader
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.plan import plan_data_set
from stages.training.checkpoints import METADATA_NAME, SCHEMA, Checkpoint, CheckpointMetadata
from stages.training.progress import PROGRESS_NAME, TrainingProgressTracker

finished = tiny_command_line.finished
copy = tiny_command_line.copy
_SEED = 20_261_121
_NUM_BITS = 10_000
# Of a longer document all bytes but those of its digests of code, and a sample of these; EXHAUSTIVE=1 takes all.
_LONG_DOCUMENT = 16_000
_SAMPLED_BYTES = 1500
_is_exhaustive = os.environ.get("EXHAUSTIVE") == "1"


def _tell(text: str) -> None:
    print(text)  # noqa: T201 - figures, seen with `pytest -s`


def _positions(data: bytes, bits: random.Random) -> list[int]:
    start = data.find(b'\n  "code": {')
    if _is_exhaustive or len(data) <= _LONG_DOCUMENT or start < 0:
        return list(range(len(data)))
    end = data.index(b"\n  }", start)
    return [*range(start), *bits.sample(range(start, end), min(_SAMPLED_BYTES, end - start)), *range(end, len(data))]


def _spoil_each_byte(path: Path, check: Callable[[Path], None]) -> int:
    """Change one bit in each byte of `path` in turn, let `check` look at the file, and return how many there were."""
    bits = random.Random(_SEED)  # noqa: S311 - chooses what to break
    good = path.read_bytes()
    positions = _positions(good, bits)
    # In place: writing the whole file each time took most of the time.
    with path.open("r+b", buffering=0) as file:
        for position in positions:
            _put(file, position, good[position] ^ 1 << bits.randrange(8))
            check(path)
            _put(file, position, good[position])
    assert path.read_bytes() == good
    return len(positions)


def _put(file: BinaryIO, position: int, byte: int) -> None:
    file.seek(position)
    file.write(bytes([byte]))


def _refused(load: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a check that `load` raises IntegrityError with the name of the file."""

    def check(path: Path) -> None:
        try:
            load(path)
        except IntegrityError as error:
            assert path.name in error.message
        else:
            raise AssertionError(f"{path}: a changed byte was not found")

    return check


def _checkpoint(folder: Path, *names: str) -> Checkpoint:
    """Return the checkpoint in `folder` as if it had only these files."""
    document = SCHEMA.migrate(load_sealed(folder / METADATA_NAME), name=METADATA_NAME)
    metadata = CheckpointMetadata.model_validate(document)
    stored = {name: metadata.files[name] for name in names}
    return Checkpoint(folder, metadata.model_copy(update={"files": stored}))


def _damage_of(record: StageRecord, root: Path, path: Path) -> str:
    """Return what is said of the artifact at `path`, read anew; empty if it is as recorded."""
    relative = path.relative_to(root).as_posix()
    (artifact,) = (artifact for artifact in record.artifacts if artifact.path == relative)
    alone = record.model_copy(update={"artifacts": (artifact,)})
    return "".join(map(str, find_damage(alone, workspace=Workspace.at(root), cache=StatCache(root / "no cache"))))


def _records(root: Path) -> dict[str, tuple[Path, StageRecord]]:
    paths = sorted(root.glob("checkpoints/*/*.json"))
    return {path.parent.name: (path, RecordStore(root / "checkpoints").load(path)) for path in paths}


@pytest.mark.parametrize("stage", ["data_generation", "training", "evaluation"])
def test_each_byte_of_a_record(copy: Path, stage: str) -> None:
    """A stage record is believed only as it was written, to the byte."""
    path, _ = _records(copy)[stage]
    store = RecordStore(copy / "checkpoints")
    _tell(f"{stage}: {_spoil_each_byte(path, _refused(store.load))} bytes spoilt and found")


@pytest.mark.parametrize("stage", ["data_generation", "training", "evaluation"])
def test_each_byte_of_a_json_artifact(copy: Path, stage: str) -> None:
    """Manifest, annotations, predictions and results are vouched for by the record: no byte may differ."""
    _, record = _records(copy)[stage]
    paths = [copy / artifact.path for artifact in record.artifacts if artifact.path.endswith(".json")]

    def is_found(path: Path) -> None:
        assert "was altered" in _damage_of(record, copy, path)

    num_bytes = sum(_spoil_each_byte(path, is_found) for path in paths)
    assert all(_damage_of(record, copy, path) == "" for path in paths)
    _tell(f"{stage}: {num_bytes} bytes of {len(paths)} artifacts spoilt and found")


def test_each_byte_of_documents_that_prove_themselves(copy: Path) -> None:
    """Manifest, checkpoint metadata, live progress and results refuse a changed byte by their own seal."""
    progress = next(copy.glob(f"checkpoints/training/*/{PROGRESS_NAME}"))
    loaders: dict[Path, Callable[[Path], object]] = {
        next(copy.glob("datasets/*/*/manifest.json")): load_manifest,
        newest_checkpoint(copy) / METADATA_NAME: load_sealed,
        next(copy.glob("results/*_training_results_*.json")): load_sealed,
        progress: lambda path: TrainingProgressTracker(path, seed=0).load(),
    }
    for path, load in loaders.items():
        load(path)
        _tell(f"{path.name}: {_spoil_each_byte(path, _refused(load))} bytes spoilt and found")


@pytest.mark.parametrize("name", ["trainer_state.json", PROGRESS_NAME])
def test_each_byte_of_the_state_of_training(copy: Path, name: str) -> None:
    """The JSON parts of a checkpoint are read only as its metadata says they were written."""
    checkpoint = _checkpoint(newest_checkpoint(copy), name)
    assert checkpoint.read()
    _tell(f"{name}: {_spoil_each_byte(checkpoint.path / name, _refused(lambda _: checkpoint.read()))} bytes found")


def test_each_byte_of_what_may_be_lost(copy: Path) -> None:
    """A note of how work began and the memory of digests count as absent when a byte of them changed."""
    record, _ = _records(copy)["training"]
    store = RecordStore(copy / "checkpoints")
    store.begin(record.with_suffix(""), code={"stages/training/loop.py:train": "0" * 32, "größe": "1" * 32})

    def is_unknown(_path: Path) -> None:
        assert store.code_at_begin(record.with_suffix("")) == {}

    assert store.code_at_begin(record.with_suffix(""))
    num_note = _spoil_each_byte(record.with_suffix(".begun"), is_unknown)
    cache = copy / "cache"
    old = Path(shutil.copy2(newest_checkpoint(copy) / METADATA_NAME, copy / "old.json"))
    _remember(cache, old)

    def is_computed(_path: Path) -> None:
        assert StatCache(cache).get(old, "xxh3", lambda _: "computed") == "computed"

    assert StatCache(cache).get(old, "xxh3", lambda _: "computed") == "remembered"
    _tell(f"note: {num_note} bytes, cache: {_spoil_each_byte(cache, is_computed)} bytes spoilt and not believed")


def _remember(cache: Path, path: Path) -> None:
    """Write a cache that knows a digest of `path`, as a run does when the file is some seconds old."""
    remembered = StatCache(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.stat_cache._RACY_NANOSECONDS", -(10**12))
        remembered.get(path, "xxh3", lambda _: "remembered")
    remembered.save()


def test_a_spoilt_lease_never_keeps_a_run_out(tmp_path: Path) -> None:
    """Whatever bit of a lease that was left behind flips, it is read without an error, and the lock can be taken."""
    with RunLock(tmp_path):
        lease = (tmp_path / LEASE_NAME).read_bytes()
    path = tmp_path / LEASE_NAME
    path.write_bytes(lease)
    _tell(f"lease: {_spoil_each_byte(path, lambda _: _require_texts(read_lease(tmp_path)))} bytes spoilt")
    bits = random.Random(_SEED)  # noqa: S311 - chooses what to break
    for _ in range(20):
        spoilt = bytearray(lease)
        spoilt[bits.randrange(len(lease.rstrip()))] ^= 1 << bits.randrange(7)
        path.write_bytes(spoilt)
        with RunLock(tmp_path, beat_seconds=0.01):
            pass


def _require_texts(lease: dict[str, Any]) -> None:
    assert all(isinstance(value, str | int) for value in lease.values())


def _flips(paths: list[Path], *, num_bits: int, seed: int) -> Iterator[Path]:
    """Flip a random bit of these files, each bit as likely as any other, and undo it after each yield."""
    bits = random.Random(seed)  # noqa: S311 - chooses what to break
    good = {path: path.read_bytes() for path in paths}
    for path in bits.choices(paths, weights=[len(data) for data in good.values()], k=num_bits):
        position = bits.randrange(len(good[path]))
        with path.open("r+b", buffering=0) as file:
            _put(file, position, good[path][position] ^ 1 << bits.randrange(8))
            yield path
            _put(file, position, good[path][position])


def test_random_bits_of_chunks(copy: Path) -> None:
    """A flipped bit of a chunk is found by its manifest and by itself, and no sample that it spoilt is delivered."""
    manifest_path = next(copy.glob("datasets/*/*/manifest.json"))
    by_path = {chunk_path(manifest_path, entry): entry for entry in load_manifest(manifest_path).chunks}
    plans = {plan.file: plan for plan in _plan(copy).chunks}
    expected = {split: _samples(manifest_path, split, lost=[]) for split in ("train", "validation", "test")}
    num_bits = _NUM_BITS // 2
    for number, path in enumerate(_flips(list(by_path), num_bits=num_bits, seed=_SEED)):
        found = find_chunk_damage(path, by_path[path])
        assert found is not None
        assert found.file == path
        plan = plans[path.name]
        with pytest.raises(IntegrityError, match=path.name):
            prove_chunk(path, first_sample_id=plan.first_sample_id, count=plan.count, origin=plan.seal_text)
        if number % 10 == 0:
            lost: list[int] = []
            split = by_path[path].split
            delivered = _samples(manifest_path, split, lost=lost)
            assert lost == list(found.sample_ids)
            assert delivered == {key: sample for key, sample in expected[split].items() if key not in lost}
    _tell(f"seed {_SEED}: {num_bits} bits of {len(by_path)} chunks flipped, all found")


def _plan(root: Path) -> Any:
    record = _records(root)["data_generation"][1]
    config = DataGenerationConfig.model_validate_json(json.dumps(record.config))
    return plan_data_set(config, version=record.stage_version, datasets=root / "datasets")


def _samples(manifest_path: Path, split: str, *, lost: list[int]) -> dict[int, bytes]:
    """Read a split and return its samples by id; those that are left out go to `lost`."""

    def on_damage(damage: Damage) -> None:
        lost.extend(damage.sample_ids)

    chunks = load_chunks(manifest_path, split=split)
    reader = ChunkReader(chunks, batch_size=2, seed=0, is_shuffled=False, on_damage=on_damage)
    return {
        int(sample_id): b"".join(np.ascontiguousarray(batch.arrays[name][row]).tobytes() for name in batch.arrays)
        for batch in reader
        for row, sample_id in enumerate(batch.sample_ids)
    }


def test_random_bits_of_weights_and_state(copy: Path) -> None:
    """A flipped bit of weights, moments, averages, random state or manifest is found before a tensor is made of it."""
    folder = newest_checkpoint(copy)
    checks: dict[Path, Callable[[Path], object]] = {
        path: lambda path: _checkpoint_files[path.name].read() for path in sorted(folder.glob("*.safetensors"))
    }
    assert {path.name for path in checks} >= {"model.safetensors", "optimizer.safetensors", "ema.safetensors"}
    _checkpoint_files = {path.name: _checkpoint(folder, path.name) for path in checks}
    (weights,) = copy.glob("results/*/model.safetensors")
    _, record = _records(copy)["training"]
    manifest = next(copy.glob("datasets/*/*/manifest.json"))
    checks |= {weights: lambda path: _require_whole(record, copy, path), manifest: load_manifest}
    num_bits = _NUM_BITS // 2
    for path in _flips(list(checks), num_bits=num_bits, seed=_SEED + 1):
        _refused(checks[path])(path)
    for path, load in checks.items():
        load(path)
    _tell(f"seed {_SEED + 1}: {num_bits} bits of {len(checks)} files flipped, all found")


def _require_whole(record: StageRecord, root: Path, path: Path) -> None:
    if damage := _damage_of(record, root, path):
        raise IntegrityError(damage, code="T0001")
