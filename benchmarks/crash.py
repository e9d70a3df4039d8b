"""Every fault at every operation of a tiny run, and every state that a power loss may leave: `make crash`.

Prints a Markdown table. With a seed and sizes of samples it is also what the test suite runs; exit code 1 means that
something did not hold, and then the option that repeats it is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

# Before anything loads torch: bits depend on the number of threads, and only a process without threads can be forked.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PIPELINE_PIPELINE"] = "tiny_pipeline:PIPELINE"
_PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_PROJECT / "tests"), str(_PROJECT)]

from crash_states import Moment, classes, distinct, moments, put
from faults import Fault, Point
from invariants import Ending, problems_of, read_ending
from power_loss import recover, rerun, write_everything
from recording import record_run, recorded
from trials import distinct_kills, run_trial, start

T = TypeVar("T")

COMMAND = ("run", "--workspace", "{workspace}", "--json", "--no-incremental")
KEEP, INTERVAL = 2, 2  # of the tiny profile: checkpoints kept, most steps in a mini-epoch
_IN_MEMORY = "/dev/shm"  # noqa: S108 - nothing is synced, so it need not be a disk
_READ = 200  # of the 2,000 states of each next run so many are read from a disk
_SHOWN = 10


class Result(NamedTuple):
    """What did not hold in a trial of so many states, and how to repeat it."""

    how: str
    problems: list[str]
    num: int = 1


@dataclass(frozen=True)
class Campaign:
    """What all trials share; `operations` are those of a run that nothing befalls, which left `reference`."""

    folder: Path
    options: argparse.Namespace
    operations: list[str]
    reference: Ending

    def new_folder(self, name: str) -> Path:
        """Make a folder, with its parents, and return it."""
        (self.folder / name).mkdir(parents=True)
        return self.folder / name

    def sampled(self, things: Sequence[T], *, size: int | None, seed: object = "") -> Sequence[T]:
        """Return `size` of `things`, in order, the same ones for the same `seed`; None is all."""
        if size is None or size >= len(things):
            return things
        draw = self.draw(seed)
        return [things[index] for index in sorted(draw.sample(range(len(things)), size))]

    def draw(self, seed: object) -> random.Random:
        """Return numbers that depend on the seed of the campaign and on `seed`, not on which process asks."""
        return random.Random(f"{self.options.seed} {seed}")  # noqa: S311 - a seed, not a secret

    def spread(self, work: Callable[[T, Path], Result], things: Sequence[T]) -> Iterator[Result]:
        """Yield what `work` returns for each of `things` and a new folder, some at a time."""
        global _work  # noqa: PLW0603 - a function within a function cannot be sent to a process, but inherited
        _work = partial(_in_new_folder, work, self.folder)
        with ProcessPoolExecutor(self.options.jobs, mp_context=get_context("fork")) as pool:
            yield from pool.map(_do, things, chunksize=4)


class Table:
    """Tells rows as they come: what was tried, how often, how much of it held."""

    def __init__(self) -> None:
        self.num_failed = 0
        print("| fault | points or states | passed | seconds |\n| --- | --- | --- | --- |", flush=True)

    def row(self, name: str, results: Iterable[Result]) -> None:
        """Take in the result of each trial, and tell."""
        started, found = time.monotonic(), list(results)
        failed = [result for result in found if result.problems]
        num = sum(result.num for result in found)
        num_failed = sum(len(result.problems) if result.num > 1 else 1 for result in failed)
        print(f"| {name} | {num:,} | {num - num_failed:,} | {time.monotonic() - started:.0f} |", flush=True)
        for result in failed[:_SHOWN]:
            print(f"FAILED {result.how}: {'; '.join(result.problems[:_SHOWN])}", file=sys.stderr, flush=True)
        self.num_failed += num_failed


def fault_points(campaign: Campaign, table: Table) -> None:
    """Try each fault at each operation, or at a sample of them, and kills in two runs on end."""
    options, numbers = campaign.options, range(1, len(campaign.operations) + 1)

    def attempt(points: Sequence[Point], folder: Path) -> Result:
        trial = run_trial(points, folder, command=COMMAND)
        problems = problems_of(trial, campaign.reference, keep=KEEP, interval=INTERVAL)
        return Result(f"--repeat '{'+'.join(f'{point.fault}@{point.at}' for point in points)}'", problems)

    if options.repeat:
        table.row(options.repeat, campaign.spread(attempt, [tuple(map(_parsed, options.repeat.split("+")))]))
        return
    for fault in Fault:
        befallen = [at for at in numbers if campaign.operations[at - 1] == "write" or not fault.is_of_writes]
        if fault is Fault.KILLED and options.distinct:
            befallen = distinct_kills(COMMAND, campaign.folder / "distinct")
        trials = [(Point(fault, at),) for at in befallen]
        size = None if fault in options.all_of else options.sample
        table.row(fault, campaign.spread(attempt, campaign.sampled(trials, size=size, seed=fault)))
    draw = campaign.draw("again")
    # The second resume is where others break: a run that goes on is killed as well.
    twice = [(Point(Fault.KILLED, at), Point(Fault.KILLED, draw.choice(numbers))) for at in numbers]
    table.row("killed, and again", campaign.spread(attempt, campaign.sampled(twice, size=options.sample)))


def power_losses(campaign: Campaign, table: Table) -> None:
    """Recover from each state of a script and of a run, and run to the end; so too for the run after a power loss.

    Of the states that a sample of runs has, ten times as many are read from a disk; all are looked at in memory.
    """
    num_read = campaign.options.sample and 10 * campaign.options.sample
    with recorded(campaign.new_folder("script")) as disk:
        write_everything(campaign.folder / "script")
    trace = record_run(COMMAND, campaign.new_folder("recorded/workspace"))
    for name, found in (("the script", distinct(moments(disk.trace))), ("a run", distinct(moments(trace)))):
        table.row(f"power loss in {name}: nothing is lost", [_kept(found)])
        table.row(f"power loss in {name}: read", campaign.spread(_read, campaign.sampled(found, size=num_read)))
    first = classes(moments(trace), campaign.draw("classes"))

    def finish(moment: Moment, folder: Path) -> Result:
        problems = rerun(moment, folder, campaign.reference, command=COMMAND, keep=KEEP)
        return Result(f"at step {moment.point}", problems)

    table.row("power loss in a run: run to the end", campaign.spread(finish, first))

    def keep_next(moment: Moment, folder: Path) -> Result:
        return _kept(distinct(_next_moments(moment, folder)))

    def read_next(moment: Moment, folder: Path) -> Result:
        found = campaign.sampled(distinct(_next_moments(moment, folder)), size=num_read or _READ, seed=moment.point)
        return _together(moment, (_read(each, folder / str(index)) for index, each in enumerate(found)))

    def finish_next(moment: Moment, folder: Path) -> Result:
        found = classes(_next_moments(moment, folder), campaign.draw(moment.point))
        few = campaign.sampled(found, size=campaign.options.sample, seed=moment.point)
        return _together(moment, (finish(each, folder / str(index)) for index, each in enumerate(few)))

    chosen = campaign.sampled(first, size=campaign.options.sample)
    table.row("power loss, and in the next run: nothing is lost", campaign.spread(keep_next, chosen))
    table.row("power loss, and in the next run: read", campaign.spread(read_next, chosen))
    table.row("power loss, and in the next run: run to the end", campaign.spread(finish_next, chosen))


def main() -> int:
    """Try what the command line asks for and return the exit code."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as on Ctrl+C: the folder and the processes go as well
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        operations = start(COMMAND, folder / "start")
        reference = read_ending(run_trial((), folder / "reference", command=COMMAND).workspace)
        print(f"seed {options.seed}; a run has {len(operations)} operations on the disk\n", flush=True)
        campaign, table = Campaign(folder, options, operations, reference), Table()
        for part in ["points"] if options.repeat else options.part or PARTS:
            PARTS[part](campaign, table)
    print(f"\n{table.num_failed} failed" if table.num_failed else "\nall held", flush=True)
    return 1 if table.num_failed else 0


