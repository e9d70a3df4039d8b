"""Saving: all of the state, only when something happened, and never a bad step over good ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_task import tiny_config, tiny_stage

from stages.training.guard import BadStepError
from stages.training.progress import PROGRESS_NAME
from stages.training.saving import Saver
from stages.training.session import Session, open_session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a session that has not begun, with a checkpoint due every second step."""
    _, context = tiny_stage(tmp_path, checkpoint_interval_steps=2)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), manifest_path=manifest) as session:
        yield session


def _step(session: Session, step: int, *, loss: float = 1.0) -> None:
    """Pretend a step."""
    session.learner.average.after_step()
    session.guard.observe(loss=torch.tensor(loss), norm=torch.tensor(1.0), step=step, sample_ids=[4, 2])
    session.tracker.update(global_step=step, epoch=0, chunk_id=0, offset=step, samples_in_batch=1, chunk_size=7)


def test_checkpoint_holds_all_that_the_next_step_reads(session: Session) -> None:
    """Each part of the state is in the files, by name; the progress has a document of its own."""
    saver = Saver(session)
    _step(session, 1)
    saver.save(is_final=False)
    [checkpoint] = session.store.checkpoints()
    files = {path.name for path in checkpoint.path.iterdir()}
    assert files >= {"model.safetensors", "ema.safetensors", "rng.safetensors", PROGRESS_NAME}
    parts = json.loads((checkpoint.path / "trainer_state.json").read_text())["parts"]
    assert parts.keys() == {
        *("model", "optimizer", "schedule", "ema", "scaler", "history"),
        *("losses", "guard", "skipped", "skipped_validation", "rng"),
    }
    facts = checkpoint.metadata
    assert (facts.global_step, facts.epoch, facts.chunk_id, facts.offset) == (1, 0, 0, 1)
    assert facts.environment["num_threads"] == torch.get_num_threads()


def test_nothing_new_is_not_saved_again(session: Session) -> None:
    """At the same point a second checkpoint would only take room; nor is the start saved."""
    saver = Saver(session)
    saver.save(is_final=False)
    assert not session.store.checkpoints()
    _step(session, 1)
    saver.save(is_final=False)
    saver.save(is_final=False)
    assert len(session.store.checkpoints()) == 1


def test_checkpoints_between_mini_epochs_are_due_by_steps(session: Session) -> None:
    """Every second step, as the options of this run say."""
    saver = Saver(session)
    due = []
    for step in range(1, 5):
        _step(session, step)
        due.append(saver.is_due())
    assert due == [False, True, False, True]


def test_checkpoints_between_mini_epochs_are_due_by_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds after the last checkpoint, or after the start, the next one is due; making it starts the clock."""
    _, context = tiny_stage(tmp_path, checkpoint_interval_seconds=10)
    [manifest] = context.input_paths("data_generation", "manifest")
    now = 0.0
    with open_session(context, tiny_config(), manifest_path=manifest) as session:
        monkeypatch.setattr(session.telemetry, "_clock", lambda: now)
        session.telemetry.after_save()
        saver, due = Saver(session), []
        for step in range(1, 6):
            _step(session, step)
            now += 5.0
            due.append(saver.is_due())
            if due[-1]:
                saver.save(is_final=False)
    assert due == [False, True, False, True, False]


def test_bad_step_is_found_before_it_is_saved(session: Session) -> None:
    """Weights that are not finite, and steps that were not yet looked at, raise instead of being saved."""
    saver = Saver(session)
    _step(session, 1)
    saver.save(is_final=False)
    _step(session, 2)
    with torch.no_grad():
        next(session.learner.model.parameters()).fill_(float("inf"))
    with pytest.raises(BadStepError, match=r"the weights are not finite at step 2 \(samples 4, 2\)"):
        saver.save(is_final=False)
    assert [checkpoint.metadata.global_step for checkpoint in session.store.checkpoints()] == [1]


def test_unchecked_steps_are_checked_before_a_save(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA several steps are checked together: what is left of them is, too, before anything is saved."""
    monkeypatch.setattr(session.guard, "_window", 16)
    _step(session, 1)
    saver = Saver(session)
    _step(session, 2, loss=float("nan"))
    with pytest.raises(BadStepError, match="the loss is nan at step 2"):
        saver.save(is_final=False)
    assert not session.store.checkpoints()
