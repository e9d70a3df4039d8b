"""`pipeline validate --deep` beside a plain loop that reads the same bytes from the page cache: `make bench-deep`.

Both in turns, as whole processes over the professional data set and its weights (2.0 GB); and the reading and hashing
alone, without the start of the program, as it is for larger data sets. Ours reads with all cores; the loop, which is
the yardstick of the goal, with one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from noop_workspaces import LARGE, on, prepared
from processes import Command
from side_by_side import Spread, in_turns, machine, ratios, write_section

from pipeline.environment import usable_cores
from pipeline.fingerprint import digest_files
from pipeline.records import RecordStore

ROUNDS = 9
_GOAL = 0.8
_PLAIN = """
import sys
buffer = memoryview(bytearray(1 << 20))
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
"""


def main() -> None:
    """Measure and write the section of the results."""
    workspace = prepared(LARGE)
    store = RecordStore(workspace / "checkpoints")
    found = [artifact for path in workspace.glob("checkpoints/*/*.json") for artifact in store.load(path).artifacts]
    paths = [workspace / artifact.path for artifact in found]
    num_bytes = sum(artifact.size for artifact in found)
    plain = Command(words=(sys.executable, "-c", _PLAIN, *map(str, paths)))
    deep = on(workspace, "validate", "--deep")
    cores = f"{usable_cores()} cores"
    measures: dict[str, Callable[[], float]] = {
        "plain loop of `readinto`, 1 core, whole process": lambda: plain.run().seconds,
        f"`pipeline validate --deep`, {cores}, whole process": lambda: deep.run().seconds,
        "plain loop of `readinto`, 1 core": lambda: _seconds(lambda: _read(paths)),
        f"its reading and hashing, {cores}": lambda: _seconds(lambda: digest_files(paths, num_threads=usable_cores())),
    }
    for measure in measures.values():
        measure()  # fills the page cache
    seconds = in_turns(measures, rounds=ROUNDS)
    rows = []
    for name, values in seconds.items():
        yardstick = next(each for each in measures if ("whole" in each) == ("whole" in name))
        speed = ratios(seconds[yardstick], to=values)
        rate = num_bytes / Spread.of(values).median / 1e9
        cells = (name, Spread.of(values).row(scale=1000), f"{rate:.1f}", f"{speed.median:.2f} ({speed.min:.2f})")
        rows.append(f"| {' | '.join(cells)} |")
    write_section(
        "Reading every byte (`make bench-deep`)",
        "\n".join(
            [
                f"{machine()}; {num_bytes / 1e9:.2f} GB in {len(paths)} files from the page cache, {ROUNDS} rounds.",
                f"Goal: {_GOAL} of the speed of the plain loop, which reads with one core; ours reads with all "
                f"{usable_cores()}. Memory: {deep.run().peak_mib:.0f} MiB at most.\n",
                "| | ms: median | min | max | GB/s | speed, plain loop = 1 (least) |",
                "| --- | --- | --- | --- | --- | --- |",
                *rows,
            ]
        ),
    )


def _read(paths: Sequence[Path]) -> None:
    buffer = memoryview(bytearray(1 << 20))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
