"""Identity of values and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash
from pydantic import Field, ValidationError

from pipeline.config import StageConfig, identity, later, later_defaults
from pipeline.fingerprint import BLOCK_BYTES, canonical_json, config_hash, digest_file, digest_json
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
