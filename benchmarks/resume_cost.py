"""Seconds from making a loader to its first batch, at 0 % and at 90 % of an epoch (`make bench-resume-cost`).

The same 4,000 samples for all, shuffled, one process and no workers, warm page cache, a fresh process for each
measurement; imports are not counted. Each loader is continued in the way that it documents: from its state where it
has one, else by skipping. All are measured at both places in turns; ratios are within a round. The floor maps the chunk
that is needed and copies a batch out of it, into memory that nobody has touched. What ours does beyond that: it reads
and verifies the manifest, and all of the chunk (17 MB). At both places the batch lies in one chunk. Of a batch that
takes from two, ours reads and verifies both, so the floor and ours are measured at such a one as well. For 10 million
samples the manifest is a real one of 100,000 chunks, of which every 40th is the same file.
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
_GOAL = (
    "Goals for ours: 90 % at most 1.2x of 0 %, and at most 20 ms where the floor takes 10 ms; still flat at 10 million "
    "samples."
)
# Rounded up, where the batch lies in one chunk as the first one does; the batch before takes from two.
_NINETY_PERCENT = -(-cases.NUM_BATCHES * 9 // 10)
_STRADDLING = _NINETY_PERCENT - 1
_BATCH, _CHUNK = 32, 100  # samples


def main() -> None:
    """Measure and write the section."""
    cases.prepare(PEERS)
    cases.STATES.mkdir(exist_ok=True)
    # what is measured, by its label: the loader, its data, and the file of its state at 90 %
    measured = {
        cases.LABELS[name]: (name, cases.data_of(name), _state(name, _NINETY_PERCENT))
        for name in (*cases.FLOOR_AND_OURS, *PEERS)
    }
    measured |= {
        f"{cases.LABELS[name]}; **a batch from two chunks**": (name, cases.data_of(name), _state(name, _STRADDLING))
        for name in cases.FLOOR_AND_OURS
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
        f"{machine()}; {ROUNDS} rounds in turns, of the peers {PEER_ROUNDS} (`make bench-resume-cost`).\n{_GOAL}\n\n"
        f"{_table(found)}\n\n{_notes(found[_MANY])}",
    )


def _state(name: str, num_batches: int) -> Path:
    """Return the file of a loader's state after so many batches; ours is made anew each time."""
    path = cases.STATES / f"{name}-{num_batches}.pickle"
    if name in cases.FLOOR_AND_OURS or not path.exists():
        cases.run(name, "state", str(cases.data_of(name)), str(num_batches), str(path))
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


def _notes(many: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Tell what the two places stand for, and what 10 million samples are spent on."""
    firsts = range(0, cases.NUM_SAMPLES, _BATCH)
    num_straddling = sum(first // _CHUNK != (first + _BATCH - 1) // _CHUNK for first in firsts)
    late = Spread.of([late["seconds"] for _, late in many]).median
    manifest = Spread.of([late["manifest_seconds"] for _, late in many]).median
    rest = Spread.of([late["seconds"] - late["manifest_seconds"] for _, late in many]).median
    return (
        f"90 % is after {_NINETY_PERCENT} of {cases.NUM_BATCHES} batches: the next lies in one chunk, as the first"
        f" one does. {num_straddling} of the batches take from two chunks, as the one after {_STRADDLING} batches does "
        "(rows in bold), and ours then reads and verifies both.\n"
        f"Of the {1000 * late:,.0f} ms for {100 * NUM_CHUNKS:,} samples, {1000 * manifest:,.0f} ms are reading and "
        f"verifying the JSON manifest; {1000 * rest:,.1f} ms are all the rest."
    )


if __name__ == "__main__":
    main()
