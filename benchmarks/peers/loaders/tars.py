"""WebDataset: tar files of PNG; no state is documented, so batches are skipped."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from samples import BATCH_SIZE, SEED, collate, samples

_BUFFER = 1000


def write(folder: Path, target: Path) -> None:
    """Write the samples as tar files of 100."""
    import webdataset
    from PIL import Image

    target.mkdir(parents=True)
    with webdataset.ShardWriter(str(target / "%03d.tar"), maxcount=100, verbose=0) as writer:
        for sample in samples(folder):
            png = io.BytesIO()
            Image.fromarray(sample["image"][0]).save(png, "PNG")
            arrays = {"boxes.npy": sample["boxes"], "labels.npy": sample["labels"]}
            writer.write({"__key__": f"{sample['id']:06d}", "png": png.getvalue(), **arrays})


class Tars:
    """Its pipeline in its loader."""

    def __init__(self, folder: Path, *, is_shuffled: bool) -> None:
        import webdataset

        files = sorted(map(str, folder.glob("*.tar")))
        data = webdataset.WebDataset(files, shardshuffle=100 if is_shuffled else False, seed=SEED, empty_check=False)
        if is_shuffled:
            data = data.shuffle(_BUFFER, seed=SEED)
        data = data.decode("l8").map(_sample).batched(BATCH_SIZE, collation_fn=collate)
        self.loader = webdataset.WebLoader(data, batch_size=None, num_workers=0)

    def state(self, num_batches: int) -> Any:
        """Return the number of batches: there is nothing else."""
        return num_batches

    def resume(self, state: Any) -> None:
        """Skip them."""
        self.loader = _Skipped(self.loader, state)


class _Skipped:
    def __init__(self, loader: Any, num_batches: int) -> None:
        self._loader = loader
        self._num_batches = num_batches

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self._loader), self._num_batches, None)


def _sample(item: dict[str, Any]) -> dict[str, Any]:
    image = np.asarray(item["png"]).reshape(1, 416, 416)
    return {"id": item["__key__"], "image": image, "boxes": item["boxes.npy"], "labels": item["labels.npy"]}
