"""What each adapter of a tracker keeps of a run, with its real package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tracked_runs import PYTHON, RUN, TESTS, add_points, begin_run, end_run, give_time, trackers_of

from pipeline import secrets
from pipeline.events import Event, Kind

_ADAPTERS = ("tensorboard", "wandb", "mlflow", "trackio")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file of MLflow without runs: to make one takes longer than all else."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    code = f"from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([PYTHON, "-c", code], check=True, capture_output=True)
    return path


@pytest.fixture(params=_ADAPTERS)
def adapter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the name of each adapter whose package is installed, with time enough on a busy machine."""
    name: str = request.param
    if name == "tensorboard":
        pytest.importorskip(name)
    elif not PYTHON.exists():
        pytest.skip("the packages of trackers are not installed: make .bench/trackers/.installed")
    elif name == "mlflow":
        (tmp_path / "logs").mkdir()
        shutil.copy(request.getfixturevalue("database"), tmp_path / "logs")
    give_time(monkeypatch, 120.0)
    return name


def _contents(root: Path, adapter: str) -> dict[str, Any]:
    """Return what the tracker has of each run of this name, by id."""
    python = sys.executable if adapter == "tensorboard" else str(PYTHON)
    words = [python, str(TESTS / "tracker_contents.py"), adapter, str(root / "logs"), RUN]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert all(name.startswith(RUN) for name in found)
    return found


def _only(found: dict[str, Any]) -> dict[str, Any]:
    [run] = found.values()
    return dict(run)


def _curve(steps: Iterable[int], *, scale: float = 1.0) -> list[list[Any]]:
    return [[step, pytest.approx(scale / step)] for step in steps]


def test_it_keeps_curves_figures_settings_and_files(adapter: str, tmp_path: Path) -> None:
    """Every finite value at its step, the figures of each stage, the settings, and what the run made."""
    reporters = begin_run(trackers_of(tmp_path, adapter))
    add_points(reporters, range(1, 10))
    end_run(reporters, tmp_path)
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
    reporters = begin_run(trackers_of(tmp_path, adapter))
    add_points(reporters, range(1, 8))
    reporters.emit(Event(Kind.INTERRUPTED, "training", {"signal": 15, "where": "step 7"}))
    reporters.close()
    assert adapter not in ("wandb", "mlflow") or _only(_contents(tmp_path, adapter))["status"] == "not done"
    reporters = begin_run(trackers_of(tmp_path, adapter), action="resume", reason="INTERRUPTED")
    add_points(reporters, range(5, 10))
    end_run(reporters, tmp_path)
    assert _only(_contents(tmp_path, adapter))["curves"] == {
        "loss": _curve(range(1, 10)),
        "validation_ap": [[4, 0.25], [8, 0.5]],
    }


def test_a_step_that_is_taken_back_is_shown_once(adapter: str, tmp_path: Path) -> None:
    """Training that returns to its last checkpoint within a run takes steps twice."""
    reporters = begin_run(trackers_of(tmp_path, adapter))
    add_points(reporters, [1, 2, 3, 2, 3, 5])
    end_run(reporters, tmp_path)
    assert _only(_contents(tmp_path, adapter))["curves"]["loss"] == _curve([1, 2, 3, 5])


def test_what_is_done_from_zero_replaces_what_was_there(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard hides the earlier curves; the others begin a run of a new id, and continue that one later."""
    for scale, steps, reason in ((1.0, range(1, 6), "NEVER_RAN"), (2.0, range(1, 3), "FORCED")):
        monkeypatch.setattr("time.strftime", lambda _, scale=scale: f"20261121_00000{scale:.0f}")
        reporters = begin_run(trackers_of(tmp_path, adapter), reason=reason)
        add_points(reporters, steps, scale=scale)
        reporters.close()
    reporters = begin_run(trackers_of(tmp_path, adapter), action="resume", reason="INTERRUPTED")
    add_points(reporters, range(2, 5), scale=2.0)
    end_run(reporters, tmp_path)
    found = _contents(tmp_path, adapter)
    runs = [run["curves"]["loss"] for _, run in sorted(found.items())]
    assert runs[-1] == _curve(range(1, 5), scale=2.0)
    if adapter != "tensorboard":
        assert runs[:-1] == [_curve(range(1, 6))]


def test_it_never_sees_a_secret(adapter: str, tmp_path: Path) -> None:
    """Settings and events are cleaned before they come to any tracker: no file of it has the value."""
    secrets.keep(["MY_TOKEN"], {"MY_TOKEN": "token-abcdef"})
    try:
        reporters = begin_run(trackers_of(tmp_path, adapter))
        reporters.emit(Event(Kind.METRICS, "training", {"step": 1, "loss": 1.0, "of token-abcdef": 1.0}))
        end_run(reporters, tmp_path)
    finally:
        secrets.keep([], {})
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found
    assert not [path for path in found if b"token-abcdef" in path.read_bytes()]


def test_all_that_it_keeps_is_in_the_folder_of_logs(adapter: str, tmp_path: Path) -> None:
    """Nothing is written elsewhere in the workspace, and what is of the run alone lies in folders of its name."""
    reporters = begin_run(trackers_of(tmp_path, adapter))
    add_points(reporters, range(1, 3))
    end_run(reporters, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"logs", "results"}
    assert {path.name for path in (tmp_path / "results").rglob("*") if path.is_file()} == {
        "model.safetensors",
        "report.html",
    }
    assert (tmp_path / "logs/trackers" / RUN).is_dir()
    own = {"tensorboard": f"tensorboard/{RUN}", "wandb": f"wandb/{RUN}", "mlflow": "mlflow.db", "trackio": "trackio"}
    assert (tmp_path / "logs" / own[adapter]).exists()


def test_without_a_network_nothing_is_missing(adapter: str, tmp_path: Path) -> None:
    """In a network namespace of its own, where not even the loopback answers, the same is kept."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    wrapper = tmp_path / "python"
    python = sys.executable if adapter == "tensorboard" else str(PYTHON)
    wrapper.write_text(f'#!/bin/sh\nexec unshare -rn {python} "$@"\n')
    wrapper.chmod(0o755)
    reporters = begin_run(trackers_of(tmp_path, adapter, tracker_python=str(wrapper)))
    add_points(reporters, range(1, 4))
    end_run(reporters, tmp_path)
    assert _only(_contents(tmp_path, adapter))["curves"]["loss"] == _curve(range(1, 4))
