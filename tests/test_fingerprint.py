"""Identity of values and files."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import xxhash
from pydantic import Field, ValidationError

from pipeline import fingerprint
from pipeline.config import StageConfig, identity, later, later_defaults
from pipeline.fingerprint import BLOCK_BYTES, canonical_json, config_hash, digest_file, digest_files, digest_json
from stages.catalog import PIPELINE
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.plan import plan_data_set


class _Config(StageConfig):
    lr: float = 0.1
    steps: int = 3


def test_order_of_keys_does_not_count() -> None:
    """Two spellings of one value have one digest."""
    assert digest_json({"a": 1, "b": [1.5, "ü"]}) == digest_json({"b": [1.5, "ü"], "a": 1})
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()


def test_nan_has_no_identity() -> None:
    """NaN cannot be hashed, because it is not equal to itself."""
    with pytest.raises(ValueError, match="JSON"):
        digest_json(float("nan"))


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_file_digest_is_xxh3(tmp_path: Path, size: int) -> None:
    """The digest of a file is the xxh3-128 of its bytes, whatever its length."""
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "x").write_bytes(data[:size])
    assert digest_file(tmp_path / "x") == xxhash.xxh3_128_hexdigest(data[:size])


def test_config_hash_counts_everything() -> None:
    """Name, version and every field change the hash; a default spelled out does not."""
    base = config_hash(stage="s", version=1, config=_Config())
    assert base == config_hash(stage="s", version=1, config=_Config(lr=0.1, steps=3))
    others = [
        config_hash(stage="t", version=1, config=_Config()),
        config_hash(stage="s", version=2, config=_Config()),
        config_hash(stage="s", version=1, config=_Config(lr=0.2)),
        config_hash(stage="s", version=1, config=_Config(steps=4)),
    ]
    assert len({base, *others}) == 5


class _Inner(StageConfig):
    depth: int = 2
    width: int = later(8, description="came later")


class _Grown(_Config):
    inner: _Inner = Field(default_factory=_Inner)
    rows: tuple[_Inner, ...] = (_Inner(),)
    mode: str = later("old", description="came later", min_length=1)


def test_later_setting_at_its_default_keeps_the_hash() -> None:
    """A setting that was added keeps the hash of before, at any depth, until it is set to something else."""
    before = digest_json({"lr": 0.1, "steps": 3, "inner": {"depth": 2}, "rows": [{"depth": 2}]})
    assert digest_json(identity(_Grown())) == before
    assert digest_json(identity(_Grown(mode="old", inner=_Inner(width=8)))) == before
    changed = [_Grown(mode="new"), _Grown(inner=_Inner(width=9)), _Grown(rows=(_Inner(width=9),)), _Grown(lr=0.2)]
    assert len({before, *(digest_json(identity(config)) for config in changed)}) == 5
    assert later_defaults(_Grown(mode="new")) == {"mode": "old", "inner": {"width": 8}}


def test_later_setting_keeps_its_bounds() -> None:
    """It is checked and described like any other."""
    with pytest.raises(ValidationError):
        _Grown(mode="")
    assert _Grown.model_fields["mode"].description == "came later"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data_generation", "df598bf73da907bacfc1b3aa9bfaf35b"),
        ("training", "6fa444ca5ef23362becd4bdea2427f48"),
        ("evaluation", "7d34edd32c3d68022503b2f0702670a9"),
    ],
)
def test_default_settings_keep_the_hash_of_the_first_format(name: str, expected: str) -> None:
    """Records of the first format are found for ever: a new setting is declared with `later`, or this fails."""
    assert config_hash(stage=name, version=1, config=PIPELINE.configs[name]()) == expected


def test_data_of_the_first_format_keep_their_folder(tmp_path: Path) -> None:
    """The folder of a data set, named by what determines a sample, follows the same rule."""
    config = DataGenerationConfig()
    assert plan_data_set(config, version=1, datasets=tmp_path).folder.name == "bongard-1a4af259"


def test_many_files_are_digested_in_their_order(tmp_path: Path) -> None:
    """Whichever thread reads a file, its digest stands in its place, and so does what went wrong."""
    paths = [tmp_path / str(number) for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * (BLOCK_BYTES + number))
    paths[3].unlink()
    found = digest_files(paths, num_threads=3)
    assert isinstance(found.pop(3), FileNotFoundError)
    paths.pop(3)
    assert found == list(map(digest_file, paths))
    assert digest_files([], num_threads=3) == []


def test_interrupt_ends_all_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C while many files are read is raised where it was waited for, and no thread goes on."""
    begun: list[Path] = []

    def interrupted(path: Path, _buffer: memoryview, is_over: threading.Event) -> str:
        begun.append(path)
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        signal.pthread_kill(main_thread, signal.SIGINT)
        assert is_over.wait(5)
        return ""

    monkeypatch.setattr(fingerprint, "_digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digest_files([tmp_path / str(number) for number in range(9)], num_threads=1)
    for thread in threading.enumerate():
        if thread.name == "digests":
            thread.join()
    assert begun == [tmp_path / "0"]


def test_interrupted_file_is_not_read_on(tmp_path: Path) -> None:
    """A file of any length is left at its next block when reading is over."""
    (tmp_path / "x").write_bytes(b"x" * (2 * BLOCK_BYTES))
    is_over = threading.Event()
    is_over.set()
    buffer: Any = memoryview(bytearray(BLOCK_BYTES))
    assert fingerprint._digest(tmp_path / "x", buffer, is_over) == xxhash.xxh3_128_hexdigest(b"")
