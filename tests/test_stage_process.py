"""A stage in a process of its own fails, stops and dies as it would in this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import RecordingReporter, make_context

from pipeline.config import RuntimeOptions, StageConfig
from pipeline.errors import Interrupted, StageFailed
from pipeline.events import Kind
from pipeline.interrupts import StopFlag
from pipeline.stage import StageContext, StageResult
from pipeline.stage_process import StageProcess
from pipeline.stream import Stream


class NothingConfig(StageConfig):
    """Nothing to set."""


class PickyError(Exception):
    """Cannot be made again from its message alone."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}, because {why}")


@dataclass
class Doing:
    """Does what its word says."""

    word: str
    config: NothingConfig = field(default_factory=NothingConfig)
    name: str = "doing"
    version: int = 1
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reruns_on_code_change: bool = False

    def execute(self, context: StageContext) -> StageResult:
        """Release one output, then end as asked."""
        context.release("one", {"pid": os.getpid()})
        context.info("at work")
        match self.word:
            case "picky":
                raise PickyError("it failed", "of this")
            case "plain":
                raise StageFailed("it failed", code="T0001", hint="do that")
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "stops":
                while not context.stop.is_set:
                    os.sched_yield()
                context.stop.check(where="its first line")
        return StageResult(outputs=[], metrics={"answer": 42})


class AnyStream(Stream):
    """Takes the same output from one process after the other."""

    def put(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep the newest."""
        self._released[name] = facts


def _process(
    word: str, root: Path, *, stop: StopFlag | None = None, reporter: RecordingReporter | None = None, grace: float = 30
) -> tuple[StageProcess, AnyStream]:
    stop, stage = stop or StopFlag(), Doing(word)
    runtime = RuntimeOptions(grace_seconds=grace)
    context = make_context(stage, root, reporter=reporter, stop=stop, runtime=runtime)
    stream = AnyStream(stage.name, {}, stop=stop)
    return StageProcess(stage, context, stream=stream), stream


def test_result_events_and_outputs_come_here(tmp_path: Path) -> None:
    """The result of the stage is returned, its events are told, and what it releases is in the stream."""
    reporter = RecordingReporter()
    process, stream = _process("works", tmp_path, reporter=reporter)
    assert process.result().metrics == {"answer": 42}
    assert reporter.texts(Kind.INFO) == ["at work"]
    assert stream.wait_for("one", on_wait=lambda: None)["pid"] != os.getpid()


def test_errors_are_raised_here_with_their_hint(tmp_path: Path) -> None:
    """An error of the stage is raised as it was, once."""
    with pytest.raises(StageFailed, match="it failed") as caught:
        _process("plain", tmp_path)[0].result()
    assert caught.value.hint == "do that"


def test_an_error_that_cannot_be_made_again_is_told_all_the_same(tmp_path: Path) -> None:
    """What it says comes over, though its class does not."""
    with pytest.raises(StageFailed, match="PickyError: it failed, because of this"):
        _process("picky", tmp_path)[0].result()


def test_three_lost_processes_are_enough(tmp_path: Path) -> None:
    """A process that is killed is replaced twice, aloud; the third is taken for a reason."""
    reporter = RecordingReporter()
    with pytest.raises(StageFailed, match="died with exit code -9"):
        _process("dies", tmp_path, reporter=reporter)[0].result()
    assert len(reporter.texts(Kind.WARNING)) == 2


@dataclass
class StoppingReporter(RecordingReporter):
    """Asks for a stop as soon as the stage is at work."""

    ask: Callable[[], None]

    def __post_init__(self) -> None:
        super().__init__()

    def emit(self, event: Any) -> None:
        """Keep `event`, and ask."""
        super().emit(event)
        self.ask()


def test_a_stop_reaches_the_stage(tmp_path: Path) -> None:
    """It ends where the stage says, with the signal that was sent here."""
    stop = StopFlag()
    with pytest.raises(Interrupted, match="stopped by SIGINT at its first line"):
        _process("stops", tmp_path, stop=stop, reporter=StoppingReporter(lambda: stop.set(signal.SIGINT)))[0].result()


def test_what_fails_elsewhere_is_what_ended_the_stage(tmp_path: Path) -> None:
    """No signal came, so none is told: the error is, the very one."""
    stop, error = StopFlag(), StageFailed("training failed", code="T0001")
    with pytest.raises(StageFailed) as caught:
        _process("stops", tmp_path, stop=stop, reporter=StoppingReporter(lambda: stop.fail(error)))[0].result()
    assert caught.value is error


def test_a_process_that_hangs_does_not_use_up_the_grace(tmp_path: Path) -> None:
    """After half of the time that SIGTERM leaves it is killed, and the run is interrupted, not failed."""
    stop = StopFlag()
    with pytest.raises(Interrupted, match="SIGTERM"):
        reporter = StoppingReporter(lambda: stop.set(signal.SIGTERM))
        _process("hangs", tmp_path, stop=stop, reporter=reporter, grace=0.2)[0].result()