PARTS: dict[str, Callable[[Campaign, Table], None]] = {"points": fault_points, "states": power_losses}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121, help="of what is drawn")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--part", action="append", choices=PARTS, help="do only this; may be repeated")
    parser.add_argument("--sample", type=int, help="so many trials of each kind instead of all")
    parser.add_argument("--all-of", action="append", default=[], type=Fault, help="a fault that is not sampled")
    parser.add_argument("--distinct", action="store_true", help="of kills that leave the same to the next run only one")
    parser.add_argument("--repeat", help='one trial, as a failure tells it, e.g. "killed@17+killed@40"')
    return parser.parse_args()


def _parsed(text: str) -> Point:
    fault, _, at = text.rpartition("@")
    return Point(Fault(fault), int(at))


def _kept(found: Sequence[Moment]) -> Result:
    lost = [f"something is lost, or neither old nor new, at step {each.point}" for each in found if not each.holds]
    return Result("in memory", lost, num=len(found))


def _read(moment: Moment, folder: Path) -> Result:
    return Result(f"at step {moment.point}", recover(moment, folder / "workspace"))


def _next_moments(moment: Moment, folder: Path) -> Iterator[Moment]:
    """Yield the states of a power loss in the run that comes after another power loss."""
    put(moment.tree, folder / "workspace")
    return moments(record_run(COMMAND, folder / "workspace"), tree=moment.tree)


def _together(moment: Moment, results: Iterable[Result]) -> Result:
    found = list(results)
    problems = [f"{result.how}: {problem}" for result in found for problem in result.problems]
    return Result(f"at step {moment.point}, and again", problems, num=len(found))


def _in_new_folder(work: Callable[[T, Path], Result], parent: Path, thing: T) -> Result:
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        return work(thing, folder)
    finally:
        shutil.rmtree(folder)


_work: Callable[[Any], Result]


def _do(thing: object) -> Result:
    return _work(thing)


if __name__ == "__main__":
    sys.exit(main())
