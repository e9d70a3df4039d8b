"""Whole-process times of commands that do no work, beside their yardsticks, interleaved in one run.

Prints a Markdown table: median, fastest and slowest of each command, and its median as a multiple of `python -c pass`.
The workspace is filled once by `pipeline run --profile quick`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 9


def commands(workspace: str) -> dict[str, list[str]]:
    """Return what is measured, by name."""
    pipeline = [sys.executable, "-m", "pipeline"]
    quick = ["--profile", "quick", "--workspace", workspace]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import typer, pydantic, xxhash'": [sys.executable, "-c", "import typer, pydantic, xxhash"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        "pipeline --help": [*pipeline, "--help"],
        "pipeline status": [*pipeline, "status", *quick],
        "pipeline run (all cached)": [*pipeline, "run", *quick],
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as workspace:
        measured = commands(workspace)
        _seconds(measured["pipeline run (all cached)"])  # fills the workspace
        for command in measured.values():
            _seconds(command)  # fills the page cache, and the cache of digests once the files are no longer fresh
        time.sleep(3)
        _seconds(measured["pipeline run (all cached)"])
        times: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(ROUNDS):
            for name, command in measured.items():
                times[name].append(_seconds(command))
    floor = statistics.median(times["python -c pass"])
    print(f"median of {ROUNDS}, interleaved; {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    print("| command | median ms | min | max | x `python -c pass` |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = " | ".join(f"{1000 * value:.0f}" for value in (middle, min(seconds), max(seconds)))
        print(f"| `{name}` | {spread} | {middle / floor:.1f} |")


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    # Where byte code may not be kept every start compiles the sources anew, which no user's machine does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
