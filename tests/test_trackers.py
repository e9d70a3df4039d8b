"""Trackers: what each adapter keeps of a run with its real package, and that none of them can disturb one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_trackers import VERBS

from pipeline import secrets
from pipeline.config import RuntimeOptions
from pipeline.events import Event, Kind, Reporters
from pipeline.trackers import feeder, process
from pipeline.trackers.reporter import Trackers
from pipeline.workspace import Workspace

_TESTS = Path(__file__).parent
_PYTHON = _TESTS.parent / ".bench" / "trackers" / "bin" / "python"
_RUN = "toy-0123abcd"
_ADAPTERS = ("tensorboard", "wandb", "mlflow", "trackio")
_KEEPING = "fake_trackers:Keeping"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file of MLflow without runs: to make one takes longer than all else."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    code = f"from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([_PYTHON, "-c", code], check=True, capture_output=True)
    return path


@pytest.fixture(params=_ADAPTERS)
def adapter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the name of each adapter whose package is installed, with time enough on a busy machine."""
    name: str = request.param
    if name == "tensorboard":
        pytest.importorskip(name)
    elif not _PYTHON.exists():
        pytest.skip("the packages of trackers are not installed: make .bench/trackers/.installed")
    elif name == "mlflow":
        (tmp_path / "logs").mkdir()
        shutil.copy(request.getfixturevalue("database"), tmp_path / "logs")
    _give_time(monkeypatch, 120.0)
    return name


def _give_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(process, "FINISH_SECONDS", seconds)


class _Told(list[str]):
    """What the user is told."""

    def __call__(self, text: str) -> None:
        self.append(text)


def _trackers(root: Path, *names: str, told: _Told | None = None, **runtime: Any) -> Trackers:
    python = "" if ":" in names[0] or "tensorboard" in names else str(_PYTHON)
    options = RuntimeOptions(trackers=names, **{"tracker_python": python, **runtime})
    config = {"training.lr": 0.25, "training.note": "my token-abcdef"}
    return Trackers(options, config=config, workspace=Workspace.at(root), tell=told if told is not None else _fail)


def _fail(text: str) -> None:
    raise AssertionError(text)


def _begin(trackers: Trackers, *, reason: str = "NEVER_RAN", action: str = "run") -> Reporters:
    """Tell that a run starts and what its first stage came to; the second is then at work."""
    reporters = Reporters(trackers)
    reporters.emit(Event(Kind.RUN_STARTED, "", {"run": _RUN}))
    reporters.emit(Event(Kind.STAGE_STARTED, "data", {"action": "run"}))
    metrics = {"images": 3, "deep": {"a b": 0.5}, "is_new": True, "history": [1, 2], "nothing": None}
    reporters.emit(Event(Kind.STAGE_FINISHED, "data", {"metrics": metrics, "outputs": []}))
    reporters.emit(Event(Kind.DECISION, "training", {"action": action, "reason": reason}))
    reporters.emit(Event(Kind.STAGE_STARTED, "training", {"action": action}))
    return reporters


def _points(reporters: Reporters, steps: Iterable[int], *, scale: float = 1.0) -> None:
    for step in steps:
        reporters.emit(Event(Kind.METRICS, "training", {"step": step, "loss": scale / step, "lr": float("nan")}))
        if step % 4 == 0:
            reporters.emit(Event(Kind.METRICS, "training", {"step": step, "validation_ap": step / 16}))


def _end(reporters: Reporters, root: Path) -> None:
    """Tell that the second stage is done, with its weights, and the run."""
    weights = Workspace.at(root).results / _RUN / "model.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    weights.with_name("report.html").write_text("report")
    outputs = [f"results/{_RUN}/model.safetensors"]
    reporters.emit(Event(Kind.STAGE_FINISHED, "training", {"metrics": {"steps": 9}, "outputs": outputs}))
    reporters.emit(Event(Kind.RUN_FINISHED, "", {}))
    reporters.close()


def _contents(root: Path, adapter: str) -> dict[str, Any]:
    """Return what the tracker has of each run of this name, by id."""
    python = sys.executable if adapter == "tensorboard" else str(_PYTHON)
    words = [python, str(_TESTS / "tracker_contents.py"), adapter, str(root / "logs"), _RUN]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert all(name.startswith(_RUN) for name in found)
    return found


def _only(found: dict[str, Any]) -> dict[str, Any]:
    [run] = found.values()
    return dict(run)


