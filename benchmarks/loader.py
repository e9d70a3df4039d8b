"""Batches a second of our reader, of the floor below it and of other loaders, in both orders (`make bench-loader`).

The same 4,000 samples for all, batches of 32, one process and no workers, warm page cache. Each measurement is a fresh
process that reads one epoch and then some more: the first one opens (ours: and verifies) the files, the later ones are
what training sees. All loaders are measured in turns; ratios are within a round. The floor is a loop that copies from
mapped chunks into two buffers that are used again, in an order that is known beforehand. "MB" is the anonymous memory
(RssAnon) that the loader has added when the epochs are read.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

import loader_cases as cases
from side_by_side import Spread, machine, ratios, write_section

ROUNDS = 9  # of the floor and of ours, which take under a second each
PEER_ROUNDS = 3
PEERS = ("litdata", "stateful", "arrow", "mds", "webdataset")
ORDERS = ("sequential", "shuffled")
_NUM_EPOCHS = {"floor": 11, "ours": 11, "litdata": 4, "stateful": 4}  # of the slow ones: 2
_GOAL = (
    "Goals for ours, in both orders: at least 0.8 of the floor, at least 1.5x the best peer; anonymous memory that "
    "does not grow with the data set."
)
_MEMORY_SIZES = (1000, 4000, 40_000)


def main() -> None:
    """Measure and write the section."""
    names = [*cases.FLOOR_AND_OURS, *PEERS]
    cases.prepare(PEERS)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {(name, order): [] for name in names for order in ORDERS}
    for number in range(ROUNDS):
        for (name, order), results in found.items():
            if number >= PEER_ROUNDS and name in PEERS:
                continue
            num_epochs = _NUM_EPOCHS.get(name, 2)
            result = cases.run(name, "epochs", str(cases.data_of(name)), order, str(num_epochs))
            assert result["samples"] == cases.NUM_SAMPLES, f"{name} read {result['samples']} samples"
            results.append(result)
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    body = "\n\n".join([*(_table(found, order, names) for order in ORDERS), _memory()])
    write_section(
        f"Loader: {cases.NUM_SAMPLES:,} samples of 1 x 416 x 416, batches of 32",
        f"{machine()}; {ROUNDS} rounds in turns, of the peers {PEER_ROUNDS} (`make bench-loader`).\n{_GOAL}\n\n{body}",
    )


def _table(found: dict[tuple[str, str], list[dict[str, Any]]], order: str, names: list[str]) -> str:
    later = {name: [median(one["rates"][1:]) for one in found[name, order]] for name in names}
    first = {name: [one["rates"][0] for one in found[name, order]] for name in names}
    best = max(PEERS, key=lambda name: median(later[name]))
    lines = [
        f"| {order} | batches/s, later epochs | min | max | of the floor | of the best peer "
        "| first epoch | of the floor's | MB |",
        "| --- " * 9 + "|",
    ]
    for name in names:
        to_floor, to_best = _ratio(later, name, "floor"), _ratio(later, name, best)
        first_share = _ratio(first, name, "floor")
        memory = median(one["anonymous_mb"] for one in found[name, order])
        lines.append(
            f"| {cases.LABELS[name]} | {Spread.of(later[name]).row()} | {to_floor:.2f} | {to_best:.2f} "
            f"| {median(first[name]):,.0f} | {first_share:.2f} | {memory:.0f} |"
        )
    return "\n".join(lines)


def _ratio(rates: dict[str, list[float]], name: str, to: str) -> float:
    """Return the median ratio of two loaders over the rounds in which both were measured."""
    shared = min(len(rates[name]), len(rates[to]))
    return ratios(rates[name][:shared], rates[to][:shared]).median


def _memory() -> str:
    """Return what our reader adds for data sets of different sizes; the largest has each file ten times."""
    lines = ["| samples | anonymous MB of our reader after two shuffled epochs |", "| --- | --- |"]
    for num_samples in _MEMORY_SIZES:
        path = cases.simulated_manifest(num_samples // 100)
        memory = cases.run("ours", "epochs", str(path), "shuffled", "2")["anonymous_mb"]
        lines.append(f"| {num_samples:,} | {memory:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
