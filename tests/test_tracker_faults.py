"""No tracker can disturb a run, whatever it does, and none that is not wanted is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_trackers import VERBS
from tracked_runs import (
    KEEPING,
    RUN,
    TESTS,
    Told,
    add_points,
    begin_run,
    end_run,
    fail,
    give_time,
    kept_in,
    losses_at,
    trackers_of,
)

from pipeline import secrets
from pipeline.config import RuntimeOptions
from pipeline.events import Event, Kind
from pipeline.trackers import feeder
from pipeline.trackers.reporter import Trackers
from pipeline.workspace import Workspace


def test_a_secret_among_settings_or_errors_reaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a tracker of one's own is told its name only, and so is the user when one fails with it in its words."""
    give_time(monkeypatch, 60.0)
    secrets.keep(["MY_TOKEN"], {"MY_TOKEN": "token-abcdef"})
    told = Told()
    try:
        end_run(begin_run(trackers_of(tmp_path, KEEPING, "fake_trackers:Raising_finish", told=told)), tmp_path)
    finally:
        secrets.keep([], {})
    assert kept_in(tmp_path)[0]["config"]["training.note"] == "my [secret MY_TOKEN]"
    assert "says [secret MY_TOKEN]" in told[0]


@pytest.mark.parametrize("kind", ["Raising", "Dying", "Full"])
@pytest.mark.parametrize("verb", VERBS)
def test_one_that_fails_is_told_of_once(tmp_path: Path, monkeypatch: Any, kind: str, verb: str) -> None:
    """Whatever a tracker does in whichever verb: one sentence, and the others miss nothing."""
    give_time(monkeypatch, 60.0)
    told = Told()
    reporters = begin_run(trackers_of(tmp_path, f"fake_trackers:{kind}_{verb}", KEEPING, told=told))
    add_points(reporters, range(1, 10))
    end_run(reporters, tmp_path)
    [text] = told
    assert text.startswith(f"the tracker fake_trackers:{kind}_{verb}: ")
    assert text.endswith("; the run goes on without it")
    assert {"Raising": "RuntimeError: no", "Dying": "exit code 7", "Full": "No space left"}[kind] in text
    kept = kept_in(tmp_path)
    assert [each["values"]["loss"] for each in kept if "loss" in each.get("values", {})] == losses_at(range(1, 10))
    assert [each["name"] for each in kept if each["verb"] == "artifact"] == ["model.safetensors", "report.html"]
    assert kept[-1] == {"verb": "finish", "status": "done"}


@pytest.mark.parametrize("verb", VERBS)
def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: Any, verb: str) -> None:
    """It has its seconds to finish, is ended and told of; what waited for it held nobody up."""
    give_time(monkeypatch, 0.5)
    told = Told()
    trackers = trackers_of(tmp_path, f"fake_trackers:Hanging_{verb}", told=told)
    reporters = begin_run(trackers)
    add_points(reporters, range(1, 30_000))  # more than pipe and queue hold
    end_run(reporters, tmp_path)
    [text] = told
    assert "did not finish within 0.5 s" in text
    assert not [each for each in psutil.Process().children() if "trackers" in " ".join(each.cmdline())]


def test_what_there_is_no_room_for_is_counted(tmp_path: Path, monkeypatch: Any) -> None:
    """A queue that is full takes nothing more; how much that was is told at the end."""
    give_time(monkeypatch, 60.0)
    monkeypatch.setattr(feeder, "_MOST_WAITING", 50)
    (tmp_path / "logs").mkdir()
    os.mkfifo(gate := tmp_path / "logs/gate")
    told = Told()
    reporters = begin_run(trackers_of(tmp_path, "fake_trackers:Gated", told=told))
    for step in range(1, 5000):
        reporters.emit(Event(Kind.METRICS, "training", {"step": step, **{f"name{each}": 1.0 for each in range(50)}}))
    with gate.open("w"):
        gate.unlink()
    reporters.close()
    [text] = told
    num_kept = sum(each["verb"] == "log" and each["step"] is not None for each in kept_in(tmp_path))
    assert f"{4999 - num_kept} points of curves were not given to it" in text


