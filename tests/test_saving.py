"""Saving: all of the state, only when something happened, and never a bad step over good ones."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest
import torch
from fakes import RecordingReporter
from tiny_task import tiny_config, tiny_stage

from pipeline import files
from pipeline.disk import Disk
from pipeline.events import Kind
from pipeline.interrupts import StopFlag
from pipeline.stream import Stream, Withheld
from stages.chunks.reader import Batch
from stages.training.cadence import Cadence
from stages.training.checkpoints import METADATA_NAME
from stages.training.data import load_data
from stages.training.guard import BadStepError
from stages.training.loop import train
from stages.training.progress import PROGRESS_NAME, ResumePosition, TrainingProgressTracker
from stages.training.saving import Saver
from stages.training.session import Session, open_session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a session that has not begun, with a checkpoint due every second step."""
    _, context = tiny_stage(tmp_path, checkpoint_interval_steps=2)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        yield session


def _step(session: Session, step: int, *, loss: float = 1.0) -> None:
    """Pretend a step."""
    session.learner.average.after_step()
    session.guard.observe(loss=torch.tensor(loss), norm=torch.tensor(1.0), step=step, sample_ids=[4, 2])
    session.tracker.update(global_step=step, epoch=0, chunk_id=0, offset=step, samples_in_batch=1, chunk_size=7)


def _save(saver: Saver) -> None:
    """Save, and wait until it is durable."""
    saver.save(is_final=False)
    saver.finish()


def test_a_checkpoint_that_is_durable_is_told(session: Session) -> None:
    """With its step, its size, and how long it took."""
    saver = Saver(session)
    for step in (1, 2):
        _step(session, step)
    saver.save(is_final=False)
    saver.finish()
    reporter = session.context.reporter
    assert isinstance(reporter, RecordingReporter)
    [told] = reporter.of(Kind.CHECKPOINT)
    [checkpoint] = session.store.checkpoints()
    files = [path for path in checkpoint.path.iterdir() if path.name != METADATA_NAME]
    assert (told["step"], told["num_bytes"]) == (2, sum(path.stat().st_size for path in files))
    assert told["seconds"] == round(saver.write_seconds, 3)


