"""LitData: `optimize` writes, StreamingDataset and StreamingDataLoader read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from samples import ARRAYS, BATCH_SIZE, SEED, Sample, chunk_files, collate, map_arrays


def _samples_of(path: Path) -> Iterator[Sample]:
    arrays = map_arrays(path)
    for row, sample_id in enumerate(arrays["sample_id"].tolist()):
        yield {"id": sample_id, **{name: torch.from_numpy(arrays[name][row].copy()) for name in ARRAYS}}


def write(folder: Path, target: Path) -> None:
    """Write the samples in chunks of 100."""
    from litdata import optimize

    optimize(fn=_samples_of, inputs=chunk_files(folder), output_dir=str(target), chunk_size=100, num_workers=1)


class Lit:
    """LitData's loader; its state is that of its documentation."""

    def __init__(self, folder: Path, *, is_shuffled: bool) -> None:
        from litdata import StreamingDataLoader, StreamingDataset

        data = StreamingDataset(str(folder), shuffle=is_shuffled, seed=SEED, drop_last=False)
        self.loader = StreamingDataLoader(data, batch_size=BATCH_SIZE, num_workers=0, collate_fn=collate)

    def state(self, num_batches: int) -> Any:  # noqa: ARG002
        """Return what the loader says of itself."""
        return self.loader.state_dict()

    def resume(self, state: Any) -> None:
        """Give it back."""
        self.loader.load_state_dict(state)
