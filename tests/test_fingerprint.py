"""Identity of values and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from pipeline.config import StageConfig
from pipeline.fingerprint import BLOCK_BYTES, canonical_json, config_hash, digest_file, digest_json


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
