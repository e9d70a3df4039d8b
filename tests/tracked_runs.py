"""Runs as trackers are told of them, without a pipeline behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RuntimeOptions
from pipeline.events import Event, Kind, Reporters
from pipeline.trackers import process
from pipeline.trackers.reporter import Trackers
from pipeline.workspace import Workspace

TESTS = Path(__file__).parent
PYTHON = TESTS.parent / ".bench" / "trackers" / "bin" / "python"
RUN = "toy-0123abcd"
KEEPING = "fake_trackers:Keeping"


def give_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give trackers these seconds to finish."""
    monkeypatch.setattr(process, "FINISH_SECONDS", seconds)


class Told(list[str]):
    """What the user is told."""

    def __call__(self, text: str) -> None:
        """Keep it."""
        self.append(text)


def trackers_of(root: Path, *names: str, told: Told | None = None, **runtime: Any) -> Trackers:
    """Return the reporter of these trackers; what they tell fails the test, unless `told` takes it."""
    python = "" if ":" in names[0] or "tensorboard" in names else str(PYTHON)
    # A quarter of the grace is what trackers have after an interruption: time enough on a busy machine.
    options = RuntimeOptions(trackers=names, **{"tracker_python": python, "grace_seconds": 480.0, **runtime})
    config = {"training.lr": 0.25, "training.note": "my token-abcdef"}
    return Trackers(options, config=config, workspace=Workspace.at(root), tell=told if told is not None else fail)


def fail(text: str) -> None:
    """Fail with what was told."""
    raise AssertionError(text)


def begin_run(trackers: Trackers, *, reason: str = "NEVER_RAN", action: str = "run") -> Reporters:
    """Tell that a run starts and what its first stage came to; the second is then at work."""
    reporters = Reporters(trackers)
    reporters.emit(Event(Kind.RUN_STARTED, "", {"run": RUN}))
    reporters.emit(Event(Kind.STAGE_STARTED, "data", {"action": "run"}))
    metrics = {"images": 3, "deep": {"a b": 0.5}, "is_new": True, "history": [1, 2], "nothing": None}
    reporters.emit(Event(Kind.STAGE_FINISHED, "data", {"metrics": metrics, "outputs": []}))
    reporters.emit(Event(Kind.DECISION, "training", {"action": action, "reason": reason}))
    reporters.emit(Event(Kind.STAGE_STARTED, "training", {"action": action}))
    return reporters


def add_points(reporters: Reporters, steps: Iterable[int], *, scale: float = 1.0) -> None:
    """Tell of points of curves, one of which is no number."""
    for step in steps:
        reporters.emit(Event(Kind.METRICS, "training", {"step": step, "loss": scale / step, "lr": float("nan")}))
        if step % 4 == 0:
            reporters.emit(Event(Kind.METRICS, "training", {"step": step, "validation_ap": step / 16}))


def end_run(reporters: Reporters, root: Path) -> None:
    """Tell that the second stage is done, with its weights, and the run."""
    weights = Workspace.at(root).results / RUN / "model.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    weights.with_name("report.html").write_text("report")
    outputs = [f"results/{RUN}/model.safetensors"]
    reporters.emit(Event(Kind.STAGE_FINISHED, "training", {"metrics": {"steps": 9}, "outputs": outputs}))
    reporters.emit(Event(Kind.RUN_FINISHED, "", {}))
    reporters.close()


def kept_in(root: Path) -> list[dict[str, Any]]:
    """Return what the keeping tracker was called with."""
    return [json.loads(line) for line in (root / "logs/kept.jsonl").read_text().splitlines()]


def losses_at(steps: Iterable[int]) -> list[Any]:
    """Return the losses of these steps."""
    return [pytest.approx(1 / step) for step in steps]
