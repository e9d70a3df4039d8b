"""Bytes and reading speed of one array of scenes under each way of compressing it; prints JSON (`measure.py FILE.npy`).

Each way is compressed a whole chunk (100 scenes) or a scene at a time, decoded and compared, and then read as a loader
does: shuffled scenes, 32 at a time, into two buffers that are used again. The bytes are in memory all the time, so that
nothing is waited for: what counts is the time of the processor.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import blosc2
import lz4.block
import numpy as np
import zstandard
from PIL import Image

CHUNK_SIZE = 100
BATCH_SIZE = 32
ROUNDS = 3

Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes, np.ndarray], None]  # into an array of the right shape


@dataclass(frozen=True)
class Way:
    """How scenes become bytes and come back."""

    name: str
    encode: Encode
    decode: Decode


def _lz4(*, level: int) -> Way:
    options: dict[str, Any] = {"mode": "high_compression", "compression": level} if level else {}

    def encode(array: np.ndarray) -> bytes:
        return lz4.block.compress(array.tobytes(), store_size=False, **options)

    def decode(data: bytes, out: np.ndarray) -> None:
        out.ravel()[:] = np.frombuffer(lz4.block.decompress(data, uncompressed_size=out.nbytes), np.uint8)

    return Way(f"lz4 {'high, level ' + str(level) if level else 'fast'}", encode, decode)


def _zstd(*, level: int) -> Way:
    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()

    def decode(data: bytes, out: np.ndarray) -> None:
        out.ravel()[:] = np.frombuffer(decompressor.decompress(data), np.uint8)

    return Way(f"zstd, level {level}", lambda array: compressor.compress(array.tobytes()), decode)


def _bit_planes(codec: blosc2.Codec, *, level: int) -> Way:
    """The bits of each place in the byte together: what is left of bit packing where pixels are no single bits."""

    def encode(array: np.ndarray) -> bytes:
        return blosc2.compress2(array, codec=codec, clevel=level, filters=[blosc2.Filter.BITSHUFFLE], nthreads=1)

    def decode(data: bytes, out: np.ndarray) -> None:
        blosc2.decompress2(data, dst=out, nthreads=1)

    return Way(f"bit planes, then {codec.name.lower()}, level {level}", encode, decode)


def _png_encode(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array.reshape(-1, array.shape[-1])).save(file, "PNG")
    return file.getvalue()


def _png_decode(data: bytes, out: np.ndarray) -> None:
    out[...] = np.asarray(Image.open(io.BytesIO(data))).reshape(out.shape)


def _raw_decode(data: bytes, out: np.ndarray) -> None:
    out.ravel()[:] = np.frombuffer(data, np.uint8)


RAW = Way("raw", lambda array: array.tobytes(), _raw_decode)
WAYS = (
    _lz4(level=0),
    _lz4(level=9),
    _zstd(level=1),
    _zstd(level=9),
    _bit_planes(blosc2.Codec.LZ4, level=5),
    _bit_planes(blosc2.Codec.ZSTD, level=5),
)
PNG = Way("PNG", _png_encode, _png_decode)


def _by_scene(way: Way, images: np.ndarray) -> tuple[list[bytes], Callable[[Sequence[int], np.ndarray], None]]:
    blobs = [way.encode(image) for image in images]

    def read(rows: Sequence[int], out: np.ndarray) -> None:
        for place, row in enumerate(rows):
            way.decode(blobs[row], out[place])

    return blobs, read


def _by_chunk(way: Way, images: np.ndarray) -> tuple[list[bytes], Callable[[Sequence[int], np.ndarray], None]]:
    chunks = [images[start : start + CHUNK_SIZE] for start in range(0, len(images), CHUNK_SIZE)]
    blobs = [way.encode(chunk) for chunk in chunks]
    decoded = np.empty_like(chunks[0])
    opened = -1

    def read(rows: Sequence[int], out: np.ndarray) -> None:
        nonlocal opened
        place = 0
        while place < len(rows):
            chunk_id = rows[place] // CHUNK_SIZE
            if chunk_id != opened:
                way.decode(blobs[chunk_id], decoded)
                opened = chunk_id
            inside = [row % CHUNK_SIZE for row in rows[place:] if row // CHUNK_SIZE == chunk_id]
            np.take(decoded, inside, axis=0, out=out[place : place + len(inside)], mode="clip")
            place += len(inside)

    return blobs, read


def _order(num_images: int) -> list[int]:
    random = np.random.default_rng(0)
    chunks = random.permutation(num_images // CHUNK_SIZE)
    return [int(chunk * CHUNK_SIZE + row) for chunk in chunks for row in random.permutation(CHUNK_SIZE)]


def main() -> None:
    """Measure all ways in turns."""
    images = np.load(sys.argv[1])
    order = _order(len(images))
    buffers = [np.empty((BATCH_SIZE, *images.shape[1:]), np.uint8) for _ in range(2)]
    readers: dict[tuple[str, str], tuple[int, Callable[[Sequence[int], np.ndarray], None]]] = {}
    for way in (RAW, *WAYS, PNG):
        kinds = {"scene": _by_scene} if way in {RAW, PNG} else {"scene": _by_scene, "chunk": _by_chunk}
        for kind, make in kinds.items():
            blobs, read = make(way, images)
            read(order[:BATCH_SIZE], buffers[0])
            assert np.array_equal(buffers[0], images[order[:BATCH_SIZE]]), f"{way.name} is not exact"
            readers[way.name, kind] = sum(map(len, blobs)), read
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in readers}
    for _ in range(ROUNDS):
        for key, (_, read) in readers.items():
            started = time.process_time()
            for number, start in enumerate(range(0, len(order), BATCH_SIZE)):
                rows = order[start : start + BATCH_SIZE]
                read(rows, buffers[number % 2][: len(rows)])
            rates[key].append(len(order) / BATCH_SIZE / (time.process_time() - started))
    ways = [
        {"way": name, "unit": kind, "bytes": readers[name, kind][0], "rates": rates[name, kind]}
        for name, kind in readers
    ]
    print(json.dumps({"raw_bytes": images.nbytes, "ways": ways}))


if __name__ == "__main__":
    main()
