"""One measurement of one loader, in a process of its own; prints it as JSON.

measure.py CASE write SOURCE TARGET      the samples in the loader's own format
measure.py CASE epochs DATA ORDER N      batches a second of N epochs, and the anonymous memory that they took
measure.py CASE state DATA K FILE        the loader's state after K shuffled batches
measure.py CASE first DATA FILE          seconds from construction to the first batch, continued from FILE ("-": from 0)

Imports are not counted. ORDER is `sequential` or `shuffled`.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_MOST_SAMPLES = 100_000  # of which is noted whether they were read


@dataclass(frozen=True)
class Case:
    """Where a loader is driven, and what it imports when it is used."""

    module: str
    name: str
    packages: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, data: Path, *, is_shuffled: bool) -> Any:
        """Return the loader."""
        kind = getattr(importlib.import_module(self.module), self.name)
        return kind(data, is_shuffled=is_shuffled, **self.options)


_STATEFUL = "torchdata.stateful_dataloader"
_ITERABLE = {"is_iterable": True}
CASES = {
    "floor": Case("ours", "Floor", ("numpy.random",)),
    "ours": Case("ours", "Ours", ("numpy.random",)),
    "litdata": Case("lit", "Lit", ("litdata",)),
    "stateful": Case("torch_loaders", "Stateful", (_STATEFUL,)),
    "stateful-iterable": Case("torch_loaders", "Stateful", (_STATEFUL,), _ITERABLE),
    "accelerate": Case("torch_loaders", "Accelerated", ("accelerate",)),
    "accelerate-iterable": Case("torch_loaders", "Accelerated", ("accelerate",), _ITERABLE),
    "arrow": Case("hugging", "Hugging", ("datasets", _STATEFUL)),
    "arrow-iterable": Case("hugging", "Hugging", ("datasets", _STATEFUL), _ITERABLE),
    "mds": Case("mosaic", "Mosaic", ("streaming",)),
    "webdataset": Case("tars", "Tars", ("webdataset", "PIL.Image")),
}


def _epochs(case: Case, data: Path, *, is_shuffled: bool, num_epochs: int) -> dict[str, Any]:
    before = _anonymous_mb()
    loader = case.make(data, is_shuffled=is_shuffled).loader
    rates = []
    is_read = np.zeros(_MOST_SAMPLES, bool)
    for _ in range(num_epochs):
        is_read[:] = False
        num_batches = 0
        started = time.perf_counter()
        for batch in loader:
            num_batches += 1
            is_read[np.asarray(batch["id"])] = True
        rates.append(num_batches / (time.perf_counter() - started))
    return {"rates": rates, "samples": int(is_read.sum()), "anonymous_mb": _anonymous_mb() - before}


def _state(case: Case, data: Path, *, num_batches: int, file: Path) -> dict[str, Any]:
    loader = case.make(data, is_shuffled=True)
    for number, _ in enumerate(loader.loader, 1):
        if number == num_batches:
            break
    file.write_bytes(pickle.dumps(loader.state(num_batches)))
    return {}


def _first(case: Case, data: Path, *, file: Path | None) -> dict[str, Any]:
    state = pickle.loads(file.read_bytes()) if file else None  # noqa: S301 - written by `state` above
    started = time.perf_counter()
    loader = case.make(data, is_shuffled=True)
    if state is not None:
        loader.resume(state)
    batch = next(iter(loader.loader), None)
    seconds = time.perf_counter() - started
    return {
        "seconds": None if batch is None else seconds,
        "ids": [] if batch is None else batch["id"].tolist(),
        "manifest_seconds": getattr(loader, "manifest_seconds", 0.0),
    }


def _anonymous_mb() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Do what the command line says."""
    name, action, data, *others = sys.argv[1:]
    case = CASES[name]
    for package in (case.module, *case.packages):
        importlib.import_module(package)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    result: dict[str, Any] = {}
    if action == "write":
        importlib.import_module(case.module).write(Path(data), Path(others[0]))
    elif action == "epochs":
        result = _epochs(case, Path(data), is_shuffled=others[0] == "shuffled", num_epochs=int(others[1]))
    elif action == "state":
        result = _state(case, Path(data), num_batches=int(others[0]), file=Path(others[1]))
    elif action == "first":
        result = _first(case, Path(data), file=None if others[0] == "-" else Path(others[0]))
    else:
        raise SystemExit(__doc__)
    print(f"\n{json.dumps(result)}", flush=True)
    os._exit(0)  # the threads and the shared memory of some take seconds to end, which is not what is measured


if __name__ == "__main__":
    main()
