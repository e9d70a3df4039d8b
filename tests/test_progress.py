"""The progress tracker: the position to continue from, what was trained of each chunk, and its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from stages.training.progress import TrainingProgressTracker


def _tracker(folder: Path, *, seed: int = 7) -> TrainingProgressTracker:
    return TrainingProgressTracker(folder / "training_progress.json", seed=seed)


def _train(tracker: TrainingProgressTracker) -> None:
    """Take two steps of 16 samples: the second one straddles chunks 0 (of 24 samples) and 3."""
    tracker.update(global_step=1, epoch=0, chunk_id=0, offset=16, samples_in_batch=16, chunk_size=24)
    tracker.update(global_step=2, epoch=0, chunk_id=0, offset=24, samples_in_batch=8, chunk_size=24)
    tracker.update(global_step=2, epoch=0, chunk_id=3, offset=8, samples_in_batch=8, chunk_size=24)


def test_position_is_that_of_the_next_sample(tmp_path: Path) -> None:
    """After a batch that straddles two chunks the position is in the second, and the first one is complete."""
    tracker = _tracker(tmp_path)
    assert not tracker.has_progress()
    assert tracker.get_resume_position() == (0, -1, 0)
    _train(tracker)
    assert tracker.has_progress()
    assert tracker.get_resume_position() == (0, 3, 8)
    assert tracker.should_skip_chunk(0)
    assert not tracker.should_skip_chunk(3)
    assert not tracker.should_skip_chunk(1)
    assert [tracker.get_chunk_offset(chunk_id) for chunk_id in (0, 1, 3)] == [24, 0, 8]


def test_an_epoch_ends_with_empty_chunks_and_the_next_number(tmp_path: Path) -> None:
    """`mark_epoch_complete` moves to the first chunk of the next epoch; steps and totals go on."""
    tracker = _tracker(tmp_path)
    _train(tracker)
    tracker.mark_epoch_complete()
    assert tracker.get_resume_position() == (1, -1, 0)
    assert not tracker.should_skip_chunk(0)
    assert tracker.get_statistics() == {
        "global_step": 2,
        "epoch": 1,
        "chunks_completed": 0,
        "chunks_begun": 0,
        "samples_this_epoch": 0,
        "total_samples_trained": 32,
    }


def test_an_update_of_another_epoch_forgets_the_chunks_of_the_last(tmp_path: Path) -> None:
    """Chunk progress is always that of one epoch, also when nobody marked its end."""
    tracker = _tracker(tmp_path)
    _train(tracker)
    tracker.update(global_step=3, epoch=1, chunk_id=1, offset=16, samples_in_batch=16, chunk_size=24)
    assert not tracker.should_skip_chunk(0)
    assert tracker.get_statistics()["samples_this_epoch"] == 16


def test_json_has_the_keys_that_others_read(tmp_path: Path) -> None:
    """The document on disk is the agreed one, with schema version and seed."""
    tracker = _tracker(tmp_path)
    _train(tracker)
    tracker.save()
    document = json.loads(tracker.path.read_text())
    document.pop("digest")
    assert document == {
        "schema_version": 1,
        "seed": 7,
        "global_step": 2,
        "epoch": 0,
        "current_chunk_id": 3,
        "current_offset": 8,
        "chunk_progress": {
            "0": {"chunk_id": 0, "samples_trained": 24, "last_offset": 24, "completed": True},
            "3": {"chunk_id": 3, "samples_trained": 8, "last_offset": 8, "completed": False},
        },
        "total_samples_trained": 32,
    }


def test_save_and_load_give_the_same_tracker(tmp_path: Path) -> None:
    """What was saved is loaded by a new tracker; where nothing was saved, `load` says so."""
    tracker = _tracker(tmp_path)
    assert not _tracker(tmp_path).load()
    _train(tracker)
    tracker.save()
    found = _tracker(tmp_path)
    assert found.load()
    assert found.state_dict() == tracker.state_dict()


def test_reset_forgets_everything(tmp_path: Path) -> None:
    """After a reset there is neither progress nor file."""
    tracker = _tracker(tmp_path)
    _train(tracker)
    tracker.save()
    tracker.reset()
    assert not tracker.has_progress()
    assert not tracker.path.exists()


def test_progress_of_another_order_is_refused(tmp_path: Path) -> None:
    """A position means something only with the seed that it was counted under."""
    tracker = _tracker(tmp_path)
    tracker.save()
    with pytest.raises(IntegrityError, match="belongs to seed 7, not to 8"):
        _tracker(tmp_path, seed=8).load()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"schema_version": 2}, "of format 2; this program"),
        ({"current_offset": -1}, "no training progress"),
        ({"surprise": 1}, "no training progress"),
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path: Path, change: dict[str, int], what: str) -> None:
    """Unknown versions, impossible numbers and unknown keys are integrity errors."""
    tracker = _tracker(tmp_path)
    with pytest.raises(IntegrityError, match=what):
        tracker.load_state_dict({**tracker.state_dict(), **change})


def test_altered_file_is_found(tmp_path: Path) -> None:
    """A changed number in the file is not believed."""
    tracker = _tracker(tmp_path)
    _train(tracker)
    tracker.save()
    tracker.path.write_text(tracker.path.read_text().replace('"global_step": 2', '"global_step": 9'))
    with pytest.raises(IntegrityError):
        tracker.load()