def _curve(steps: Iterable[int], *, scale: float = 1.0) -> list[list[Any]]:
    return [[step, pytest.approx(scale / step)] for step in steps]


def _kept(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "logs/kept.jsonl").read_text().splitlines()]


def test_it_keeps_curves_figures_settings_and_files(adapter: str, tmp_path: Path) -> None:
    """Every finite value at its step, the figures of each stage, the settings, and what the run made."""
    reporters = _begin(_trackers(tmp_path, adapter))
    _points(reporters, range(1, 10))
    _end(reporters, tmp_path)
    run = _only(_contents(tmp_path, adapter))
    assert run["curves"] == {"loss": _curve(range(1, 10)), "validation_ap": [[4, 0.25], [8, 0.5]]}
    assert run["figures"] == {"data/images": 3, "data/deep/a b": 0.5, "training/steps": 9}
    if adapter != "tensorboard":  # which keeps neither
        assert str(run["config"]["training.lr"]) == "0.25"
        assert adapter == "trackio" or {"model.safetensors", "report.html"} <= set(run["files"])
    if adapter in ("wandb", "mlflow"):
        assert run["status"] == "done"


def test_after_a_resume_steps_continue_under_the_same_id(adapter: str, tmp_path: Path) -> None:
    """Steps after the checkpoint that is continued from are taken again, and each is there once."""
    reporters = _begin(_trackers(tmp_path, adapter))
    _points(reporters, range(1, 8))
    reporters.emit(Event(Kind.INTERRUPTED, "training", {"signal": 15, "where": "step 7"}))
    reporters.close()
    assert adapter not in ("wandb", "mlflow") or _only(_contents(tmp_path, adapter))["status"] == "not done"
    reporters = _begin(_trackers(tmp_path, adapter), action="resume", reason="INTERRUPTED")
    _points(reporters, range(5, 10))
    _end(reporters, tmp_path)
    assert _only(_contents(tmp_path, adapter))["curves"] == {
        "loss": _curve(range(1, 10)),
        "validation_ap": [[4, 0.25], [8, 0.5]],
    }


def test_a_step_that_is_taken_back_is_shown_once(adapter: str, tmp_path: Path) -> None:
    """Training that returns to its last checkpoint within a run takes steps twice."""
    reporters = _begin(_trackers(tmp_path, adapter))
    _points(reporters, [1, 2, 3, 2, 3, 5])
    _end(reporters, tmp_path)
    assert _only(_contents(tmp_path, adapter))["curves"]["loss"] == _curve([1, 2, 3, 5])


