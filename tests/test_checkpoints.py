"""The checkpoint store: whole or not considered, ordered by step, rotated with care."""

from __future__ import annotations

import errno
import json
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import files
from pipeline.errors import IntegrityError, NewerFormat
from pipeline.sealed import load_sealed, save_sealed
from stages.training.checkpoints import METADATA_NAME, CheckpointStore, TrainingFacts

_CONTENTS = {"model.safetensors": b"weights", "optimizer.safetensors": b"moments", "trainer_state.json": b"{}"}


class _Store(CheckpointStore):
    """A store that remembers its warnings."""

    def __init__(self, folder: Path, *, keep: int = 3, config_hash: str = "a" * 32) -> None:
        self.warnings: list[str] = []
        super().__init__(folder, keep=keep, config_hash=config_hash, inputs_digest="b" * 32, warn=self.warnings.append)


def _save(store: CheckpointStore, step: int, *, is_best: bool = False, contents: dict[str, bytes] = _CONTENTS) -> Path:
    facts = TrainingFacts(
        global_step=step,
        total_steps=100,
        epoch=0,
        chunk_id=1,
        offset=2,
        loss=0.03851,
        is_best=is_best,
        is_final=False,
        config={"epochs": 1},
        environment={"torch": "2"},
    )
    return store.save(contents.items(), facts).path


def _steps(store: CheckpointStore) -> list[int]:
    return [checkpoint.metadata.global_step for checkpoint in store.checkpoints()]


def test_name_tells_step_loss_and_time(tmp_path: Path) -> None:
    """People can read a checkpoint's name, and its metadata says the same and more."""
    path = _save(_Store(tmp_path), 552, is_best=True)
    assert re.fullmatch(r"checkpoint-step000552-loss0\.0385-\d{8}_\d{6}", path.name)
    metadata = json.loads((path / METADATA_NAME).read_text())
    expected = {"global_step": 552, "epoch": 0, "loss": 0.03851, "is_best": True}
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["config"] == {"epochs": 1}
    assert metadata["files"]["model.safetensors"]["size"] == 7
    assert {path.name for path in path.iterdir()} == {*_CONTENTS, METADATA_NAME}


def test_newest_is_by_step_not_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes backwards changes names, never the order."""
    store = _Store(tmp_path)
    for step, moment in ((1, 2e9), (2, 1e9), (3, 1.5e9)):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        _save(store, step)
    assert _steps(store) == [1, 2, 3]
    found = store.newest()
    assert found is not None
    assert found[0].metadata.global_step == 3
    assert found[1] == _CONTENTS


@pytest.mark.parametrize("second", [0, 7200])
def test_two_of_the_same_step_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: int) -> None:
    """A restart that saves at the step that it resumed from overwrites nothing; the later one counts, not the clock."""
    monkeypatch.setattr("time.time", lambda: 1e9)
    _save(_Store(tmp_path), 5)
    monkeypatch.setattr("time.time", lambda: 1e9 - second)
    store = _Store(tmp_path)
    store.newest()
    _save(store, 5, contents={**_CONTENTS, "model.safetensors": b"later"})
    assert _steps(store) == [5, 5]
    found = store.newest()
    assert found is not None
    assert found[1]["model.safetensors"] == b"later"


def test_rotation_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    """Of many checkpoints the newest N are left, and the last that was the best."""
    store = _Store(tmp_path, keep=2)
    for step in range(1, 8):
        _save(store, step, is_best=step in (1, 3))
    assert _steps(store) == [3, 6, 7]


def test_rotation_spares_what_was_resumed_from(tmp_path: Path) -> None:
    """The checkpoint that proved to be loadable stays until the process ends, and counts as one of those kept."""
    _save(_Store(tmp_path, keep=2), 1)
    store = _Store(tmp_path, keep=2)
    store.newest()
    for step in (2, 3, 4):
        _save(store, step)
    assert _steps(store) == [1, 4]
    _save(_Store(tmp_path, keep=2), 5)
    assert _steps(store) == [4, 5]


def test_kill_between_save_and_rotation_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process left too many goes when the next one looks for something to resume from."""
    _save(_Store(tmp_path, keep=2), 1, is_best=True)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "_rotate", lambda _: None)
        for step in (2, 3, 4, 5):
            _save(_Store(tmp_path, keep=2), step)
    store = _Store(tmp_path, keep=2)
    assert _steps(store) == [1, 2, 3, 4, 5]
    store.newest()
    assert _steps(store) == [1, 4, 5]