def test_one_that_talks_is_not_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Stdout belongs to results, stderr to what the run says; a tracker may print as much as it likes."""
    give_time(monkeypatch, 20.0)
    reporters = begin_run(trackers_of(tmp_path, "fake_trackers:Talking_log"))
    add_points(reporters, range(1, 4))
    end_run(reporters, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_one_that_has_died_is_told_of_while_the_run_goes_on_and_not_again(tmp_path: Path) -> None:
    """What comes after its death finds nobody, which is told once, and what ends the run changes nothing of that."""
    told = Told()
    trackers = trackers_of(tmp_path, "fake_trackers:Dying_start", told=told)
    reporters = begin_run(trackers)
    add_points(reporters, [1])
    [fed] = trackers._feeders
    while fed._process is None:
        os.sched_yield()
    fed._process.wait()
    while not told:
        add_points(reporters, [2])
    end_run(reporters, tmp_path)
    assert [text for text in told if "exit code 7" in text] == told
    assert len(told) == 1


def test_a_run_that_is_killed_leaves_a_tracker_that_finishes(tmp_path: Path) -> None:
    """SIGKILL for the run: its tracker takes what it was given, says "killed", and goes."""
    code = (
        "import os, psutil, sys; from pathlib import Path; import tracked_runs as t; "
        "r = t.begin_run(t.trackers_of(Path(sys.argv[1]), t.KEEPING)); t.add_points(r, range(1, 6)); "
        "f = r._reporters[0]._feeders[0]\n"
        "while f._waiting or f._process is None: pass\n"
        "print(f._process.pid, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment) as run:
        assert run.stdout is not None
        tracker = psutil.Process(int(run.stdout.readline()))
        run.send_signal(signal.SIGKILL)
    psutil.wait_procs([tracker], timeout=60)
    kept = kept_in(tmp_path)
    assert [each["values"]["loss"] for each in kept if "loss" in each.get("values", {})] == losses_at(range(1, 6))
    assert kept[-1] == {"verb": "finish", "status": "killed"}


def test_a_run_that_finds_everything_done_starts_no_tracker(tmp_path: Path) -> None:
    """Nothing is started, written or imported for it."""
    trackers = trackers_of(tmp_path, KEEPING)
    for event in (
        Event(Kind.RUN_STARTED, "", {"run": RUN}),
        Event(Kind.DECISION, "training", {"action": "skip", "reason": "UP_TO_DATE"}),
        Event(Kind.RUN_FINISHED, "", {}),
    ):
        trackers.emit(event)
    trackers.close()
    assert not list(tmp_path.iterdir())


def test_a_run_without_curves_does_not_start_tensorboard(tmp_path: Path) -> None:
    """It would show nothing, and a short run would wait for it; with the first point it gets what came before, too."""
    pytest.importorskip("tensorboard")
    end_run(begin_run(trackers_of(tmp_path, "tensorboard")), tmp_path)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(("name", "is_told"), [("wandb", True), ("tensorboard", False)])
def test_one_that_is_not_installed_is_told_of_if_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_told: bool
) -> None:
    """TensorBoard is the default and nobody misses it; for the others it is said how to install them."""
    monkeypatch.setattr("pipeline.trackers.catalog.find_spec", lambda _: None)
    told = Told()
    reporters = begin_run(trackers_of(tmp_path, name, told=told, tracker_python=""))
    end_run(reporters, tmp_path)
    assert ["pip install 'stage-pipeline[wandb]'" in text for text in told] == [True] * is_told


def test_tensorboard_false_means_what_it_did(tmp_path: Path) -> None:
    """Settings that are older than the list of trackers are understood."""
    options = RuntimeOptions(tensorboard=False)
    trackers = Trackers(options, config={}, workspace=Workspace.at(tmp_path), tell=fail)
    reporters = begin_run(trackers)
    add_points(reporters, [1])
    end_run(reporters, tmp_path)
    assert not (tmp_path / "logs").exists()
