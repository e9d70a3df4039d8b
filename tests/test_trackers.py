"""What each adapter of a tracker keeps of a run, with its real package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tracked_runs import PYTHON, RUN, TESTS, add_points, begin_run, end_run, give_time, trackers_of

from pipeline import secrets
from pipeline.events import Event, Kind

_ADAPTERS = ("tensorboard", "wandb", "mlflow", "trackio")
_SECRET = "token-abcdef"  # noqa: S105 - a made-up value, which stands among the settings of these runs

Contents = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file of MLflow without runs: to make one takes longer than all else."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    code = f"from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([PYTHON, "-c", code], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module", params=_ADAPTERS)
def installed(request: pytest.FixtureRequest) -> str:
    """Give the name of each adapter whose package is installed."""
    name: str = request.param
    if name == "tensorboard":
        pytest.importorskip(name)
    elif not PYTHON.exists():
        pytest.skip("the packages of trackers are not installed: make .bench/trackers/.installed")
    return name


@pytest.fixture
def adapter(installed: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give its name, with time enough on a busy machine."""
    _prepare(tmp_path, installed, request)
    give_time(monkeypatch, 120.0)
    return installed


def _prepare(root: Path, adapter: str, request: pytest.FixtureRequest) -> None:
    if adapter == "mlflow":
        (root / "logs").mkdir()
        shutil.copy(request.getfixturevalue("database"), root / "logs")


def _python(adapter: str) -> str:
    return sys.executable if adapter == "tensorboard" else str(PYTHON)


@pytest.fixture(scope="module")
def contents(installed: str) -> Iterator[Contents]:
    """Give what returns all that the tracker has of each run of our name, by id: to load it takes longer than all."""
    words = [_python(installed), str(TESTS / "tracker_contents.py")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(root: Path) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{json.dumps([installed, str(root / 'logs'), RUN])}\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            assert all(name.startswith(RUN) for name in found)
            return found

        yield ask
        assert process.stdin is not None
        process.stdin.close()


@dataclass(frozen=True)
class Kept:
    """A workspace after a run, and whether its tracker was in a network namespace of its own."""

    root: Path
    is_cut_off: bool


@pytest.fixture(scope="module")
def kept(installed: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Give what is left of a run with a secret, whose tracker had no network where that can be taken from it."""
    root, wrapper = tmp_path_factory.mktemp("kept"), tmp_path_factory.mktemp("wrapper") / "python"
    is_cut_off = not subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode
    wrapper.write_text(f'#!/bin/sh\nexec {"unshare -rn" if is_cut_off else ""} {_python(installed)} "$@"\n')
    wrapper.chmod(0o755)
    _prepare(root, installed, request)
    secrets.keep(["MY_TOKEN"], {"MY_TOKEN": _SECRET})
    try:
        with pytest.MonkeyPatch.context() as patch:
            give_time(patch, 120.0)
            reporters = begin_run(trackers_of(root, installed, tracker_python=str(wrapper)))
            add_points(reporters, range(1, 10))
            reporters.emit(Event(Kind.METRICS, "training", {"step": 10, f"of {_SECRET}": 1.0}))
            end_run(reporters, root)
    finally:
        secrets.keep([], {})
    return Kept(root, is_cut_off)


def _only(found: dict[str, Any]) -> dict[str, Any]:
    [run] = found.values()
    return dict(run)


def _curve(steps: Iterable[int], *, scale: float = 1.0) -> list[list[Any]]:
    return [[step, pytest.approx(scale / step)] for step in steps]


def test_it_keeps_curves_figures_settings_and_files(installed: str, kept: Kept, contents: Contents) -> None:
    """Every finite value at its step, the figures of each stage, the settings, and what the run made."""
    run = _only(contents(kept.root))
    [hidden] = [name for name in run["curves"] if "MY_TOKEN" in name]
    assert run["curves"].pop(hidden) == [[10, 1.0]]
    assert run["curves"] == {"loss": _curve(range(1, 10)), "validation_ap": [[4, 0.25], [8, 0.5]]}
    assert run["figures"] == {"data/images": 3, "data/deep/a b": 0.5, "training/steps": 9}
    if installed != "tensorboard":  # which keeps neither
        assert str(run["config"]["training.lr"]) == "0.25"
        assert installed == "trackio" or {"model.safetensors", "report.html"} <= set(run["files"])
    if installed in ("wandb", "mlflow"):
        assert run["status"] == "done"


def test_after_a_resume_steps_continue_under_the_same_id(adapter: str, contents: Contents, tmp_path: Path) -> None:
    """Steps after the checkpoint that is continued from are taken again, and each is there once."""
    reporters = begin_run(trackers_of(tmp_path, adapter))
    add_points(reporters, range(1, 8))
    reporters.emit(Event(Kind.INTERRUPTED, "training", {"signal": 15, "where": "step 7"}))
    reporters.close()
    assert adapter not in ("wandb", "mlflow") or _only(contents(tmp_path))["status"] == "not done"
    reporters = begin_run(trackers_of(tmp_path, adapter), action="resume", reason="INTERRUPTED")
    add_points(reporters, range(5, 10))
    end_run(reporters, tmp_path)
    assert _only(contents(tmp_path))["curves"] == {
        "loss": _curve(range(1, 10)),
        "validation_ap": [[4, 0.25], [8, 0.5]],
    }


def test_a_step_that_is_taken_back_is_shown_once(adapter: str, contents: Contents, tmp_path: Path) -> None:
    """Training that returns to its last checkpoint within a run takes steps twice."""
    reporters = begin_run(trackers_of(tmp_path, adapter))
    add_points(reporters, [1, 2, 3, 2, 3, 5])
    end_run(reporters, tmp_path)
    assert _only(contents(tmp_path))["curves"]["loss"] == _curve([1, 2, 3, 5])


def test_what_is_done_from_zero_replaces_what_was_there(
    adapter: str, contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    found = contents(tmp_path)
    runs = [run["curves"]["loss"] for _, run in sorted(found.items())]
    assert runs[-1] == _curve(range(1, 5), scale=2.0)
    if adapter != "tensorboard":
        assert runs[:-1] == [_curve(range(1, 6))]


def test_it_never_sees_a_secret(kept: Kept) -> None:
    """Settings and events are cleaned before they come to any tracker: no file of it has the value."""
    found = [path for path in kept.root.rglob("*") if path.is_file()]
    assert found
    assert not [path for path in found if _SECRET.encode() in path.read_bytes()]


def test_all_that_it_keeps_is_in_the_folder_of_logs(installed: str, kept: Kept) -> None:
    """Nothing is written elsewhere in the workspace, and what is of the run alone lies in folders of its name."""
    assert {path.name for path in kept.root.iterdir()} == {"logs", "results"}
    assert {path.name for path in (kept.root / "results").rglob("*") if path.is_file()} == {
        "model.safetensors",
        "report.html",
    }
    assert (kept.root / "logs/trackers" / RUN).is_dir()
    own = {"tensorboard": f"tensorboard/{RUN}", "wandb": f"wandb/{RUN}", "mlflow": "mlflow.db", "trackio": "trackio"}
    assert (kept.root / "logs" / own[installed]).exists()


def test_without_a_network_nothing_is_missing(kept: Kept, contents: Contents) -> None:
    """In a network namespace of its own, where not even the loopback answers, the same is kept."""
    if not kept.is_cut_off:
        pytest.skip("no network namespaces here")
    assert _only(contents(kept.root))["curves"]["loss"] == _curve(range(1, 10))