def test_disk_is_bounded_through_any_number_of_resumes(tmp_path: Path) -> None:
    """After each save and each resume of a random life (seed 5) there are at most N+1 checkpoints, the new one too."""
    dice = random.Random(5)  # noqa: S311 - a test's dice
    store, step = _Store(tmp_path, keep=3), 0
    for _ in range(200):
        if dice.random() < 0.3:
            newest = max(store.checkpoints(), key=lambda item: item.rank, default=None)
            if newest is not None and dice.random() < 0.5:
                (newest.path / dice.choice([METADATA_NAME, "optimizer.safetensors", "model.safetensors"])).unlink()
            store = _Store(tmp_path, keep=3)
            found = store.newest()
            step = found[0].metadata.global_step if found else 0
        else:
            step += 1
            assert _save(store, step, is_best=dice.random() < 0.2).is_dir()
            assert not list(tmp_path.glob("*.corrupt-*"))
        assert len(store.checkpoints()) <= 4


def test_mere_weights_never_crowd_out_a_whole_one(tmp_path: Path) -> None:
    """A later checkpoint that lost its optimizer is not what is kept when an older whole one is continued."""
    for step in (1, 2, 3):
        _save(_Store(tmp_path, keep=2), step)
    (_Store(tmp_path).checkpoints()[-1].path / "optimizer.safetensors").unlink()
    store = _Store(tmp_path, keep=2)
    found = store.newest()
    assert found is not None
    assert found[0].metadata.global_step == 2
    assert _save(store, 3).is_dir()
    assert [(item.metadata.global_step, item.has_optimizer) for item in store.checkpoints()] == [(2, True), (3, True)]


def test_what_was_set_aside_goes_with_the_next_save(tmp_path: Path) -> None:
    """A damaged checkpoint can be looked at until a newer one is safe; then its space is free again, as was said."""
    store = _Store(tmp_path)
    _save(store, 1)
    (_save(store, 2) / "model.safetensors").write_bytes(b"?")
    store.newest()
    [aside] = tmp_path.glob("*.corrupt-0")
    assert f"set aside as {aside.name} until the next checkpoint is saved" in store.warnings[0]
    _save(store, 2)
    assert not aside.exists()


def test_checkpoint_that_a_check_refuses_is_set_aside(tmp_path: Path) -> None:
    """Files can verify and still be unfit to continue from: the reason is told, and the next older one is used."""
    store = _Store(tmp_path)
    _save(store, 1)
    hurt = _save(store, 2, contents={**_CONTENTS, "model.safetensors": b"poison"})

    def check(contents: Mapping[str, bytes]) -> None:
        if contents["model.safetensors"] == b"poison":
            raise IntegrityError("it is poisoned", code="T0001")

    found = store.newest(check=check)
    assert found is not None
    assert found[0].metadata.global_step == 1
    assert not hurt.exists()
    assert store.warnings[0].startswith(f"{hurt}: it is poisoned; it was set aside as")


