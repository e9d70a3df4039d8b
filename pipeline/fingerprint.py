"""Identity of values and files: canonical JSON and xxh3-128 digests."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xxhash

from pipeline.config import StageConfig, identity
from pipeline.reading import open_regular

BLOCK_BYTES = 1 << 18  # what was just read is hashed while it is in the processor's cache; smaller: more system calls


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
    return _digest(path, memoryview(bytearray(BLOCK_BYTES)))


def digest_files(paths: Sequence[Path], *, num_threads: int) -> list[str | Exception]:
    """Return for each file what `digest_file` returns or raises, read by several threads, each with one buffer.

    An exception in the calling thread, as Ctrl+C is one, ends all of them at their next block.
    """
    found: list[str | Exception] = [AssertionError("not read")] * len(paths)
    waiting = iter(range(len(paths)))  # which gives each number once, whichever thread asks
    is_over = threading.Event()

    def read() -> None:
        buffer = memoryview(bytearray(BLOCK_BYTES))
        for number in waiting:
            try:
                found[number] = _digest(paths[number], buffer, is_over)
            except Exception as error:  # raised where the answer is looked at
                found[number] = error
            if is_over.is_set():
                return

    threads = [threading.Thread(target=read, name="digests", daemon=True) for _ in range(num_threads)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        is_over.set()
    return found


def _digest(path: Path, buffer: memoryview, is_over: threading.Event | None = None) -> str:
    state = xxhash.xxh3_128()
    with open_regular(path) as file:
        # Hashing lets other threads run, and so does reading.
        while (size := file.readinto(buffer)) and not (is_over and is_over.is_set()):  # type: ignore[attr-defined]
            state.update(buffer[:size])
    return state.hexdigest()


def config_hash(*, stage: str, version: int, config: StageConfig) -> str:
    """Return the hash that names a run of a stage: its name, its version and all of its config that counts."""
    return digest_json({"stage": stage, "version": version, "config": identity(config)})
