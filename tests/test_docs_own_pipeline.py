"""The pipeline of one's own that the documentation shows: every command of its page, and that it goes on exactly."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from line_fit import PIPELINE
from raise_sites import ROOT

from pipeline.config import RuntimeOptions
from pipeline.errors import Interrupted
from pipeline.events import Event, Kind
from pipeline.explanation import load_explanation
from pipeline.interrupts import StopFlag
from pipeline.orchestrator import Orchestrator
from pipeline.trackers.catalog import load_tracker
from pipeline.trackers.tracker import TrackedRun
from pipeline.workspace import Workspace

_FOLDER = ROOT / "docs" / "how-to" / "own_pipeline"
_PAGE = (ROOT / "docs" / "how-to" / "own-pipeline.md").read_text()
_SESSION = re.compile(r"^\$ pipeline (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
# what differs from day to day and from machine to machine
_VARYING = re.compile(r"\d+(\.\d+)?m?s\b|\d{4}-\d\d-\d\d|\d+(\.\d+)? [kMG]?B\b")


class _Stopping:
    """A reporter that asks for a stop when the fit has come to a step."""

    def __init__(self, stop: StopFlag, *, step: int) -> None:
        self._stop = stop
        self._step = step

    def emit(self, event: Event) -> None:
        """Look at the progress."""
        if event.kind is Kind.PROGRESS and event.data["done"] == self._step:
            self._stop.set(signal.SIGTERM)

    def close(self) -> None:
        """Nothing is held back."""


def _run(root: Path, *, stopped_at: int = 0) -> bytes:
    """Run the stages with their default settings and return the line."""
    stop = StopFlag()
    Orchestrator(
        PIPELINE.build({name: model() for name, model in PIPELINE.configs.items()}),
        workspace=Workspace.at(root),
        profile="default",
        runtime=RuntimeOptions(),
        reporter=_Stopping(stop, step=stopped_at),
        stop=stop,
    ).run()
    (line,) = root.glob("results/*/line.json")
    return line.read_bytes()


def _same(text: str) -> list[list[str]]:
    """Return the words of each line, without what differs from run to run."""
    return [_VARYING.sub("~", line).split() for line in text.splitlines()]


def test_every_command_of_the_page_says_what_the_page_says(tmp_path: Path) -> None:
    """In a copy of the folder, one after the other, as they stand there."""
    folder = shutil.copytree(_FOLDER, tmp_path / "line", ignore=shutil.ignore_patterns("__pycache__"))
    sessions = [
        each for block in re.findall(r"```console\n(.*?)```", _PAGE, re.DOTALL) for each in _SESSION.findall(block)
    ]
    assert len(sessions) == 5
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words, told in sessions:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *shlex.split(words)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said = done.stdout.replace(f"{Path(sys.executable).name} -m pipeline", "pipeline").replace("python -m ", "")
        assert _same(said) == _same(told), words
    assert "Points and line" in next(folder.glob("results/small-53*/report.html")).read_text()


@pytest.mark.parametrize("step", [1, 99, 100, 101, 499])
def test_it_goes_on_where_it_was_stopped(step: int, tmp_path: Path) -> None:
    """Stopped at any step and started again it draws the same line, and takes no step twice."""
    with pytest.raises(Interrupted, match=f"step {step} of 500"):
        _run(tmp_path / "stopped", stopped_at=step)
    (state,) = (tmp_path / "stopped").glob("checkpoints/fit/*/state.json")
    assert state.read_text().startswith(f"[{step}, ")
    assert _run(tmp_path / "stopped") == _run(tmp_path / "whole")


def test_the_tracker_of_the_page_keeps_curves_across_an_interruption(tmp_path: Path) -> None:
    """By the name that the page gives it; both parts of a run come into one file."""
    run = TrackedRun(id="small-1", name="small", project="p", config={}, logs=tmp_path / "logs", is_online=False)
    for step, status in ((1, "killed"), (2, "done")):
        tracker = load_tracker("csv_tracker:CsvTracker")
        tracker.start(run)
        tracker.log({"loss": 0.5 / step}, step=step)
        tracker.artifact(tmp_path / "line.json")
        tracker.finish(status)
    assert 'trackers = ["csv_tracker:CsvTracker"]' in (ROOT / "docs" / "how-to" / "trackers.md").read_text()
    rows = (tmp_path / "logs" / "small-1.csv").read_text().splitlines()
    assert rows == ["1,loss,0.5", ",status,killed", "2,loss,0.25", ",status,done"]


def test_its_error_is_explained_and_its_profiles_are_listed() -> None:
    """By files of the form that the program's own have."""
    assert PIPELINE.explanations
    explanation = load_explanation(PIPELINE.explanations / "LINE01.md")
    assert 'code="LINE01"' in (_FOLDER / "line_fit.py").read_text()
    example = [line for line in explanation.example.splitlines() if line.startswith(("error", "hint"))]
    assert "\n".join(example) in _PAGE
    assert {path.stem for path in PIPELINE.profiles.glob("*.toml")} == {"small", "large"}