def test_chunks_behind_a_checkpoint_are_told_with_it(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA they are told later than they end, and a run that goes on from there would not tell of them again."""
    monkeypatch.setattr(session.chunk_log, "_is_read_at_once", False)
    saver = Saver(session)
    _step(session, 7)
    session.chunk_log.end_chunk(0, loss=torch.tensor(0.5))
    _save(saver)
    reporter = session.context.reporter
    assert isinstance(reporter, RecordingReporter)
    assert [data["done"] for data in reporter.of(Kind.CHUNK)] == [1]


def test_checkpoint_holds_all_that_the_next_step_reads(session: Session) -> None:
    """Each part of the state is in the files, by name; the progress has a document of its own."""
    saver = Saver(session)
    _step(session, 1)
    _save(saver)
    [checkpoint] = session.store.checkpoints()
    files = {path.name for path in checkpoint.path.iterdir()}
    assert files >= {"model.safetensors", "ema.safetensors", "rng.safetensors", PROGRESS_NAME}
    parts = json.loads((checkpoint.path / "trainer_state.json").read_text())["parts"]
    assert parts.keys() == {
        *("model", "optimizer", "schedule", "ema", "scaler", "history"),
        *("losses", "guard", "micro_batches", "environments", "skipped", "skipped_validation", "ground", "rng"),
    }
    facts = checkpoint.metadata
    assert (facts.global_step, facts.epoch, facts.chunk_id, facts.offset) == (1, 0, 0, 1)
    assert facts.environment["num_threads"] == torch.get_num_threads()


def test_nothing_new_is_not_saved_again(session: Session) -> None:
    """At the same point a second checkpoint would only take room; nor is the start saved."""
    saver = Saver(session)
    _save(saver)
    assert not session.store.checkpoints()
    _step(session, 1)
    _save(saver)
    _save(saver)
    assert len(session.store.checkpoints()) == 1


def test_checkpoints_between_mini_epochs_are_due_by_steps(session: Session) -> None:
    """Every second step, as the options of this run say."""
    saver = Saver(session)
    due = []
    for step in range(1, 5):
        _step(session, step)
        due.append(saver.is_due())
    assert due == [False, True, False, True]


def test_checkpoints_between_mini_epochs_are_due_by_seconds(tmp_path: Path) -> None:
    """Ten seconds after the last checkpoint, or after the start, the next one is due; making it starts the clock."""
    now = 0.0
    stop = StopFlag(clock=lambda: now)
    _, context = tiny_stage(tmp_path, stop=stop, checkpoint_interval_seconds=10)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        saver, due = Saver(session), []
        for step in range(1, 6):
            _step(session, step)
            now += 5.0
            saver.after_step()
            saver.finish()
            due.append(saver.is_due())
            if due[-1]:
                _save(saver)
    assert due == [False, True, False, True, False]


def test_live_copy_is_written_every_second_and_at_saves(tmp_path: Path) -> None:
    """People see where training is, without an fsync for each step."""
    now = 0.0
    stop = StopFlag(clock=lambda: now)
    _, context = tiny_stage(tmp_path, stop=stop)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        saver, copies = Saver(session), []
        copy = TrainingProgressTracker(session.tracker.path, seed=tiny_config().seed)
        for step in range(1, 31):
            _step(session, step)
            now += 0.125
            saver.after_step()
            saver.finish()
            copy.load()
            copies.append(copy.global_step)
        assert sorted(set(copies)) == [0, 8, 16, 24]
        _step(session, 31)
        _save(saver)
        copy.load()
        assert copy.global_step == 31


def test_bad_step_is_found_before_it_is_saved(session: Session) -> None:
    """A state that is not finite, and steps that were not yet looked at, raise instead of being saved."""
    saver = Saver(session)
    _step(session, 1)
    _save(saver)
    _step(session, 2)
    with torch.no_grad():
        next(session.learner.model.parameters()).fill_(float("inf"))
    with pytest.raises(BadStepError, match=r"model/0\.weight is not finite at step 2 \(samples 4, 2\)"):
        _save(saver)
    assert [checkpoint.metadata.global_step for checkpoint in session.store.checkpoints()] == [1]
    folders = [path for path in session.store.folder.iterdir() if path.is_dir()]
    assert len(folders) == 1  # nor is anything of it left, which was written meanwhile


def test_unchecked_steps_are_checked_before_a_save(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA several steps are checked together: what is left of them is, too, before anything is saved."""
    monkeypatch.setattr(session.guard, "_window", 16)
    _step(session, 1)
    saver = Saver(session)
    _step(session, 2, loss=float("nan"))
    with pytest.raises(BadStepError, match="the loss is nan at step 2"):
        _save(saver)
    assert not session.store.checkpoints()


@dataclass
class _SlowDisk(Disk):
    """A disk on which a checkpoint takes six seconds, by a clock that nobody waits for."""

    now: float = 100.0

    def rename(self, source: Path, target: Path) -> None:
        """Take six seconds for a folder."""
        self.now += 6 if source.is_dir() else 0
        super().rename(source, target)


@pytest.mark.parametrize(("grace", "is_saved"), [(30.0, True), (10.0, True), (9.0, True), (8.9, False), (2.0, False)])
def test_save_that_would_not_end_before_sigkill_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: float, is_saved: bool
) -> None:
    """It must fit half as long again as the longest so far; otherwise the last checkpoint stands, and that is told."""
    disk, reporter = _SlowDisk(), RecordingReporter()
    monkeypatch.setattr(files, "disk", disk)
    stop = StopFlag(clock=lambda: disk.now)
    _, context = tiny_stage(tmp_path, stop=stop, reporter=reporter, grace_seconds=grace)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        saver = Saver(session)
        _step(session, 1)
        _save(saver)
        _step(session, 2)
        _step(session, 3)
        stop.set(signal.SIGTERM)
        _save(saver)
        assert [each.metadata.global_step for each in session.store.checkpoints()] == ([1, 3] if is_saved else [1])
        told = "; it goes on from the checkpoint of step 1, and 2 steps will be done again"
        assert saver.lost_steps == ("" if is_saved else told)
    warned = f"not saved: {grace:.1f} s are left of the {grace:g} s between SIGTERM and SIGKILL"
    assert [text.partition(" (")[0] for text in reporter.texts(Kind.WARNING)] == ([] if is_saved else [warned])


