"""The file format of a chunk: arrays of samples in safetensors, with a digest of each sample and a seal over all.

Arrays have one row for each sample. Two are the format's own: `sample_id` int64 [n] and `digest` uint64 [n], the
xxh3-64 of the sample's id and its rows of all other arrays. The seal in the header is the digest of `digest` and of a
text that says where the chunk comes from: a chunk proves by itself that it is whole and the one that is looked for.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes
from pipeline.reading import open_regular, read_regular

Array = npt.NDArray[Any]
Buffer = bytes | memoryview | mmap.mmap

SAMPLE_ID = "sample_id"
DIGEST = "digest"
_SEAL = "seal"
_MAX_BYTES = 8 << 30  # data generation makes chunks of at most 1/2 GiB
_MAX_HEADER_BYTES = 1 << 20  # ours have under 1 KiB; a larger one is not worth parsing
_MADV_POPULATE_READ = 22  # from <linux/mman.h>; the module mmap does not have it yet
# In the order of the safetensors library, which lays down the arrays of the last type first.
_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16, "F16": np.float16,
    "I32": np.int32, "U32": np.uint32, "F32": np.float32, "F64": np.float64, "I64": np.int64, "U64": np.uint64,
}  # fmt: skip


def encode_chunk(arrays: Mapping[str, Array], *, first_sample_id: int, origin: str) -> bytes:
    """Return the bytes of a chunk; the same arrays give the same bytes.

    Args:
        arrays: one row for each sample, all of the same length >= 1.
        first_sample_id: the samples have consecutive ids from here.
        origin: what the chunk belongs to and which part of it this is.
    """
    count = len(next(iter(arrays.values())))
    assert all(len(array) == count for array in arrays.values())
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    whole[SAMPLE_ID] = np.arange(first_sample_id, first_sample_id + count)
    whole[DIGEST] = sample_digests(whole)
    return _join(whole, seal=_seal(whole[DIGEST], origin))


def _join(arrays: Mapping[str, Array], *, seal: str) -> bytes:
    """Return the bytes that the safetensors library gives, which itself copies them so often that it shows."""
    types, order = {np.dtype(kind): name for name, kind in _DTYPES.items()}, list(_DTYPES)
    ordered = sorted(arrays.items(), key=lambda item: (-order.index(types[item[1].dtype]), item[0]))
    header: dict[str, Any] = {"__metadata__": {_SEAL: seal}}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": types[array.dtype], "shape": array.shape, "data_offsets": (start, end)}
    text = _padded(header)
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.data for _, array in ordered)])


def _padded(header: object) -> bytes:
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text.ljust(-(-len(text) // 8) * 8)


def map_chunk(path: Path) -> dict[str, Array]:
    """Return the arrays of a chunk as read-only views of the mapped file; raises OSError or IntegrityError."""
    return decode_chunk(map_file(path), name=str(path))[0]


def map_file(path: Path) -> mmap.mmap:
    """Map a file to be read; raises OSError, or IntegrityError where there is nothing to be mapped."""
    with open_regular(path) as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise IntegrityError(f"{path} is empty", code="E0451") from error


def load_pages(mapped: mmap.mmap, *, name: str) -> None:
    """Bring all of a mapped file into memory; raises OSError where a page cannot be read.

    Without this a disk that fails, or a file that was cut short, is no exception but a signal that kills the process.
    """
    try:
        mapped.madvise(_MADV_POPULATE_READ)
    except OSError as error:
        if error.errno == errno.EFAULT:
            raise OSError(errno.EIO, os.strerror(errno.EIO), name) from error
        # Linux before 5.14 does not know it, and there the signal must be risked.
        if error.errno != errno.EINVAL:
            raise


def prove_chunk(path: Path, *, first_sample_id: int, count: int, origin: str) -> tuple[dict[str, Array], bytes]:
    """Return the arrays and the bytes of a chunk that needs no manifest to be believed.

    Raises:
        OSError: it cannot be read.
        IntegrityError: it is not whole, or it is another chunk than the one asked for.
    """
    data = read_regular(path, max_bytes=_MAX_BYTES)
    arrays, seal = decode_chunk(data, name=str(path))
    if not _is_tidy(data, arrays):
        raise IntegrityError(f"{path} was altered after it was written: its header is not as it was", code="E0450")
    if damaged_rows(arrays, first_sample_id=first_sample_id, count=count, name=str(path)).size:
        raise IntegrityError(
            f"{path} was altered after it was written: some of its samples do not match their digest", code="E0450"
        )
    if seal != _seal(arrays[DIGEST], origin):
        raise IntegrityError(f"{path} is not the chunk that belongs here: its seal does not match", code="E0450")
    return arrays, data


def damaged_rows(arrays: Mapping[str, Array], *, first_sample_id: int, count: int, name: str) -> npt.NDArray[np.intp]:
    """Return the rows whose content does not match their digest; raises IntegrityError where that cannot be told."""
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    own = [arrays.get(key, np.zeros(0)) for key in (SAMPLE_ID, DIGEST)]
    if lengths != {count} or [(array.dtype.str, array.ndim) for array in own] != [("<i8", 1), ("<u8", 1)]:
        raise IntegrityError(f"{name} does not hold {count} samples with their ids and digests", code="E0451")
    is_damaged = sample_digests(arrays) != arrays[DIGEST]
    is_damaged |= arrays[SAMPLE_ID] != np.arange(first_sample_id, first_sample_id + count)
    return np.flatnonzero(is_damaged)


def sample_digests(arrays: Mapping[str, Array]) -> npt.NDArray[np.uint64]:
    """Return for each sample the xxh3-64 of names, types and contents of its rows (all arrays but `digest`)."""
    names = [name for name in sorted(arrays) if name != DIGEST]
    rows = [arrays[name] for name in names]
    layout = ";".join(f"{name}:{arrays[name].dtype.str}{arrays[name].shape[1:]}" for name in names)
    seed = xxhash.xxh3_64_intdigest(layout.encode())
    digests = np.empty(len(rows[0]), np.uint64)
    for index in range(len(digests)):
        state = xxhash.xxh3_64(seed=seed)
        for array in rows:
            state.update(array[index : index + 1].data)
        digests[index] = state.intdigest()
    return digests


def decode_chunk(data: Buffer, *, name: str) -> tuple[dict[str, Array], str]:
    """Return the arrays (views of `data`) and the seal of a chunk; raises IntegrityError if it cannot be read."""
    try:
        length = int.from_bytes(data[:8], "little")
        if length > min(_MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError("the header is longer than the file")
        header = json.loads(bytes(data[8 : 8 + length]))
        metadata = header.pop("__metadata__", {})
        return {key: _array(data, 8 + length, **entry) for key, entry in header.items()}, str(metadata.get(_SEAL))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{name} is not readable as a chunk: {error}", code="E0451") from error


def _is_tidy(data: bytes, arrays: Mapping[str, Array]) -> bool:
    """Return whether the header is written as the library writes it: no byte of it may differ and still be believed."""
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length]
    size = 8 + length + sum(array.nbytes for array in arrays.values())
    return text == _padded(json.loads(text)) and size == len(data)


def _array(data: Buffer, start: int, *, dtype: str, shape: list[int], data_offsets: list[int]) -> Array:
    kind = np.dtype(_DTYPES[dtype])
    first, last = data_offsets
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != last - first or first < 0:
        raise ValueError("an array's shape does not fit its place")
    return np.frombuffer(data, kind, count=math.prod(shape), offset=start + first).reshape(shape)


def _seal(digests: npt.NDArray[np.uint64], origin: str) -> str:
    return digest_bytes(digests.tobytes() + origin.encode())
