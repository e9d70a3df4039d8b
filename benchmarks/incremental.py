"""Whole runs from nothing: training while the data are being made, beside training after they are (`--no-incremental`).

`python benchmarks/incremental.py` (`make bench-incremental`) runs both in turns, each in an empty workspace, on scenes
of 128 x 128 pixels with the detector of the quick profile, and compares what they end with. With one torch thread a
core is left for the data; with the default, a thread for each core, the two share them. At most the time that the data
take can be gained: with the scenes of this project a second of twenty, so what is shown is that it costs nothing.
"data" is the time until the record of the data set is there, "first step" the time until training has taken its first
step, both from the start of the process.
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
from itertools import product
from pathlib import Path
from typing import Any

from side_by_side import ENVIRONMENTS, Spread, machine, ratios, write_section

ROUNDS = 3
NUM_SCENES = 700
_SETTINGS = (
    "data_generation.image_size=128",
    f"data_generation.dataset_size={NUM_SCENES}",
    "data_generation.chunk_size=100",
    "data_generation.validation_size=40",
    "training.epochs=1",
    f"training.mini_epoch_chunks={NUM_SCENES // 100}",
    "training.batch_size=16",
    "runtime.checkpoint_interval_steps=0",
)
_SEQUENTIAL = "after the data are made"
_MODES = {"while the data are made": (), _SEQUENTIAL: ("--no-incremental",)}
_ONE_THREAD, _ALL_THREADS = "one thread", "a thread for each core (default)"
_THREADS = {_ONE_THREAD: {"OMP_NUM_THREADS": "1"}, _ALL_THREADS: {}}


def main() -> None:
    """Measure, write the section, and fail where the two do not end with the same weights."""
    times: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in product(_THREADS, _MODES)}
    # Sums are taken in another order with another number of threads, so weights are compared among runs with as many.
    weights: dict[str, set[str]] = {threads: set() for threads in _THREADS}
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:  # on the disk of the project, not one in memory
        for number in range(ROUNDS):
            for (threads, mode), runs in times.items():
                workspace = Path(folder) / "work"
                runs.append(_run(workspace, _MODES[mode], threads=_THREADS[threads]))
                (file,) = workspace.glob("results/*/model.safetensors")
                weights[threads].add(hashlib.sha256(file.read_bytes()).hexdigest())
                shutil.rmtree(workspace)
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    are_equal = all(len(found) == 1 for found in weights.values())
    _write(times, are_equal=are_equal)
    if not are_equal:
        raise SystemExit("the weights differ")


def _run(workspace: Path, words: tuple[str, ...], *, threads: dict[str, str]) -> dict[str, float]:
    options = [word for setting in _SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "pipeline", "run", "--profile", "quick", "--workspace", str(workspace)]
    started_at, started = time.time(), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | threads
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


def _write(times: dict[tuple[str, str], list[dict[str, float]]], *, are_equal: bool) -> None:
    lines = [
        f"`make bench-incremental`; {machine()}; {NUM_SCENES:,} scenes of 128 x 128, one epoch; {ROUNDS} rounds.",
        f"The weights of all runs with as many threads are {'bit-identical' if are_equal else 'NOT THE SAME'}.",
        "",
        "| torch threads | training begins | whole run, median s | min | max | x sequential | data there, s "
        "| first step, s |",
        "| --- " * 8 + "|",
    ]
    for (threads, mode), runs in times.items():
        sequential = [run["total"] for run in times[threads, _SEQUENTIAL]]
        totals = [run["total"] for run in runs]
        data, first = (Spread.of([run[part] for run in runs]).median for part in ("data", "first step"))
        share = ratios(totals, sequential).median
        row = f"{Spread.of(totals).row(digits=1)} | {share:.2f} | {data:.1f} | {first:.1f}"
        lines.append(f"| {threads} | {mode} | {row} |")
    write_section("Training while the data are being made", "\n".join(lines))


if __name__ == "__main__":
    main()
