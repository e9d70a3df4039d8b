"""Hugging Face datasets: Arrow on disk, read map-style, or as an iterable with a shuffle buffer."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from samples import BATCH_SIZE, SEED, collate, samples

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is copied at once
_BUFFER = 1000  # samples; the default of its documentation's examples


def write(folder: Path, target: Path) -> None:
    """Write the samples as Arrow files of about 100."""
    from datasets import Dataset, Features, Sequence, Value, disable_progress_bars

    disable_progress_bars()
    features = Features(
        {
            "id": Value("int64"),
            "image": Value("binary"),
            "boxes": Sequence(Value("float32"), length=24),
            "labels": Sequence(Value("int64"), length=6),
        }
    )

    def rows() -> Iterator[dict[str, Any]]:
        for sample in samples(folder):
            image, boxes, labels = sample["image"].tobytes(), sample["boxes"].ravel(), sample["labels"]
            yield {"id": sample["id"], "image": image, "boxes": boxes, "labels": labels}

    with tempfile.TemporaryDirectory(dir=target.parent) as cache:
        Dataset.from_generator(rows, features=features, cache_dir=cache).save_to_disk(str(target), num_shards=40)


class Hugging:
    """Its data set in a StatefulDataLoader."""

    def __init__(self, folder: Path, *, is_shuffled: bool, is_iterable: bool = False) -> None:
        from torchdata.stateful_dataloader import StatefulDataLoader

        from datasets import load_from_disk

        data = load_from_disk(str(folder))
        if is_iterable:
            stream = data.to_iterable_dataset(num_shards=40)
            stream = stream.shuffle(seed=SEED, buffer_size=_BUFFER) if is_shuffled else stream
            self.loader = StatefulDataLoader(stream, BATCH_SIZE, collate_fn=_collate)
        else:
            draws = torch.Generator().manual_seed(SEED)
            self.loader = StatefulDataLoader(
                data, BATCH_SIZE, shuffle=is_shuffled, generator=draws, collate_fn=_collate
            )

    def state(self, num_batches: int) -> Any:  # noqa: ARG002
        """Return what the loader says of itself."""
        return self.loader.state_dict()

    def resume(self, state: Any) -> None:
        """Give it back."""
        self.loader.load_state_dict(state)


def _collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    for item in items:
        item["image"] = np.frombuffer(item["image"], np.uint8).reshape(1, 416, 416)
        item["boxes"] = np.array(item["boxes"], np.float32).reshape(6, 4)
    return collate(items)
