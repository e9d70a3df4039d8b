"""The soak: a quick run killed with SIGKILL again and again, each end compared with that of the run never killed.

Seeded, in cycles: a fresh workspace, up to 20 kills of the whole process group (while data is generated, in a step, in
a validation, in a save, between two mini-epochs, ... or at any time), then the run is left to end. Its data set,
weights, predictions, metrics and sample history must be the same bytes; nothing half-done may be left; the next run
must find nothing to do. Prints a Markdown table of what was hit; the exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from soak_cycle import SETTINGS, CycleFailed, Expected, Kill, Outcome, finish, import_stages, judge, remove, run_cycle
from soak_trace import Phase, boundaries_of, came_out

from pipeline.environment import usable_cores

_ROOT = Path(__file__).resolve().parent.parent
_SEED = 20261121
_MAX_FAILURES = 5  # each keeps a workspace of a gigabyte
_WORKSPACES_BYTES = 8 << 30


def main() -> None:
    """Kill, compare, print; exit with 1 if an end was another one."""
    options = _options()
    # Bits depend on the number of threads, and two threads that share their cores wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"
    # Keeps memory that was freed: fresh pages for each copy of the state took a fifth of all time.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
    os.chdir(_ROOT)
    started = time.monotonic()
    with _folder(options.workspaces) as folder:
        settings = (*SETTINGS, *options.set)
        _tell("the run that is never killed")
        expected = _undisturbed(folder / "undisturbed", settings)
        outcomes = list(_outcomes(options, folder, expected, started))
    report = _report(options, outcomes, seconds=time.monotonic() - started)
    print(report)
    if options.write:
        with (_ROOT / "benchmarks" / "RESULTS.md").open("a") as results:
            results.write(f"\n{report}\n")
    sys.exit(1 if any(outcome.problems for outcome in outcomes) else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--kills", type=int, default=1000, help="cycles are begun until there are so many (default 1000)"
    )
    parser.add_argument("--seed", type=int, default=_SEED, help=f"decides all moments (default {_SEED})")
    parser.add_argument("--cycle", type=int, help="do this one cycle alone")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="cycles side by side (default: usable cores)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", help="a further setting of the runs")
    parser.add_argument("--workspaces", type=Path, help="a folder for the workspaces (default: in memory, else /tmp)")
    parser.add_argument("--write", action="store_true", help="append the table to benchmarks/RESULTS.md")
    return parser.parse_args()


@contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    """Give a folder for workspaces; it is removed unless something in it is wrong, and kept."""
    # A disk would add nothing: SIGKILL loses no write that was made, and syncs take long. Containers often have 64 MiB.
    memory = Path("/dev/shm")  # noqa: S108
    has_memory = memory.is_dir() and shutil.disk_usage(memory).free > _WORKSPACES_BYTES
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=parent or (memory if has_memory else None)))
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _undisturbed(workspace: Path, settings: tuple[str, ...]) -> Expected:
    """Run in new interpreters without a kill, and hold the result to the same rules."""
    try:
        finish(workspace, settings, is_fresh=True)
        expected = Expected(settings, boundaries_of(workspace), came_out(workspace))
        problems = judge(workspace, expected)
    except CycleFailed as failure:
        problems = [str(failure)]
    if problems:
        sys.exit(f"error: without any kill: {'; '.join(problems)} (see {workspace})")
    remove(workspace)
    return expected


def _outcomes(options: argparse.Namespace, folder: Path, expected: Expected, started: float) -> Iterator[Outcome]:
    """Yield what becomes of the cycles, in the order in which they end."""
    numbers = iter([options.cycle]) if options.cycle is not None else count()
    num_kills = num_failures = 0
    waiting: set[Future[Outcome]] = set()
    # Spawned: what forks must have no threads, and this process has some for the pool.
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), initializer=import_stages) as pool:
        while True:
            while len(waiting) < options.jobs and num_kills < options.kills and num_failures < _MAX_FAILURES:
                if (cycle := next(numbers, None)) is None:
                    break
                workspace = folder / f"cycle-{cycle}"
                waiting.add(pool.submit(run_cycle, cycle, seed=options.seed, workspace=workspace, expected=expected))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for outcome in (future.result() for future in done):
                num_kills += len(outcome.kills)
                num_failures += bool(outcome.problems)
                _tell_outcome(outcome, options, folder)
                yield outcome
            _tell(f"{num_kills} kills, {time.monotonic() - started:.0f} s, {num_failures} cycles with another end")


def _tell_outcome(outcome: Outcome, options: argparse.Namespace, folder: Path) -> None:
    for problem in outcome.problems:
        _tell(f"cycle {outcome.cycle}: {problem}")
    if outcome.problems:
        hits = "; ".join(kill.phase for kill in outcome.kills)
        _tell(f"cycle {outcome.cycle} was killed in: {hits}")
        _tell(f"its workspace is kept: {folder / f'cycle-{outcome.cycle}'}; again: {_command(options, outcome.cycle)}")


def _command(options: argparse.Namespace, cycle: int | None = None) -> str:
    words = ["python", "benchmarks/soak.py", "--seed", str(options.seed)]
    words += ["--cycle", str(cycle)] if cycle is not None else ["--kills", str(options.kills)]
    return shlex.join(words + [word for setting in options.set for word in ("--set", setting)])


def _report(options: argparse.Namespace, outcomes: list[Outcome], *, seconds: float) -> str:
    """Return the table, with what is needed to see it again."""
    rows = [_row(phase, [replace(outcome, kills=_in(outcome, phase)) for outcome in outcomes]) for phase in Phase]
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    num_fresh = sum(kill.is_fresh for kill in kills)
    problems = [f"- cycle {outcome.cycle}: {'; '.join(outcome.problems)}" for outcome in outcomes if outcome.problems]
    return "\n".join([
        f"## Soak: {len(kills)} kills of a quick run (`make soak`)",
        "",
        f"{len(outcomes)} cycles in {seconds:.0f} s, {options.jobs} side by side; {num_fresh} of the kills hit fresh "
        f"interpreters, the others forks of a process that has torch imported. {usable_cores()} cores "
        f"({platform.machine()}), one thread a run, torch {version('torch')}, Python {platform.python_version()}; "
        f"seed {options.seed}. Again: `{_command(options, options.cycle)}`",
        "",
        "| killed in | kills | cycles | bit-identical ends | other ends |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        _row("**all**", outcomes),
        *(["", *problems] if problems else []),
    ])  # fmt: skip


def _in(outcome: Outcome, phase: Phase) -> tuple[Kill, ...]:
    return tuple(kill for kill in outcome.kills if kill.phase is phase)


def _row(name: str, outcomes: list[Outcome]) -> str:
    hit = [outcome for outcome in outcomes if outcome.kills]
    num_kills, num_other = sum(len(outcome.kills) for outcome in hit), sum(bool(outcome.problems) for outcome in hit)
    return f"| {name} | {num_kills} | {len(hit)} | {len(hit) - num_other} | {num_other} |"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
