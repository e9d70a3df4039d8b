"""Saves in flight: whatever befalls training or the disk meanwhile, the end is that of a run that saves at once."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import RecordingReporter
from resume import StepReporter, ending, run_to_the_end
from tiny_task import TinyTask, tiny_config, tiny_stage

from pipeline import files
from pipeline.disk import Disk
from pipeline.errors import Interrupted, ResourceExhausted
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from stages.training import snapshot
from stages.training.background import Background
from stages.training.checkpoints import open_store
from stages.training.guard import BadStepError

_EVERY_STEP = {"checkpoint_interval_steps": 1, "keep_checkpoints": 100}


class GatedDisk(Disk):
    """Holds back the checkpoint of one step, before its first byte, until a gate is opened."""

    def __init__(self, step: int) -> None:
        self.gate = threading.Event()
        self.names: list[str] = []
        self._name = f"checkpoint-step{step:06d}-"

    def mkdir(self, path: Path) -> None:
        """Wait at the gate; nobody waits for ever."""
        if self._name in path.name:
            assert self.gate.wait(30), "the gate was not opened"
        super().mkdir(path)

    def rename(self, source: Path, target: Path) -> None:
        """Note which checkpoint has got its name."""
        if target.name.startswith("checkpoint-"):
            self.names.append(target.name[:21])
        super().rename(source, target)


class _Acting(RecordingReporter):
    """Does something when a step is told."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        super().__init__()
        self._step = step
        self._act = act

    def emit(self, event: Event) -> None:
        """Keep `event`, and act if it is of the step."""
        super().emit(event)
        if event.kind is Kind.METRICS and "loss" in event.data and event.data["step"] == self._step:
            self._act()


@pytest.fixture
def opened_by_waiting(monkeypatch: pytest.MonkeyPatch) -> GatedDisk:
    """Give a disk whose gate at step 5 is opened by whoever waits for the work in the background."""
    disk, wait = GatedDisk(5), Background.wait

    def open_and_wait(self: Background) -> None:
        if self.is_busy:
            disk.gate.set()
        wait(self)

    monkeypatch.setattr(Background, "wait", open_and_wait)
    monkeypatch.setattr(files, "disk", disk)
    return disk


