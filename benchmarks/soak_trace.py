"""What a run leaves on disk: where it was when it was killed, and what came out when it was left to end."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.files import TEMPORARY_PREFIX
from pipeline.fingerprint import digest_bytes
from pipeline.report.sheet import REPORT_NAME, SHEET_NAME

_WHOLE = re.compile(r"^checkpoint-step(\d+)-[^.]*\.\d+-\d{8}_\d{6}$")
_HALF = re.compile(rf"^{re.escape(TEMPORARY_PREFIX)}[0-9a-f]+-checkpoint-step(\d+)-")


class Phase(StrEnum):
    """What a run was doing; in the order of a run."""

    START_UP = "start-up"
    DATA = "data generation"
    LOADING = "training: building it, loading the checkpoint"
    STEP = "training: a step"
    VALIDATION = "training: a validation"
    BOUNDARY = "training: between mini-epochs, before the next step"
    SAVE = "training: a save"
    ROTATION = "training: the removal of an old checkpoint"
    DELIVERY = "training: over, delivery of the weights"
    EVALUATION = "evaluation"
    BETWEEN = "between stages, or after the last"


class Trace:
    """Follows what one process writes into `workspace`; make it before that process starts.

    Args:
        boundaries: the steps that end a mini-epoch; the last one ends the training.
    """

    def __init__(self, workspace: Path, *, boundaries: frozenset[int]) -> None:
        self._events = Tail(workspace / "logs" / "events.jsonl")
        self._samples = Tail(workspace / "logs" / "samples.jsonl")
        self._checkpoints = workspace / "checkpoints" / "training"
        self._boundaries = boundaries
        for tail in (self._events, self._samples):
            tail.skip()
        self._stage, self._is_over = "", False
        self._step = self._validated = 0

    def phase(self) -> Phase:
        """Return what the process is doing, or was when it died."""
        for event in self._events.new():
            self._take(event)
        for line in self._samples.new():
            self._step = line["global_step"]
        if self._is_over:
            return Phase.BETWEEN
        if self._stage == "training":
            return self._phase_of_training()
        return {"": Phase.START_UP, "data_generation": Phase.DATA, "evaluation": Phase.EVALUATION}[self._stage]

    def _take(self, event: dict[str, Any]) -> None:
        if event["kind"] == "stage_started":
            self._stage, self._is_over = event["stage"], False
        elif event["kind"] == "stage_finished":
            self._is_over = True
        elif _is_validation(event):
            self._validated = event["data"]["step"]

    def _phase_of_training(self) -> Phase:
        # What a run finds of killed ones it removes before its first stage: each temporary here is its own.
        names = [name for folder in _folders(self._checkpoints) for name in os.listdir(folder)]  # noqa: PTH208 - polled
        newest = max((int(match[1]) for name in names if (match := _WHOLE.match(name))), default=0)
        half = next((int(match[1]) for name in names if (match := _HALF.match(name))), None)
        if half is not None:
            return Phase.SAVE if half > newest else Phase.ROTATION
        if self._step in self._boundaries and self._validated < self._step:
            return Phase.VALIDATION
        if newest == max(self._boundaries):
            return Phase.DELIVERY
        if not self._step:
            return Phase.LOADING
        return Phase.BOUNDARY if self._step in self._boundaries else Phase.STEP


class Tail:
    """Reads the whole lines that were added to a JSON lines file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def skip(self) -> None:
        """Pass over all that is there, a line torn by a kill too."""
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the new lines."""
        if not self._path.exists() or self._path.stat().st_size == self._offset:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from (json.loads(line) for line in whole.splitlines())


def boundaries_of(workspace: Path) -> frozenset[int]:
    """Return the steps after which the run in `workspace` validated."""
    events = Tail(workspace / "logs" / "events.jsonl").new()
    return frozenset(event["data"]["step"] for event in events if _is_validation(event))


def came_out(workspace: Path) -> dict[str, str]:
    """Return digests of all that a run makes and that must not depend on kills, by name."""
    made = [*workspace.glob("datasets/**/*"), *workspace.glob("results/*/*")]
    digests = {str(path.relative_to(workspace)): _digest_of_file(path) for path in made if path.is_file()}
    for stage in ("training", "evaluation"):
        for path in (workspace / "checkpoints" / stage).glob("*.json"):
            digests[f"metrics of {stage}"] = _digest(json.loads(path.read_text())["metrics"])
    digests["samples of each step"] = _digest(_history(workspace))
    return digests


def _digest_of_file(path: Path) -> str:
    """Return the digest of a file; of a report, which tells of the way, only that it is there."""
    return "there" if path.name in (REPORT_NAME, SHEET_NAME) else digest_bytes(path.read_bytes())


def left_behind(workspace: Path) -> list[str]:
    """Return what no ended run may leave: temporaries, and files that were set aside though none was damaged."""
    names = [
        path for path in workspace.rglob("*") if path.name.startswith(TEMPORARY_PREFIX) or ".corrupt-" in path.name
    ]
    return [str(path.relative_to(workspace)) for path in names]


def num_checkpoints(workspace: Path) -> int:
    """Return how many generations of checkpoints are kept."""
    return sum(1 for path in workspace.glob("checkpoints/training/*/*") if _WHOLE.match(path.name))


def most_steps_lost(workspace: Path) -> int:
    """Return how many optimizer steps a kill has cost at most."""
    steps = [line["global_step"] for line in Tail(workspace / "logs" / "samples.jsonl").new()]
    return max((last - step + 1 for last, step in pairwise(steps) if step <= last), default=0)


def wrong_samples(workspace: Path) -> list[str]:
    """Name the epochs of the final model's history that have not each sample exactly once."""
    samples: dict[int, list[int]] = defaultdict(list)
    for epoch, _, ids in _history(workspace):
        samples[epoch] += ids
    everything = sorted(set(samples[0]))
    return [
        f"epoch {epoch} took {len(ids)} samples, {len(set(ids))} different ones, of {len(everything)}"
        for epoch, ids in samples.items()
        if sorted(ids) != everything
    ]


def _history(workspace: Path) -> list[tuple[int, int, list[int]]]:
    """Return (epoch, step, sample ids) of the final model's history: the last line of each step counts."""
    steps = {line["global_step"]: line for line in Tail(workspace / "logs" / "samples.jsonl").new()}
    return [(steps[step]["epoch"], step, steps[step]["sample_ids"]) for step in sorted(steps)]


def _folders(parent: Path) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(parent) if entry.is_dir()]
    except FileNotFoundError:
        return []


def _is_validation(event: dict[str, Any]) -> bool:
    return event["kind"] == "metrics" and any(name.startswith("validation_") for name in event["data"])


def _digest(document: Any) -> str:
    return digest_bytes(json.dumps(document, sort_keys=True).encode())
