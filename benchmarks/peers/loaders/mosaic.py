"""MDS: MDSWriter writes, StreamingDataset and StreamingDataLoader of mosaicml-streaming read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from samples import BATCH_SIZE, SEED, collate, samples

_COLUMNS = {
    "id": "int",
    "image": "ndarray:uint8:1,416,416",
    "boxes": "ndarray:float32:6,4",
    "labels": "ndarray:int64:6",
}
_SHARD_BYTES = 100 * 173_400  # about 100 samples


def write(folder: Path, target: Path) -> None:
    """Write the samples, uncompressed, in shards of about 100."""
    from streaming import MDSWriter

    with MDSWriter(out=str(target), columns=_COLUMNS, size_limit=_SHARD_BYTES) as writer:
        for sample in samples(folder):
            writer.write(
                {name: np.ascontiguousarray(value) if name != "id" else value for name, value in sample.items()}
            )


class Mosaic:
    """MDS's loader; its state is that of its documentation."""

    def __init__(self, folder: Path, *, is_shuffled: bool) -> None:
        from streaming import StreamingDataLoader, StreamingDataset
        from streaming.base.util import clean_stale_shared_memory

        clean_stale_shared_memory()  # as its documentation advises after a process that was killed
        data = StreamingDataset(
            local=str(folder), shuffle=is_shuffled, shuffle_seed=SEED, batch_size=BATCH_SIZE, num_canonical_nodes=1
        )
        self.loader = StreamingDataLoader(data, batch_size=BATCH_SIZE, num_workers=0, collate_fn=collate)

    def state(self, num_batches: int) -> Any:  # noqa: ARG002
        """Return what the loader says of itself."""
        return self.loader.state_dict()

    def resume(self, state: Any) -> None:
        """Give it back."""
        self.loader.load_state_dict(state)
