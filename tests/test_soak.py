"""The soak itself: it kills, it knows what it hit, and it finds what is wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from soak_cycle import moments
from soak_trace import Phase, Trace, came_out, left_behind, most_steps_lost, num_checkpoints, wrong_samples

_BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
_SMALL = ("data_generation.dataset_size=80", "data_generation.validation_size=20", "data_generation.test_size=20")
_CYCLE = 8528  # aims at just these four: data generation, a validation, a save, evaluation
_CHECKPOINT = "checkpoint-step{:06d}-loss5.2634-20261121_104036"
_BOUNDARIES = frozenset({5, 10})


def test_a_cycle_of_kills_ends_as_without_them(tmp_path: Path) -> None:
    """A few kills of a small run end with the bytes of the run never killed, and the table counts them."""
    settings = [word for setting in _SMALL for word in ("--set", setting)]
    command = [sys.executable, str(_BENCHMARKS / "soak.py"), "--cycle", str(_CYCLE), "--jobs", "1", *settings]
    done = subprocess.run([*command, "--workspaces", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, num_kills, num_cycles, num_same, num_other, _ = done.stdout.strip().splitlines()[-1].split("|")
    assert 1 <= int(num_kills) <= 4
    assert (int(num_cycles), int(num_same), int(num_other)) == (1, 1, 0)
    assert list(tmp_path.iterdir()) == []


def test_moments_follow_from_the_seed() -> None:
    """The same seed gives the same moments, and each phase is aimed at while it can still come."""
    drawn = moments(random.Random("1-1"), num_kills=50)  # noqa: S311 - a seed, not a secret
    assert drawn == moments(random.Random("1-1"), num_kills=50)  # noqa: S311 - a seed, not a secret
    aimed = [moment for moment in drawn if moment.phase not in {None, Phase.START_UP}]
    for earlier, later in pairwise(aimed):
        assert earlier.phase is not None
        assert not later.is_past(earlier.phase)


def _write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _event(kind: str, stage: str, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "stage": stage, "data": data}


def _write_steps(workspace: Path, *steps: int) -> None:
    lines = [{"epoch": 0, "global_step": step, "sample_ids": [2 * step, 2 * step + 1]} for step in steps]
    _write_lines(workspace / "logs" / "samples.jsonl", lines)


def _make_folder(workspace: Path, name: str) -> None:
    (workspace / "checkpoints" / "training" / "0123" / name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("step", "validated", "folders", "phase"),
    [
        (0, 0, [], Phase.LOADING),
        (0, 0, [_CHECKPOINT.format(5)], Phase.LOADING),
        (3, 0, [], Phase.STEP),
        (5, 0, [], Phase.VALIDATION),
        (5, 5, [], Phase.BOUNDARY),
        (5, 5, [".tmp-0123456789ab-" + _CHECKPOINT.format(5)], Phase.SAVE),
        (5, 5, [_CHECKPOINT.format(5)], Phase.BOUNDARY),
        (7, 5, [_CHECKPOINT.format(7), ".tmp-0123456789ab-" + _CHECKPOINT.format(5)], Phase.ROTATION),
        (10, 10, [_CHECKPOINT.format(10)], Phase.DELIVERY),
    ],
)
def test_phase_of_training_is_told_from_the_disk(
    tmp_path: Path, step: int, validated: int, folders: list[str], phase: Phase
) -> None:
    """Steps, validations and checkpoint folders tell in which part of training a process died."""
    _write_lines(tmp_path / "logs" / "events.jsonl", [_event("stage_finished", "evaluation")])
    trace = Trace(tmp_path, boundaries=_BOUNDARIES)
    assert trace.phase() is Phase.START_UP  # what an earlier process wrote says nothing of this one
    _write_lines(tmp_path / "logs" / "events.jsonl", [_event("stage_started", "training")])
    if step:
        _write_steps(tmp_path, step)
    if validated:
        _write_lines(tmp_path / "logs" / "events.jsonl", [_event("metrics", "training", step=5, validation_ap=0.1)])
        _write_lines(
            tmp_path / "logs" / "events.jsonl", [_event("metrics", "training", step=validated, validation_ap=0)]
        )
    for folder in folders:
        _make_folder(tmp_path, folder)
    assert trace.phase() is phase


def test_phase_follows_the_stages(tmp_path: Path) -> None:
    """The stage that was begun last is the phase, until it has finished."""
    trace = Trace(tmp_path, boundaries=_BOUNDARIES)
    seen = []
    for kind, stage in [("stage_started", "data_generation"), ("stage_finished", "data_generation")]:
        _write_lines(tmp_path / "logs" / "events.jsonl", [_event(kind, stage)])
        seen.append(trace.phase())
    _write_lines(tmp_path / "logs" / "events.jsonl", [_event("stage_started", "evaluation")])
    assert [*seen, trace.phase()] == [Phase.DATA, Phase.BETWEEN, Phase.EVALUATION]


def test_another_end_is_found(tmp_path: Path) -> None:
    """A flipped bit of the weights, another figure and another sample each change what came out, under their name."""
    weights = tmp_path / "results" / "quick-0123" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    record = tmp_path / "checkpoints" / "training" / "0123.json"
    _write_lines(record, [{"metrics": {"loss": 1.0}, "finished_at": "today"}])
    _write_steps(tmp_path, 1, 2)
    before = came_out(tmp_path)
    weights.write_bytes(b"weighus")
    record.write_text(json.dumps({"metrics": {"loss": 1.5}, "finished_at": "tomorrow"}))
    _write_steps(tmp_path, 3)
    after = came_out(tmp_path)
    differing = {name for name in before if after[name] != before[name]}
    assert differing == {"results/quick-0123/model.safetensors", "metrics of training", "samples of each step"}


def test_lost_and_repeated_work_is_found(tmp_path: Path) -> None:
    """The steps that a kill cost are counted, and an epoch with a sample twice or left out is named."""
    _write_steps(tmp_path, 1, 2, 3, 2, 3, 4)
    assert most_steps_lost(tmp_path) == 2
    assert wrong_samples(tmp_path) == []
    line = {"epoch": 1, "global_step": 5, "sample_ids": [2, 3, 4, 5, 6, 7, 8, 8]}
    _write_lines(tmp_path / "logs" / "samples.jsonl", [line])
    assert wrong_samples(tmp_path) == ["epoch 1 took 8 samples, 7 different ones, of 8"]


def test_leftovers_are_found(tmp_path: Path) -> None:
    """Temporaries and set-aside folders are left behind, and do not count as checkpoints."""
    half, aside = ".tmp-0123456789ab-" + _CHECKPOINT.format(10), _CHECKPOINT.format(5) + ".corrupt-0"
    for name in (half, aside, _CHECKPOINT.format(7)):
        _make_folder(tmp_path, name)
    assert {Path(name).name for name in left_behind(tmp_path)} == {half, aside}
    assert num_checkpoints(tmp_path) == 1
