"""Part 1 of the GPU check: a training that is killed ends as one that never was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gpu_check_ledger import OutOfTimeError
from gpu_check_setting import Setting, finish, kill

from pipeline.fingerprint import digest_file


def resume(setting: Setting, *, is_deterministic: bool, compile_wish: str) -> dict[str, Any]:
    """Train a few epochs once as a whole and once with kills; return whether samples and weights are the same."""
    settings = {
        "data_generation__dataset_size": setting.pick(1024, tiny=32),
        "data_generation__validation_size": setting.pick(64, tiny=8),
        "training__epochs": setting.pick(3, tiny=1),
        "training__deterministic": is_deterministic,
        "training__compile": compile_wish,
        "runtime__sample_log": True,
        "runtime__checkpoint_interval_steps": setting.pick(8, tiny=2),
    }
    whole, cut = (_fresh(setting.workspace / name) for name in ("resume-whole", "resume-cut"))
    _finish(setting, whole, settings)
    kills = []
    for step in (11, 29) if not setting.is_tiny else (2,):
        process = setting.start(cut.name, until="training", **settings)
        if not finish_or(process, lambda step=step: len(_samples(cut)) >= step):
            kills.append(max(_samples(cut)))
    _finish(setting, cut, settings)
    if not kills:
        raise RuntimeError("the training was over before it could be killed")
    expected, found = _samples(whole), _samples(cut)
    return {
        "kills_after_step": kills,
        "num_steps": len(expected),
        "is_same_samples": expected == found,
        "is_same_weights": _weights(whole) == _weights(cut),
    }


def finish_or(process: Any, is_time: Any) -> bool:
    """Wait for a run, and kill it as soon as `is_time` says so; return whether it came to its end before."""
    while process.poll() is None:
        if is_time():
            kill(process)
            return False
    return finish(process, until=lambda: False)


def _finish(setting: Setting, workspace: Path, settings: dict[str, Any]) -> None:
    process = setting.start(workspace.name, until="training", **settings)
    if not finish(process, until=lambda: setting.seconds_left() < 0):
        raise OutOfTimeError("time ran out")


def _fresh(workspace: Path) -> Path:
    shutil.rmtree(workspace, ignore_errors=True)
    return workspace


def _samples(workspace: Path) -> dict[int, list[int]]:
    """Return the samples of each step; of one that was taken twice, those of the last time."""
    path = workspace / "logs" / "samples.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {line["global_step"]: line["sample_ids"] for line in lines}


def _weights(workspace: Path) -> str:
    return digest_file(next((workspace / "results").glob("*/model.safetensors")))