def test_training_goes_on_while_a_save_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps are taken before the checkpoint of the first mini-epoch has its name, and it is of its own step."""
    expected = run_to_the_end(tmp_path / "at once", tiny_config(), background_saves=False)
    disk = GatedDisk(5)
    monkeypatch.setattr(files, "disk", disk)
    named: list[str] = []

    def open_gate() -> None:
        named.extend(disk.names)
        disk.gate.set()

    reporter = _Acting(8, open_gate)
    stage, context = tiny_stage(tmp_path / "meanwhile", reporter=reporter, sample_log=True, keep_checkpoints=100)
    assert ending(tmp_path / "meanwhile", context, stage.execute(context)) == expected
    assert named == []
    assert disk.gate.is_set()
    checkpoints = open_store(context).checkpoints()
    assert [item.metadata.global_step for item in checkpoints] == [5, 10, 15]
    alone = tiny_stage(tmp_path / "stopped", reporter=StepReporter())[1]
    run_to_the_end(tmp_path / "stopped", tiny_config(), background_saves=False, keep_checkpoints=100)
    assert checkpoints[0].read() == open_store(alone).checkpoints()[0].read()


def test_memory_is_not_used_again_before_it_is_written(tmp_path: Path, opened_by_waiting: GatedDisk) -> None:
    """A save that comes while another is in flight waits for it with its copy, not only with its writing."""
    once = tmp_path / "at once"
    opened_by_waiting.gate.set()
    run_to_the_end(once, tiny_config(), background_saves=False, **_EVERY_STEP)
    opened_by_waiting.gate.clear()
    run_to_the_end(tmp_path / "meanwhile", tiny_config(), **_EVERY_STEP)
    stores = [open_store(tiny_stage(root)[1]).checkpoints() for root in (once, tmp_path / "meanwhile")]
    for expected, found in zip(*stores, strict=True):
        assert found.read() == expected.read()


def test_saves_that_follow_closely_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one set of buffers: with a save after each step each checkpoint is whole, in order, and of its step."""
    once = run_to_the_end(tmp_path / "at once", tiny_config(), background_saves=False, **_EVERY_STEP)
    disk = GatedDisk(0)
    monkeypatch.setattr(files, "disk", disk)
    assert run_to_the_end(tmp_path / "meanwhile", tiny_config(), **_EVERY_STEP) == once
    assert disk.names == [f"checkpoint-step{step:06d}" for step in range(1, 16)]
    stores = [open_store(tiny_stage(tmp_path / name)[1]).checkpoints() for name in ("at once", "meanwhile")]
    for expected, found in zip(*stores, strict=True):
        assert found.read() == expected.read()


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, ResourceExhausted), (errno.EIO, OSError)])
@pytest.mark.parametrize("operation", ["write", "fsync", "rename"])
def test_what_a_save_in_flight_meets_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, error: type[Exception]
) -> None:
    """A full or broken disk is the same error as without a thread; what was saved before stands, and is continued."""
    expected = run_to_the_end(tmp_path / "undisturbed", tiny_config())
    stage, context = tiny_stage(tmp_path / "failed", sample_log=True)
    disk = Disk()

    def fail(*arguments: object) -> object:
        if open_store(context).checkpoints() and threading.current_thread() is not threading.main_thread():
            raise OSError(number, os.strerror(number))
        return getattr(Disk, operation)(disk, *arguments)

    with monkeypatch.context() as patch, pytest.raises(error) as caught:
        patch.setattr(files, "disk", disk)
        patch.setattr(disk, operation, fail)
        stage.execute(context)
    assert os.strerror(number).lower() in str(caught.value).lower()
    assert [item.metadata.global_step for item in open_store(context).checkpoints()] == [5]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")]
    assert run_to_the_end(tmp_path / "failed", tiny_config()) == expected


def test_sigterm_waits_for_the_save_in_flight_and_saves_again(tmp_path: Path, opened_by_waiting: GatedDisk) -> None:
    """A stop while a save is in flight leaves both checkpoints, the one in flight and that of the present step."""
    stop = StopFlag()
    stage, context = tiny_stage(tmp_path, reporter=StepReporter(stop=stop, stop_after=7), stop=stop, sample_log=True)
    with pytest.raises(Interrupted, match=r"\(step 7 of 15\)$"):
        stage.execute(context)
    assert [item.metadata.global_step for item in open_store(context).checkpoints()] == [5, 7]
    assert opened_by_waiting.names == ["checkpoint-step000005", "checkpoint-step000007"]


def test_going_back_waits_for_the_save_in_flight(
    tmp_path: Path, opened_by_waiting: GatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad step goes back to the newest checkpoint, which is the one that was in flight when it was found."""
    steps: list[list[int]] = []

    def fail_once(sample_ids: list[int]) -> None:
        steps.append(sample_ids)
        if len(steps) == 7:
            raise BadStepError("the loss is nan", step=7, sample_ids=sample_ids)

    monkeypatch.setattr(TinyTask, "on_losses", fail_once)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, reporter=reporter)
    stage.execute(context)
    [told] = [text for text in reporter.texts(Kind.INFO) if "continues from" in text]
    assert "checkpoint-step000005-" in told
    assert len(steps) == 7 + 10
    assert opened_by_waiting.names[0] == "checkpoint-step000005"


def test_memory_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers that cannot be made are exit code 6, with the checkpoints of before as they were."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried ...")

    stage, context = tiny_stage(tmp_path)
    monkeypatch.setattr(snapshot, "TensorFile", fail)
    with pytest.raises(ResourceExhausted, match="out of memory"):
        stage.execute(context)
