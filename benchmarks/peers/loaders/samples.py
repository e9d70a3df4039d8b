"""The samples that every loader is given: chunk files mapped without any library of ours, and how a batch is made."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 32
SEED = 7
ARRAYS = ("image", "boxes", "labels")
_DTYPES = {"U8": np.uint8, "F32": np.float32, "I64": np.int64, "U64": np.uint64}

Sample = dict[str, Any]


def chunk_files(folder: Path) -> list[Path]:
    """Return the chunks of the training split in the order of their numbers."""
    return sorted(folder.glob("consolidated_*.safetensors"))


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, mapped."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8:start])
    return {
        name: np.frombuffer(mapped, _DTYPES[facts["dtype"]], np.prod(facts["shape"]), start + facts["data_offsets"][0])
        .reshape(facts["shape"])
        for name, facts in header.items()
        if name != "__metadata__"
    }  # fmt: skip


def samples(folder: Path) -> Iterator[Sample]:
    """Yield all samples in order, with their id: what each loader's writer is fed with."""
    for path in chunk_files(folder):
        arrays = map_arrays(path)
        for row, sample_id in enumerate(arrays["sample_id"].tolist()):
            yield {"id": sample_id, **{name: arrays[name][row] for name in ARRAYS}}


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack samples to a batch of tensors: what a loader's users do."""
    import torch

    batch = {name: torch.stack([torch.as_tensor(item[name]) for item in items]) for name in ARRAYS}
    return {**batch, "id": torch.tensor([int(item["id"]) for item in items])}
