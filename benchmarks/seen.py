"""What it costs to see a run, and how well its end is told: one run of the standard profile on a terminal.

    make bench-seen            # or: python benchmarks/seen.py [--set ...] [--dataset-size N --epochs N]

Runs `pipeline run --profile standard` in an empty workspace (further options are handed on) on a pseudo terminal of 80
columns, in a process that keeps time in three places of training: a step, what the log of events, the log file and the
live picture do with each event, and what the picture does between events. The ratio is that of one run, so it does not
depend on how busy the machine is. The time left is read from the log of events as any display reads it, and compared
with when training, and the whole run, really ended.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from side_by_side import ENVIRONMENTS, machine, write_section
from stopwatch import Stopwatch

from pipeline.event_reader import read_events
from pipeline.events import Kind
from pipeline.run_view import RunView

SECONDS_FILE = "BENCHMARK_SECONDS"  # names the file for what was measured
STEPS, EVENT_LOG, LOG_FILE, PICTURE = "steps", "event log", "log file", "live picture"
_GOALS = "Goals: event log and picture under 1 % of a step; the rest wrong by less than 10 % from 5 % of a run on."
_SHARES = (5, 10, 25, 50, 75, 90)


def keep_time(path: Path) -> None:
    """Run the command line of this process, and write seconds and number of steps to `path`."""
    from pipeline.__main__ import main as run_command_line
    from pipeline.live_console import LiveConsole
    from pipeline.reporting import EventLog, LogFile
    from stages.training.stage import TrainingStage

    watch = Stopwatch((STEPS, EVENT_LOG, LOG_FILE, PICTURE))
    watch.is_running = False
    execute = TrainingStage.execute

    def measured_execute(self: TrainingStage, context: Any) -> Any:
        from stages.training import loop  # torch: only now, as in a run that nobody measures

        watch.put_around(STEPS, loop, "_step")
        watch.is_running = True
        try:
            return execute(self, context)
        finally:
            watch.is_running = False

    TrainingStage.execute = measured_execute  # type: ignore[method-assign]
    for part, owner, name in (
        (EVENT_LOG, EventLog, "emit"),
        (LOG_FILE, LogFile, "emit"),
        (PICTURE, LiveConsole, "emit"),
        (PICTURE, LiveConsole, "tick"),
    ):
        watch.put_around(part, owner, name)
    try:
        run_command_line()
    finally:
        path.write_text(json.dumps({"seconds": watch.seconds, "num_steps": watch.counts[STEPS]}))


def run(workspace: Path, options: list[str]) -> dict[str, Any]:
    """Run the profile on a terminal and return what was measured."""
    measured = workspace.parent / "measured.json"
    command = [sys.executable, __file__, "--keep-time", "run", "--profile", "standard", f"--workspace={workspace}"]
    ours, theirs = pty.openpty()
    environment = os.environ | {SECONDS_FILE: str(measured), "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen([*command, *options], env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    with suppress(OSError):  # as a terminal ends when nobody writes to it any more
        while os.read(ours, 1 << 16):
            pass
    if process.wait():
        raise SystemExit(f"the run ended with {process.returncode}")
    document: dict[str, Any] = json.loads(measured.read_text())
    return document


def errors(log: Path) -> list[tuple[float, float, float]]:
    """Return for each moment at which training told its rest how wrong it was.

    Of each: the share of the run that was over then, and the error as the rest of training, and as that of the run.
    """
    view, told, ends = RunView(), list[tuple[float, float]](), dict[str, float]()
    began = 0.0
    for logged in read_events(log):
        view.take(logged.event, at=logged.time)
        began = logged.time if logged.event.kind is Kind.RUN_STARTED else began
        if logged.event.kind is Kind.STAGE_FINISHED:
            ends[logged.event.stage] = logged.time
        elif logged.event.kind is Kind.RUN_FINISHED:
            ends[""] = logged.time
        elif logged.event.kind is Kind.PROGRESS and logged.event.stage == "training":
            remaining = view.stages["training"].remaining_seconds(logged.time)
            if remaining is not None:
                told.append((logged.time, remaining))
    return [
        ((at - began) / (ends[""] - began), remaining / (ends["training"] - at) - 1, remaining / (ends[""] - at) - 1)
        for at, remaining in told
        if at < ends["training"]
    ]


def main(options: list[str]) -> None:
    """Run it once and write the section."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:
        workspace = Path(folder) / "workspace"
        measured = run(workspace, options)
        found = errors(workspace / "logs" / "events.jsonl")
    steps, num_steps = measured["seconds"].pop(STEPS), measured["num_steps"]
    told = f" with `{' '.join(options)}`" if options else ""
    rows = [f"One run{told}, {num_steps:,} steps of {1000 * steps / num_steps:.0f} ms; {machine()}. {_GOALS}", ""]
    rows += ["| | us a step | share of a step |", "| --- | --- | --- |"]
    for part, seconds in measured["seconds"].items():
        rows.append(f"| {part} | {1e6 * seconds / num_steps:.0f} | {100 * seconds / steps:.3f} % |")
    rows += ["", "| of the run over | rest of training wrong by | as rest of the run |", "| --- | --- | --- |"]
    for share in _SHARES:
        after, of_training, of_run = min(found, key=lambda each: abs(each[0] - share / 100))
        rows.append(f"| {100 * after:.0f} % | {100 * of_training:+.1f} % | {100 * of_run:+.1f} % |")
    between = [each for each in found if 0.05 <= each[0] <= 0.95]
    worst = max(between, key=lambda each: abs(each[1]))
    num_right = sum(abs(each[1]) < 0.10 for each in between)
    within = f"{100 * num_right / len(between):.0f} % of {len(between)} moments within 10 %"
    rows += ["", f"Between 5 and 95 %: {within}; at worst {100 * worst[1]:+.1f} %, at {100 * worst[0]:.0f} %."]
    write_section("Seeing a run: what it costs, and how well its end is told (`make bench-seen`)", "\n".join(rows))


if __name__ == "__main__":
    if "--keep-time" in sys.argv:
        sys.argv.remove("--keep-time")
        keep_time(Path(os.environ[SECONDS_FILE]))
    else:
        main(sys.argv[1:])