def test_rotation_comes_after_the_new_one_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that fails removes nothing and leaves nothing half-done."""
    store = _Store(tmp_path, keep=2)
    _save(store, 1)

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
        patch.setattr(files.disk, "fsync_folder", fail)
        _save(store, 2)
    assert [path.name[:21] for path in tmp_path.iterdir()] == ["checkpoint-step000001"]


def test_names_of_others_are_never_touched(tmp_path: Path) -> None:
    """Rotation and discard remove checkpoints, and only these."""
    store = _Store(tmp_path, keep=2)
    (tmp_path / "checkpoint-step000001-mine").mkdir()
    (tmp_path / "notes.txt").write_text("keep me")
    for step in (1, 2, 3):
        _save(store, step)
    files.set_aside(_save(store, 4))
    store.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-step000001-mine", "notes.txt"]


def test_discard_removes_an_empty_folder(tmp_path: Path) -> None:
    """Where nothing else is, nothing is left."""
    store = _Store(tmp_path / "run")
    _save(store, 1)
    store.discard()
    assert not (tmp_path / "run").exists()
    store.discard()


@pytest.mark.parametrize("name", [*_CONTENTS, METADATA_NAME])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "removed"])
def test_any_damage_is_found_and_the_older_one_used(tmp_path: Path, name: str, damage: str) -> None:
    """What does not verify is set aside, naming the file; only a removed optimizer state leaves usable weights."""
    store = _Store(tmp_path)
    _save(store, 1)
    hurt = _save(store, 2)
    content = bytearray((hurt / name).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "removed":
        (hurt / name).unlink()
    else:
        (hurt / name).write_bytes({"flipped": bytes(content), "truncated": bytes(content[:-1]), "emptied": b""}[damage])
    found = store.newest()
    assert found is not None
    assert found[0].metadata.global_step == 1
    assert len([text for text in store.warnings if hurt.name in text]) == 1
    is_left = (damage, name) == ("removed", "optimizer.safetensors")
    assert hurt.exists() == is_left
    assert hurt.with_name(f"{hurt.name}.corrupt-0").exists() != is_left


def test_mere_weights_are_accepted_where_there_is_nothing_else(tmp_path: Path) -> None:
    """Without any whole checkpoint the newest weights are used, and it is said what that means."""
    store = _Store(tmp_path)
    weights = {name: data for name, data in _CONTENTS.items() if name != "optimizer.safetensors"}
    _save(store, 1, contents=weights)
    _save(store, 2, contents=weights)
    found = store.newest()
    assert found is not None
    assert (found[0].metadata.global_step, found[0].has_optimizer) == (2, False)
    assert "fresh optimizer" in store.warnings[-1]


@pytest.mark.parametrize("name", ["model.safetensors", METADATA_NAME])
def test_file_that_cannot_be_had_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Too many open files, say, is an error and nothing is set aside; a file that the medium lost is damage."""
    store = _Store(tmp_path)
    saved = [_save(store, step) for step in (1, 2)]
    opened = os.open

    def fail(path: Any, *arguments: Any) -> int:
        if os.fspath(path) == str(saved[1] / name):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", fail)
    for number in (errno.EMFILE, errno.EACCES, errno.ENOMEM, errno.ESTALE):
        with pytest.raises(OSError, match=name) as caught:
            store.newest()
        assert caught.value.errno == number
        assert all(path.is_dir() for path in saved)
    number = errno.EIO
    found = store.newest()
    assert found is not None
    assert found[0].path == saved[0]


def test_nothing_usable_is_nothing(tmp_path: Path) -> None:
    """With no checkpoint at all, or none that verifies, there is none."""
    store = _Store(tmp_path)
    assert store.newest() is None
    (_save(store, 1) / "model.safetensors").write_bytes(b"?")
    assert store.newest() is None
    assert len(store.warnings) == 2
    assert store.warnings[-1] == "no checkpoint is left to continue from: all 1 steps are done again from zero"


def test_checkpoint_of_another_run_is_left_alone(tmp_path: Path) -> None:
    """A checkpoint that somebody copied here is neither used nor rotated nor set aside."""
    foreign = _save(_Store(tmp_path, config_hash="c" * 32), 9)
    store = _Store(tmp_path, keep=2)
    assert store.newest() is None
    assert "other settings" in store.warnings[0]
    for step in (1, 2, 3):
        _save(store, step)
    assert foreign.is_dir()
    assert _steps(store) == [2, 3]


def test_checkpoint_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    """An unknown schema is no damage: nothing is set aside, and the version is named."""
    store = _Store(tmp_path)
    path = _save(store, 1) / METADATA_NAME
    save_sealed(path, {**load_sealed(path), "schema_version": 3})
    with pytest.raises(NewerFormat, match=r"of format 3; .* knows formats up to 2"):
        store.newest()
    assert path.exists()


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b", ""])
def test_names_that_lead_elsewhere_are_no_checkpoint(tmp_path: Path, name: str) -> None:
    """Metadata that name a file outside of the folder are set aside, and the file is not read."""
    store = _Store(tmp_path)
    path = _save(store, 1) / METADATA_NAME
    save_sealed(path, {**load_sealed(path), "files": {name: {"size": 1, "xxh3": "0"}}})
    assert store.newest() is None
    assert "is no training checkpoint" in store.warnings[0]


def test_completeness_needs_no_reading(tmp_path: Path) -> None:
    """`is_complete` looks at names and sizes; content is verified when it is read."""
    store = _Store(tmp_path)
    path = _save(store, 1)
    (path / "model.safetensors").write_bytes(b"WEIGHTS")
    assert store.checkpoints()[0].is_complete
    with pytest.raises(IntegrityError, match=r"model\.safetensors was altered"):
        store.checkpoints()[0].read()
    (path / "model.safetensors").write_bytes(b"short")
    assert not store.checkpoints()[0].is_complete
