"""The part of a training's state that binds it to the chunks it has seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_task import TRAIN_COUNTS, write_data

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_json
from stages.training.data import TrainingData, load_data
from stages.training.ground import require_ground
from stages.training.state import VALUES_NAME


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Give a data set of a few chunks."""
    return load_data(write_data(tmp_path))


def _seen(num_chunks: int, digest: str) -> dict[str, bytes]:
    """Return the files of a checkpoint that has seen so many chunks of the training split."""
    ground = {"train": {"num_chunks": num_chunks, "xxh3": digest}}
    return {VALUES_NAME: json.dumps({"parts": {"ground": ground}}).encode()}


def _digest(data: TrainingData, num_chunks: int) -> str:
    return digest_json([data.train.entry(chunk_id).xxh3 for chunk_id in range(num_chunks)])


@pytest.mark.parametrize("num_chunks", [1, len(TRAIN_COUNTS)])
def test_chunks_that_are_the_same_are_trained_on(data: TrainingData, num_chunks: int) -> None:
    """As many as were seen, whatever comes behind them."""
    require_ground(_seen(num_chunks, _digest(data, num_chunks)), data)


@pytest.mark.parametrize(("num_chunks", "digest"), [(1, "0" * 32), (99, "")], ids=["other bytes", "more of them"])
def test_other_chunks_are_not(data: TrainingData, num_chunks: int, digest: str) -> None:
    """The error names the data that are there now."""
    with pytest.raises(IntegrityError, match=r"other chunks than those of .*manifest\.json") as caught:
        require_ground(_seen(num_chunks, digest), data)
    assert caught.value.code == "E0464"


def test_a_state_without_ground_is_none_of_its_business(data: TrainingData) -> None:
    """That it cannot be loaded is told where it is."""
    require_ground({VALUES_NAME: b"[]"}, data)
    require_ground({}, data)
