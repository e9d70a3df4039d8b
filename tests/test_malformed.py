"""Documents that were never ours: each loader refuses them with our error, in bounded time and memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_json
from pipeline.lock import LEASE_NAME, read_lease
from pipeline.records import RecordStore
from pipeline.sealed import SEAL, load_sealed, sealed_bytes
from pipeline.stat_cache import StatCache
from stages.chunks.chunk import prove_chunk
from stages.chunks.manifest import load_manifest
from stages.training.progress import TrainingProgressTracker

# What a broken disk or a broken program leaves where JSON was: all of it must be refused in bounded time and memory.
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_SEAL_OF_NOBODY = b'\n  "digest": "' + b"0" * 32 + b'"\n}\n'
_NO_VALUES = [b"NaN", b"1e999", b"-1e999", b"1" * 5000, b'"\\ud800"', b"\xff", b"", b'1, "a": 1', b"[" * 900]
_BROKEN = st.one_of(
    st.binary(max_size=200),
    st.integers(0, 5000).map(bytes),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.integers(1, 200_000).map(lambda depth: b'{"a": ' + b"[" * depth + b",0" + _SEAL_OF_NOBODY),
    st.sampled_from(_NO_VALUES).map(lambda value: b'{"a": ' + value + b"," + _SEAL_OF_NOBODY),
    st.integers(1, 300_000).map(lambda number: b'{"a": [' + b"{}," * number + b"{}]," + _SEAL_OF_NOBODY),
)


def _sealed(value: Any) -> bytes:
    """Return `value` with a right seal, as one would write it who knows how; what cannot be sealed stays without."""
    document = value if isinstance(value, dict) else {"value": value}
    try:
        return sealed_bytes(document)
    except ValueError:
        return b'{"digest": "' + digest_json({}).encode() + b'"}'


_LOADERS: dict[str, Callable[[Path], object]] = {
    "sealed": load_sealed,
    "record": lambda path: RecordStore(path.parent).load(path),
    "note": lambda path: RecordStore(path.parent).code_at_begin(path.with_suffix("")),
    "manifest": load_manifest,
    "progress": lambda path: TrainingProgressTracker(path, seed=0).load(),
    "chunk": lambda path: prove_chunk(path, first_sample_id=0, count=3, origin="x"),
    "cache": lambda path: StatCache(path).get(path, "xxh3", lambda _: None),
    "lease": lambda path: read_lease(path.parent),
}


@pytest.mark.parametrize("loader", _LOADERS)
@given(data=_BROKEN | _JSON.map(_sealed))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_anything_in_place_of_a_document_is_refused(
    loader: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Truncated, empty, zeroed, deep, huge, doubled, not finite, sealed nonsense: an IntegrityError, or no document."""
    name = LEASE_NAME if loader == "lease" else "x.begun"
    path = tmp_path_factory.getbasetemp() / loader / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    try:
        found = _LOADERS[loader](path)
    except IntegrityError as error:
        assert str(path) in error.message or loader == "progress"
    else:
        assert loader in ("note", "cache", "lease") or (loader == "sealed" and SEAL.encode() in data), found


@pytest.mark.parametrize("kind", ["folder", "pipe", "endless", "loop"])
@pytest.mark.parametrize("loader", ["sealed", "record", "manifest", "progress", "chunk"])
def test_what_is_no_file_is_not_opened(loader: str, kind: str, tmp_path: Path) -> None:
    """A folder, a named pipe or a device in place of a document neither blocks nor fills the memory."""
    path = tmp_path / "x.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else path)
    with pytest.raises((IntegrityError, OSError), match=r"x\.json"):
        _LOADERS[loader](path)
