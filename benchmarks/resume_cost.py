"""Seconds from making a loader to its first batch, at 0 % and at 90 % of an epoch (`make bench-resume-cost`).

The same 4,000 samples for all, shuffled, one process and no workers, warm page cache, a fresh process for each
measurement; imports are not counted. Each loader is continued in the way that it documents: from its state where it
has one, else by skipping. All are measured at both places in turns; ratios are within a round. The floor maps the chunk
that is needed and copies a batch out of it, into memory that nobody has touched. What ours does beyond that: it reads
and verifies the manifest, and all of the chunk (17 MB). For 10 million samples the manifest is a real one of 100,000
chunks, of which every 40th is the same file.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import loader_cases as cases
from side_by_side import Spread, machine, ratios, write_section

from stages.chunks.order import EpochOrder

ROUNDS = 7  # of the floor and of ours
PEER_ROUNDS = 3
NUM_CHUNKS = 100_000
PEERS = (
    "litdata",
    "stateful",
    "accelerate",
    "arrow",
    "mds",
    "stateful-iterable",
    "accelerate-iterable",
    "webdataset",
    "arrow-iterable",
)
_MANY = f"ours, {100 * NUM_CHUNKS:,} samples in {NUM_CHUNKS:,} chunks"
# Rounded up, where the batch lies in one chunk as the first one does; the batch before takes from two, which ours then
# both reads and verifies.
_NINETY_PERCENT = -(-cases.NUM_BATCHES * 9 // 10)


def main() -> None:
    """Measure and write the section."""
    cases.prepare(PEERS)
    cases.STATES.mkdir(exist_ok=True)
    # what is measured, by its label: the loader, its data, and the file of its state at 90 %
    measured = {
        cases.LABELS[name]: (name, cases.data_of(name), _state(name)) for name in (*cases.FLOOR_AND_OURS, *PEERS)
    }
    measured[_MANY] = ("ours", cases.simulated_manifest(NUM_CHUNKS), _state_of_many())
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {label: [] for label in measured}
    for number in range(ROUNDS):
        for label, (name, data, state) in measured.items():
            if name in cases.FLOOR_AND_OURS or number < PEER_ROUNDS:
                start, late = (cases.run(name, "first", str(data), place) for place in ("-", str(state)))
                found[label].append((start, late))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    write_section(
        "Resume: from construction to the first batch",
        f"{machine()}; {ROUNDS} rounds in turns, of the peers {PEER_ROUNDS} (`make bench-resume-cost`).\n\n"
        f"{_table(found)}",
    )


def _state(name: str) -> Path:
    """Return the file of a loader's state after 90 % of the batches; ours is made anew each time."""
    path = cases.STATES / f"{name}-{_NINETY_PERCENT}.pickle"
    if name in cases.FLOOR_AND_OURS or not path.exists():
        cases.run(name, "state", str(cases.data_of(name)), str(_NINETY_PERCENT), str(path))
    return path


def _state_of_many() -> Path:
    path = cases.STATES / "many.pickle"
    order = EpochOrder(counts=[100] * NUM_CHUNKS, seed=7, epoch=1, is_shuffled=True)  # that of the measured reader
    path.write_bytes(pickle.dumps((1, int(order.chunks[NUM_CHUNKS * 9 // 10]), 50)))
    return path


def _table(found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]) -> str:
    lines = [
        "| first batch, ms | at 0 % | min | max | at 90 % | min | max | 90 % : 0 % | of it the manifest, at 90 % |",
        "| --- " * 9 + "|",
    ]
    for label, pairs in found.items():
        starts, lates = ([pair[place]["seconds"] for pair in pairs] for place in (0, 1))
        manifest = Spread.of([late["manifest_seconds"] for _, late in pairs]).median
        if None in lates:
            late, ratio = "no batch | | ", ""
        else:
            late, ratio = Spread.of(lates).row(scale=1000, digits=1), f"{ratios(lates, starts).median:.2f}"
        told = f"{1000 * manifest:.1f}" if manifest else ""
        lines.append(f"| {label} | {Spread.of(starts).row(scale=1000, digits=1)} | {late} | {ratio} | {told} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
