"""Identity of values and files: canonical JSON and xxh3-128 digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xxhash

from pipeline.config import StageConfig, identity
from pipeline.reading import open_regular

BLOCK_BYTES = 1 << 20  # 1 MiB reads: larger blocks were no faster, smaller ones cost system calls


def canonical_json(value: Any) -> bytes:
    """Encode `value` as UTF-8 JSON with sorted keys and no spaces; raises ValueError on NaN and infinities."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the xxh3-128 of `data` as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_json(value: Any) -> str:
    """Return the digest of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """Read the whole file at `path` and return its digest; raises OSError, or IntegrityError for what is no file."""
    state = xxhash.xxh3_128()
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def config_hash(*, stage: str, version: int, config: StageConfig) -> str:
    """Return the hash that names a run of a stage: its name, its version and all of its config that counts."""
    return digest_json({"stage": stage, "version": version, "config": identity(config)})
