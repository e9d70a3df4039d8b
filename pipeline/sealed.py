"""JSON documents that carry their own digest, so that a changed byte is found before it is believed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_json
from pipeline.reading import read_regular
from pipeline.secrets import hide

SEAL = "digest"
MAX_BYTES = 256 << 20  # a manifest of a million chunks is about 200 MiB; anything larger is not ours
_END = re.compile(rb'\n  "digest": "[0-9a-f]{32}"\n}\n')
_END_BYTES = 50


def sealed_bytes(document: dict[str, Any]) -> bytes:
    """Return `document` as JSON, indented for people, without its secrets, with its digest as the last key."""
    hidden = hide(document)
    return _encode(hidden, digest_json(hidden))


def save_sealed(path: Path, document: dict[str, Any]) -> None:
    """Write `document` durably to `path` as `sealed_bytes` gives it."""
    files.write_bytes(path, sealed_bytes(document))


def load_sealed(path: Path) -> dict[str, Any]:
    """Read a document back; raises FileNotFoundError, or IntegrityError when it is not what was written."""
    hint = "nothing that depends on it is trusted"
    data = read_regular(path, max_bytes=MAX_BYTES)
    # Before it is parsed: a few letters of JSON can become many times their size in memory.
    if not _END.fullmatch(data[-_END_BYTES:]):
        raise IntegrityError(
            f"{path} was altered after it was written: it does not end with its digest", code="E0408", hint=hint
        )
    try:
        document = json.loads(data, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not readable as JSON: {error}", code="E0409", hint=hint) from error
    if not isinstance(document, dict) or not _take_seal(document, data):
        raise IntegrityError(
            f"{path} was altered after it was written: its digest does not match", code="E0408", hint=hint
        )
    return document


def _encode(document: dict[str, Any], seal: str) -> bytes:
    sealed = {**document, SEAL: seal}
    return (json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _take_seal(document: dict[str, Any], data: bytes) -> bool:
    """Remove the digest from `document` and return whether `data` are the very bytes that are written of the rest."""
    seal = document.pop(SEAL, None)
    try:
        # The digest alone would let pass what JSON does not see: other white space, or a letter written as an escape.
        return bool(seal == digest_json(document)) and data == _encode(document, seal)
    except (ValueError, RecursionError):  # NaN, lone surrogates or endless nesting: never written by us
        return False


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key occurs twice")
    return document
