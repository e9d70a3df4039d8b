"""Part 4 of the GPU check: the whole professional run, by the pipeline's own command, with a SIGKILL in its middle."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from gpu_check_ledger import Ledger
from gpu_check_setting import Setting, kill

NAME = "whole-run"
_POLL_SECONDS = 0.25
_GRACE_SECONDS = 60.0
_STOPPED = 75
_KILL_AT = 0.4  # of all steps
_TARGETS = {"ap": 0.85, "ap50": 0.95}


def whole(setting: Setting, ledger: Ledger) -> dict[str, Any] | None:
    """Run, or go on with, the whole; return its figures, or None where it goes on with the next call."""
    notes = {"seconds": 0.0, "killed_after_step": 0, "seconds_to_targets": None, "peak_bytes": 0, **ledger.notes(NAME)}
    bytes_before = _used_bytes(setting)  # this program's own, for the most part what CUDA itself takes
    while True:
        process = _start(setting)
        code = _watch(process, setting, ledger, notes, bytes_before=bytes_before)
        if code == 0:
            return {**notes, **_results(setting)}
        if code is None:  # it was killed by this program, as planned
            continue
        if code != _STOPPED:
            raise RuntimeError(f"pipeline ended with {code}: see whole/gpu_check.log")
        return None


def _start(setting: Setting) -> subprocess.Popen[bytes]:
    real = f'[{{name="bongard_logo", path="{setting.real.resolve()}"}}]' if setting.real else "[]"
    return setting.start("whole", evaluation__real_data=real)


def training_seconds(workspace: Path) -> float:
    """Return for how long training has run, in all its runs, as their events tell; what a kill cuts off is left out."""
    seconds, newest = 0.0, None
    for event in _events(workspace):
        if event["kind"] == "run_started":
            newest = None  # whatever the run before it told last, it was over then
        elif event["stage"] == "training" and (newest is not None or event["kind"] == "stage_started"):
            moment = datetime.fromisoformat(event["time"]).timestamp()
            seconds += moment - (newest or moment)
            newest = moment
    return seconds


def _watch(
    process: subprocess.Popen[bytes], setting: Setting, ledger: Ledger, notes: dict[str, Any], *, bytes_before: int
) -> int | None:
    """Wait for the run and note time, memory and targets; return its exit code, None where it was killed."""
    before, began = float(notes["seconds"]), time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        notes["seconds"] = before + time.monotonic() - began
        notes["peak_bytes"] = max(int(notes["peak_bytes"]), _used_bytes(setting) - bytes_before)
        step, total = _position(setting.workspace / "whole")
        if notes["seconds_to_targets"] is None and _are_targets_met(setting.workspace / "whole"):
            notes["seconds_to_targets"] = notes["seconds"]
        ledger.note(NAME, notes)
        if not notes["killed_after_step"] and step >= _KILL_AT * total > 0:
            kill(process)
            ledger.note(NAME, notes | {"killed_after_step": step})
            notes["killed_after_step"] = step
            return None
        if setting.seconds_left() < 0:
            process.terminate()
            try:
                process.wait(timeout=_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                kill(process)
                return _STOPPED
    return process.returncode


def _position(workspace: Path) -> tuple[int, int]:
    """Return the step that training has come to, as far as it has told, and how many there are."""
    step, total = 0, 0
    for event in _events(workspace):
        if event["stage"] == "training" and event["kind"] == "progress":
            total = int(event["data"]["total"])
        if event["kind"] == "metrics":
            step = int(event["data"]["step"])
    return step, total


def _are_targets_met(workspace: Path) -> bool:
    """Return whether a validation has had all the figures that are wanted."""
    figures = [event["data"] for event in _events(workspace) if event["kind"] == "metrics"]
    return any(all(data.get(f"validation_{name}", 0) >= value for name, value in _TARGETS.items()) for data in figures)


def _events(workspace: Path) -> list[dict[str, Any]]:
    path = workspace / "logs" / "events.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _used_bytes(setting: Setting) -> int:
    """Return how much of the device's memory is in use by anybody."""
    if setting.device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def _results(setting: Setting) -> dict[str, Any]:
    path = max((setting.workspace / "whole" / "results").glob("*_training_results_*.json"))
    document = json.loads(path.read_text())
    names = ("ap", "ap50", "ap75", "agnostic_ap50")
    return {
        "figures": {
            data_set: {name: figures.get(name) for name in names} for data_set, figures in document["metrics"].items()
        },
        "targets": [f"{t['data_set']} {t['metric']} >= {t['minimum']}: {t['value']}" for t in document["targets"]],
        "are_targets_met": all(target["is_met"] for target in document["targets"]),
        "has_real": setting.real is not None,
        "training_seconds": training_seconds(setting.workspace / "whole"),
        "stage_seconds": {name: stage["duration_seconds"] for name, stage in document["stages"].items()},
        "steps": document["stages"]["training"]["metrics"]["steps"],
        "epochs": document["stages"]["training"]["metrics"]["epochs"],
        "samples": document["stages"]["training"]["metrics"]["samples"],
    }