def test_what_is_done_from_zero_replaces_what_was_there(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard hides the earlier curves; the others begin a run of a new id, and continue that one later."""
    for scale, steps, reason in ((1.0, range(1, 6), "NEVER_RAN"), (2.0, range(1, 3), "FORCED")):
        monkeypatch.setattr("time.strftime", lambda _, scale=scale: f"20261121_00000{scale:.0f}")
        reporters = _begin(_trackers(tmp_path, adapter), reason=reason)
        _points(reporters, steps, scale=scale)
        reporters.close()
    reporters = _begin(_trackers(tmp_path, adapter), action="resume", reason="INTERRUPTED")
    _points(reporters, range(2, 5), scale=2.0)
    _end(reporters, tmp_path)
    found = _contents(tmp_path, adapter)
    runs = [run["curves"]["loss"] for _, run in sorted(found.items())]
    assert runs[-1] == _curve(range(1, 5), scale=2.0)
    if adapter != "tensorboard":
        assert runs[:-1] == [_curve(range(1, 6))]


def test_it_never_sees_a_secret(adapter: str, tmp_path: Path) -> None:
    """Settings and events are cleaned before they come to any tracker: no file of it has the value."""
    secrets.keep(["MY_TOKEN"], {"MY_TOKEN": "token-abcdef"})
    try:
        reporters = _begin(_trackers(tmp_path, adapter))
        reporters.emit(Event(Kind.METRICS, "training", {"step": 1, "loss": 1.0, "of token-abcdef": 1.0}))
        _end(reporters, tmp_path)
    finally:
        secrets.keep([], {})
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found
    assert not [path for path in found if b"token-abcdef" in path.read_bytes()]


def test_a_secret_among_settings_or_errors_reaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a tracker of one's own is told its name only, and so is the user when one fails with it in its words."""
    _give_time(monkeypatch, 60.0)
    secrets.keep(["MY_TOKEN"], {"MY_TOKEN": "token-abcdef"})
    told = _Told()
    try:
        _end(_begin(_trackers(tmp_path, _KEEPING, "fake_trackers:Raising_finish", told=told)), tmp_path)
    finally:
        secrets.keep([], {})
    assert _kept(tmp_path)[0]["config"]["training.note"] == "my [secret MY_TOKEN]"
    assert "says [secret MY_TOKEN]" in told[0]


def test_all_that_it_keeps_is_in_the_folder_of_logs(adapter: str, tmp_path: Path) -> None:
    """Nothing is written elsewhere in the workspace, and what is of the run alone lies in folders of its name."""
    reporters = _begin(_trackers(tmp_path, adapter))
    _points(reporters, range(1, 3))
    _end(reporters, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"logs", "results"}
    assert {path.name for path in (tmp_path / "results").rglob("*") if path.is_file()} == {
        "model.safetensors",
        "report.html",
    }
    assert (tmp_path / "logs/trackers" / _RUN).is_dir()
    own = {"tensorboard": f"tensorboard/{_RUN}", "wandb": f"wandb/{_RUN}", "mlflow": "mlflow.db", "trackio": "trackio"}
    assert (tmp_path / "logs" / own[adapter]).exists()


def test_without_a_network_nothing_is_missing(adapter: str, tmp_path: Path) -> None:
    """In a network namespace of its own, where not even the loopback answers, the same is kept."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    wrapper = tmp_path / "python"
    python = sys.executable if adapter == "tensorboard" else str(_PYTHON)
    wrapper.write_text(f'#!/bin/sh\nexec unshare -rn {python} "$@"\n')
    wrapper.chmod(0o755)
    reporters = _begin(_trackers(tmp_path, adapter, tracker_python=str(wrapper)))
    _points(reporters, range(1, 4))
    _end(reporters, tmp_path)
    assert _only(_contents(tmp_path, adapter))["curves"]["loss"] == _curve(range(1, 4))


@pytest.mark.parametrize("kind", ["Raising", "Dying", "Full"])
@pytest.mark.parametrize("verb", VERBS)
def test_one_that_fails_is_told_of_once(tmp_path: Path, monkeypatch: Any, kind: str, verb: str) -> None:
    """Whatever a tracker does in whichever verb: one sentence, and the others miss nothing."""
    _give_time(monkeypatch, 60.0)
    told = _Told()
    reporters = _begin(_trackers(tmp_path, f"fake_trackers:{kind}_{verb}", _KEEPING, told=told))
    _points(reporters, range(1, 10))
    _end(reporters, tmp_path)
    [text] = told
    assert text.startswith(f"the tracker fake_trackers:{kind}_{verb}: ")
    assert text.endswith("; the run goes on without it")
    assert {"Raising": "RuntimeError: no", "Dying": "exit code 7", "Full": "No space left"}[kind] in text
    kept = _kept(tmp_path)
    assert [each["values"]["loss"] for each in kept if "loss" in each.get("values", {})] == _losses(range(1, 10))
    assert [each["name"] for each in kept if each["verb"] == "artifact"] == ["model.safetensors", "report.html"]
    assert kept[-1] == {"verb": "finish", "status": "done"}


def _losses(steps: Iterable[int]) -> list[Any]:
    return [pytest.approx(1 / step) for step in steps]


@pytest.mark.parametrize("verb", VERBS)
def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: Any, verb: str) -> None:
    """It has its seconds to finish, is ended and told of; what waited for it held nobody up."""
    _give_time(monkeypatch, 0.5)
    told = _Told()
    trackers = _trackers(tmp_path, f"fake_trackers:Hanging_{verb}", told=told)
    reporters = _begin(trackers)
    _points(reporters, range(1, 30_000))  # more than pipe and queue hold
    _end(reporters, tmp_path)
    [text] = told
    assert "did not finish within 0.5 s" in text
    assert not [each for each in psutil.Process().children() if "trackers" in " ".join(each.cmdline())]


def test_what_there_is_no_room_for_is_counted(tmp_path: Path, monkeypatch: Any) -> None:
    """A queue that is full takes nothing more; how much that was is told at the end."""
    _give_time(monkeypatch, 60.0)
    monkeypatch.setattr(feeder, "_MOST_WAITING", 50)
    (tmp_path / "logs").mkdir()
    os.mkfifo(gate := tmp_path / "logs/gate")
    told = _Told()
    reporters = _begin(_trackers(tmp_path, "fake_trackers:Gated", told=told))
    for step in range(1, 5000):
        reporters.emit(Event(Kind.METRICS, "training", {"step": step, **{f"name{each}": 1.0 for each in range(50)}}))
    with gate.open("w"):
        gate.unlink()
    reporters.close()
    [text] = told
    num_kept = sum(each["verb"] == "log" and each["step"] is not None for each in _kept(tmp_path))
    assert f"{4999 - num_kept} points of curves were not given to it" in text


def test_one_that_talks_is_not_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Stdout belongs to results, stderr to what the run says; a tracker may print as much as it likes."""
    _give_time(monkeypatch, 20.0)
    reporters = _begin(_trackers(tmp_path, "fake_trackers:Talking_log"))
    _points(reporters, range(1, 4))
    _end(reporters, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_one_that_has_died_is_told_of_while_the_run_goes_on_and_not_again(tmp_path: Path) -> None:
    """What comes after its death finds nobody, which is told once, and what ends the run changes nothing of that."""
    told = _Told()
    trackers = _trackers(tmp_path, "fake_trackers:Dying_start", told=told)
    reporters = _begin(trackers)
    _points(reporters, [1])
    [fed] = trackers._feeders
    while fed._process is None:
        os.sched_yield()
    fed._process.wait()
    while not told:
        _points(reporters, [2])
    _end(reporters, tmp_path)
    assert [text for text in told if "exit code 7" in text] == told
    assert len(told) == 1


def test_a_run_that_is_killed_leaves_a_tracker_that_finishes(tmp_path: Path) -> None:
    """SIGKILL for the run: its tracker takes what it was given, says "killed", and goes."""
    code = (
        "import os, psutil, sys; from pathlib import Path; import test_trackers as t; "
        "r = t._begin(t._trackers(Path(sys.argv[1]), t._KEEPING)); t._points(r, range(1, 6)); "
        "f = r._reporters[0]._feeders[0]\n"
        "while f._waiting or f._process is None: pass\n"
        "print(f._process.pid, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), str(_TESTS.parent)])}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment) as run:
        assert run.stdout is not None
        tracker = psutil.Process(int(run.stdout.readline()))
        run.send_signal(signal.SIGKILL)
    psutil.wait_procs([tracker], timeout=60)
    kept = _kept(tmp_path)
    assert [each["values"]["loss"] for each in kept if "loss" in each.get("values", {})] == _losses(range(1, 6))
    assert kept[-1] == {"verb": "finish", "status": "killed"}


def test_a_run_that_finds_everything_done_starts_no_tracker(tmp_path: Path) -> None:
    """Nothing is started, written or imported for it."""
    trackers = _trackers(tmp_path, _KEEPING)
    for event in (
        Event(Kind.RUN_STARTED, "", {"run": _RUN}),
        Event(Kind.DECISION, "training", {"action": "skip", "reason": "UP_TO_DATE"}),
        Event(Kind.RUN_FINISHED, "", {}),
    ):
        trackers.emit(event)
    trackers.close()
    assert not list(tmp_path.iterdir())


def test_a_run_without_curves_does_not_start_tensorboard(tmp_path: Path) -> None:
    """It would show nothing, and a short run would wait for it; with the first point it gets what came before, too."""
    pytest.importorskip("tensorboard")
    _end(_begin(_trackers(tmp_path, "tensorboard")), tmp_path)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(("name", "is_told"), [("wandb", True), ("tensorboard", False)])
def test_one_that_is_not_installed_is_told_of_if_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_told: bool
) -> None:
    """TensorBoard is the default and nobody misses it; for the others it is said how to install them."""
    monkeypatch.setattr("pipeline.trackers.catalog.find_spec", lambda _: None)
    told = _Told()
    reporters = _begin(_trackers(tmp_path, name, told=told, tracker_python=""))
    _end(reporters, tmp_path)
    assert ["pip install 'stage-pipeline[wandb]'" in text for text in told] == [True] * is_told


def test_tensorboard_false_means_what_it_did(tmp_path: Path) -> None:
    """Settings that are older than the list of trackers are understood."""
    options = RuntimeOptions(tensorboard=False)
    trackers = Trackers(options, config={}, workspace=Workspace.at(tmp_path), tell=_fail)
    reporters = _begin(trackers)
    _points(reporters, [1])
    _end(reporters, tmp_path)
    assert not (tmp_path / "logs").exists()
