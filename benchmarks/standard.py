"""The `standard` profile from nothing to its targets, as one process, with the share of each part.

    make bench-standard        # or: python benchmarks/standard.py [--set ...] [--dataset-size N --epochs N]

Runs `pipeline run --profile standard` in an empty workspace (further options are handed on), in a process that keeps
time in four places of training: a step, a validation, a checkpoint, waiting for a batch. All else is read from the
events and the results of the run. It is one run, so its figures have no spread. Parts do not overlap: what data
generation does while training runs is in training's time. "Orchestration" is what is left: decisions, digests, records,
the end of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from side_by_side import ENVIRONMENTS, machine, write_section
from stopwatch import Stopwatch

SECONDS_FILE = "BENCHMARK_SECONDS"  # names the file for the seconds of the parts of training
_GOAL = "Goal: at most 4 minutes (240 s) on 2 cores, training included, all targets met."
STEPS, VALIDATION, CHECKPOINTS, WAITING = "steps", "validation", "checkpoints", "waiting for data"


def keep_time(path: Path) -> None:
    """Run the command line of this process, and write the seconds of the parts of training to `path`."""
    from pipeline.__main__ import main as run_command_line
    from stages.training.stage import TrainingStage

    watch = Stopwatch((STEPS, VALIDATION, CHECKPOINTS, WAITING))
    execute = TrainingStage.execute

    def measured_execute(self: TrainingStage, context: Any) -> Any:
        from stages.training import loop, work  # noqa: F401 - torch: only now, as in a run that nobody measures
        from stages.training.feed import Feed
        from stages.training.saving import Saver
        from stages.training.validation import Validator

        places = {STEPS: (loop, "_step"), VALIDATION: (Validator, "run"), CHECKPOINTS: (Saver, "save")}
        for part, (owner, name) in {**places, WAITING: (Feed, "next")}.items():
            watch.put_around(part, owner, name)
        return execute(self, context)

    TrainingStage.execute = measured_execute  # type: ignore[method-assign]
    try:
        run_command_line()
    finally:
        path.write_text(json.dumps(watch.seconds))


def run(workspace: Path, options: list[str]) -> tuple[float, float, dict[str, float]]:
    """Run the profile; return when it was started (epoch seconds), its seconds, and those of training's parts."""
    seconds_file = workspace.parent / "seconds.json"
    command = [sys.executable, __file__, "--keep-time", "run", "--profile", "standard", f"--workspace={workspace}"]
    environment = os.environ | {SECONDS_FILE: str(seconds_file)}
    began, started = time.time(), time.perf_counter()
    subprocess.run([*command, *options], check=True, env=environment, stdout=sys.stderr)
    total, training = time.perf_counter() - started, json.loads(seconds_file.read_text())
    idle = [part for part, seconds in training.items() if not seconds]
    if idle:  # what is patched is there, and something else does the work
        raise SystemExit(f"no time was taken for {', '.join(idle)}")
    return began, total, training


def shares(workspace: Path, *, began: float, total: float, training: dict[str, float]) -> dict[str, float]:
    """Return the seconds of each part, in the order of the run; together they are the total."""
    started, finished = {}, {}
    for line in (workspace / "logs" / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        moment = datetime.fromisoformat(event["time"]).timestamp() - began
        if event["kind"] in {"run_started", "stage_started"}:
            started[event["stage"]] = moment
        elif event["kind"] == "stage_finished":
            finished[event["stage"]] = moment
    # Where training reads what is still being made it begins first.
    generated = min(finished["data_generation"], started["training"])
    trained = finished["training"] - started["training"]
    parts = {
        "process start and imports": started[""],
        "data generation (before training)": generated - started["data_generation"],
        "training: torch, model, first state, weights": trained - sum(training.values()),
        **{f"training: {name}": seconds for name, seconds in training.items()},
        "evaluation": finished["evaluation"] - started["evaluation"],
    }
    return {**parts, "orchestration": total - sum(parts.values())}


def targets(workspace: Path) -> list[str]:
    """Return a row for each target of the run."""
    (results,) = (workspace / "results").glob("standard_training_results_*.json")
    return [
        f"| {target['data_set']} {target['metric']} | {target['minimum']} | {target['value']:.4f} | "
        f"{'met' if target['is_met'] else '**missed**'} |"
        for target in json.loads(results.read_text())["targets"]
    ]


def main(options: list[str]) -> None:
    """Run it once and write the section."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:  # on the disk of the project, not one in memory
        workspace = Path(folder) / "workspace"
        began, total, training = run(workspace, options)
        parts = shares(workspace, began=began, total=total, training=training)
        target_rows = targets(workspace)
    told = f" with `{' '.join(options)}`" if options else ""
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    rows = [f"{total:.1f} s in all{told}, one run; {machine()}; OMP_NUM_THREADS: {threads}. {_GOAL}", ""]
    rows += ["| part | seconds | share |", "| --- | --- | --- |"]
    rows += [f"| {name} | {seconds:.1f} | {seconds / total:.1%} |" for name, seconds in parts.items()]
    rows += ["", "| target | at least | reached | |", "| --- | --- | --- | --- |", *target_rows]
    write_section("The standard profile: from nothing to its targets (`make bench-standard`)", "\n".join(rows))


if __name__ == "__main__":
    if "--keep-time" in sys.argv:
        sys.argv.remove("--keep-time")
        keep_time(Path(os.environ[SECONDS_FILE]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        main(parser.parse_known_args()[1])