def test_ctrl_c_and_a_first_save_are_given_all_the_time_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing kills after SIGINT; and while no save was timed, trying is all that can be done: it is atomic."""
    disk = _SlowDisk()
    monkeypatch.setattr(files, "disk", disk)
    stop = StopFlag(clock=lambda: disk.now)
    _, context = tiny_stage(tmp_path, stop=stop, grace_seconds=1)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        saver = Saver(session)
        stop.set(signal.SIGINT)
        for step in (1, 2):
            _step(session, step)
            _save(saver)
        stop.set(signal.SIGTERM)
        disk.now += 5
        fresh = Saver(session)
        _step(session, 3)
        _save(fresh)
        assert [each.metadata.global_step for each in session.store.checkpoints()] == [1, 2, 3]


@pytest.mark.parametrize("is_awaited", [True, False])
def test_waiting_for_data_is_no_part_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_awaited: bool
) -> None:
    """A minute until a chunk was made is no cost of a save; a loader that takes as long counts."""
    now, seconds = 0.0, list[float]()
    stop = StopFlag(clock=lambda: now)
    _, context = tiny_stage(tmp_path, stop=stop)
    [manifest] = context.input_paths("data_generation", "manifest")
    stream = Stream("data_generation", {}, stop=stop)
    context = replace(context, streams={"data_generation": stream} if is_awaited else {})
    monkeypatch.setattr(Cadence, "after_step", lambda _, step_seconds: seconds.append(step_seconds))
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        following = session.feed.next

        def after_a_minute(position: ResumePosition) -> Batch | None:
            nonlocal now
            now += 60.0
            return following(position)

        monkeypatch.setattr(session.feed, "next", after_a_minute)
        train(session)
    assert len(seconds) == 15
    assert set(seconds) == {0.0} if is_awaited else min(seconds) >= 60.0


def test_failed_save_ends_the_waiting_for_data(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that waits for a chunk sees the error of a save in flight at once, not when the chunk is there."""
    is_begun = Event()

    def fail(*_: object) -> None:
        is_begun.wait(timeout=30)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stop = session.context.stop
    stream = Stream("data_generation", {}, stop=stop)
    errors = list[Exception | None]()
    with pytest.raises(OSError, match="No space left"), Saver(session) as saver:
        _step(session, 1)
        monkeypatch.setattr(session.store, "save", fail)
        saver.save(is_final=False)
        work = saver._background._work
        is_begun.set()
        wait([work] if work else [], timeout=30)
        errors.append(stop.error)
    assert [type(error) for error in errors] == [OSError]
    with pytest.raises(Withheld):
        stream.wait_for("chunk", on_wait=pytest.fail)


def test_bad_step_of_a_save_in_flight_stops_nothing(session: Session) -> None:
    """It is gone back from: whatever else is at work beside training goes on."""
    with pytest.raises(BadStepError), Saver(session) as saver:
        _step(session, 1)
        with torch.no_grad():
            next(session.learner.model.parameters()).fill_(float("inf"))
        saver.save(is_final=False)
    assert not session.context.stop.is_set
