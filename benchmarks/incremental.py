"""Whole runs from nothing: training while the data are being made, beside training after they are (`--no-incremental`).

`python benchmarks/incremental.py` (`make bench-incremental`) runs both in turns, each in an empty workspace, on scenes
of 128 x 128 pixels with the detector of the quick profile and one thread, and compares what they end with. "data" is
the time until the record of the data set is there, "first step" the time until training has taken its first step, both
from the start of the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from side_by_side import Spread, machine, ratios, write_section

ROUNDS = 3
_SETTINGS = (
    "data_generation.image_size=128",
    "data_generation.dataset_size=3000",
    "data_generation.chunk_size=100",
    "data_generation.validation_size=40",
    "training.epochs=1",
    "training.mini_epoch_chunks=30",
    "training.batch_size=16",
    "runtime.checkpoint_interval_steps=0",
)
_MODES = {"while the data are made": (), "after the data are made": ("--no-incremental",)}


def main() -> None:
    """Measure, write the section, and fail where the two do not end with the same weights."""
    times: dict[str, list[dict[str, float]]] = {name: [] for name in _MODES}
    weights: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for name, words in _MODES.items():
                workspace = Path(folder) / "work"
                times[name].append(_run(workspace, words))
                (file,) = workspace.glob("results/*/model.safetensors")
                weights.add(hashlib.sha256(file.read_bytes()).hexdigest())
                shutil.rmtree(workspace)
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    _write(times, are_equal=len(weights) == 1)
    if len(weights) != 1:
        raise SystemExit("the weights differ")


def _run(workspace: Path, words: tuple[str, ...]) -> dict[str, float]:
    options = [word for setting in _SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "pipeline", "run", "--profile", "quick", "--workspace", str(workspace)]
    started_at, started = time.time(), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *options, *words], check=True, stderr=subprocess.DEVNULL, env=environment)
    total = time.perf_counter() - started
    events = [json.loads(line) for line in (workspace / "logs" / "events.jsonl").read_text().splitlines()]
    return {
        "total": total,
        "data": _moment(events, "data_generation", "stage_finished") - started_at,
        "first step": _moment(events, "training", "progress") - started_at,
    }


def _moment(events: list[dict[str, Any]], stage: str, kind: str) -> float:
    event = next(event for event in events if (event["stage"], event["kind"]) == (stage, kind))
    return datetime.fromisoformat(event["time"]).timestamp()


def _write(times: dict[str, list[dict[str, float]]], *, are_equal: bool) -> None:
    sequential = [run["total"] for run in times["after the data are made"]]
    lines = [
        f"`make bench-incremental`; {machine()}, one torch thread; 3,000 scenes of 128 x 128, one epoch;",
        f"{ROUNDS} rounds. The weights of all runs are {'bit-identical' if are_equal else 'NOT THE SAME'}.",
        "",
        "| training begins | whole run, median s | min | max | x sequential | data there, s | first step, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in times.items():
        totals = [run["total"] for run in runs]
        data, first = (Spread.of([run[part] for run in runs]).median for part in ("data", "first step"))
        share = ratios(totals, sequential).median
        lines.append(f"| {name} | {Spread.of(totals).row(digits=1)} | {share:.2f} | {data:.1f} | {first:.1f} |")
    write_section("Training while the data are being made", "\n".join(lines))


if __name__ == "__main__":
    main()
