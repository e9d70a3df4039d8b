"""Which chunks a training stands on: those that it has seen, by their digests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_json
from stages.chunks.reader import Chunks
from stages.training.data import TrainingData
from stages.training.history import History
from stages.training.progress import TrainingProgressTracker
from stages.training.state import VALUES_NAME


class Ground:
    """The part of the state that binds it to the data, where they were not all there yet when training began.

    Epoch 0 takes the chunks by number, so those that were seen are the first ones; later epochs have seen all.
    """

    def __init__(self, data: TrainingData, tracker: TrainingProgressTracker, history: History) -> None:
        self._data = data
        self._tracker = tracker
        self._history = history
        self._known: dict[str, tuple[int, str]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return for each split how many chunks were seen, and the digest of their digests."""
        position = self._tracker.get_resume_position()
        num_train = len(self._data.train.counts) if position.epoch else position.chunk_id + 1
        num_validation = len(self._data.validation.counts) if self._history.entries else 0
        return {
            "train": self._seen("train", self._data.train, num_train),
            "validation": self._seen("validation", self._data.validation, num_validation),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: it follows from position and history, and `require_ground` has compared it."""

    def _seen(self, split: str, chunks: Chunks, num_chunks: int) -> dict[str, Any]:
        known, digest = self._known.get(split, (-1, ""))
        if known != num_chunks:
            digest = _digest(chunks, num_chunks)
            self._known[split] = (num_chunks, digest)
        return {"num_chunks": num_chunks, "xxh3": digest}


def require_ground(contents: Mapping[str, bytes], data: TrainingData) -> None:
    """Raise IntegrityError where the files of a checkpoint were trained on other chunks than those of `data`.

    Raises:
        Withheld: the chunks are still being made, and a stop was asked for.
    """
    try:
        ground = json.loads(contents[VALUES_NAME])["parts"].get("ground", {})
        seen = [(getattr(data, split), int(one["num_chunks"]), str(one["xxh3"])) for split, one in ground.items()]
    except (KeyError, ValueError, TypeError, AttributeError):
        return  # no such state: that is told when it is loaded
    for chunks, num_chunks, digest in seen:
        if num_chunks > len(chunks.counts) or _digest(chunks, num_chunks) != digest:
            raise IntegrityError(f"it was trained on other chunks than those of {chunks}", code="E0464")


def _digest(chunks: Chunks, num_chunks: int) -> str:
    return digest_json([chunks.entry(chunk_id).xxh3 for chunk_id in range(num_chunks)])
