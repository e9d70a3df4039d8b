"""Which runs a workspace has seen, in the order in which they were last started, and which work each of them needs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedReader
from pathlib import Path

from pipeline.events import Kind
from pipeline.graph import ordered
from pipeline.inventory import Inventory, Work
from pipeline.observe import ground
from pipeline.reading import open_regular
from pipeline.stage import Stage


@dataclass(frozen=True)
class StartedRun:
    """A run as the log of events tells of its last start.

    Attributes:
        hashes: the config hash of each of its stages.
        at: when that was, in seconds since 1970; of a later one in the log never less, even if a clock was set back.
    """

    name: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True)
class Run:
    """A run of which there is at least some work, whoever did it: runs share what they have in common."""

    name: str
    works: tuple[Work, ...]


def started_runs(path: Path) -> tuple[StartedRun, ...]:
    """Return each run that the log of events at `path` tells of once, in the order of their last starts."""
    found: dict[str, StartedRun] = {}
    latest = 0.0
    for line in _lines(path):
        # The log of a long training has gigabytes, of which a thousandth are starts: only these are parsed.
        if b'"run_started"' in line:
            with suppress(ValueError, LookupError, TypeError, AttributeError):  # half a line of a killed run
                event = json.loads(line)
                name, hashes = str(event["data"]["run"]), event["data"].get("config_hashes", {})
                if event["kind"] == Kind.RUN_STARTED:
                    found.pop(name, None)
                    latest = max(latest, _moment(event.get("time")))
                    of_stages = {str(stage): str(digest) for stage, digest in hashes.items()}
                    found[name] = StartedRun(name, of_stages, latest)
    return tuple(found.values())


def _lines(path: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError), open_regular(path) as file:
        yield from BufferedReader(file)  # type: ignore[type-var]  # it is a FileIO: unbuffered


def find_runs(inventory: Inventory, *, stages: Sequence[Stage], started: Sequence[StartedRun]) -> tuple[Run, ...]:
    """Return the runs of which there is work, the one that was started last at the end.

    A run whose start is not logged, as one of an older version, or of a log that was removed or could not be written,
    is known by the works that it began itself, and counts from when it last did any.
    """
    needs = _Needs(inventory.works, ordered(stages))
    logged = {run.name: run for run in started}
    last = {run.name: run.at for run in started}
    for work in inventory.works:
        if work.run:
            # What is logged needs no help of the disk, which tells of copies when they were made.
            at = work.finished_at if work.run in logged else work.last_at
            last[work.run] = max(last.get(work.run, 0.0), at)
    names = sorted(last, key=last.__getitem__)
    runs = [
        Run(name, needs.of_hashes(logged[name].hashes) if name in logged and logged[name].hashes else needs.of(name))
        for name in names
    ]
    return tuple(run for run in runs if run.works)


@dataclass
class _Needs:
    """Finds what runs need among `works`; of a stage that the pipeline does not have, nothing is known."""

    works: Sequence[Work]
    stages: Sequence[Stage]
    _grounds: dict[tuple[str, str, tuple[str, ...]], frozenset[str]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[Work, ...]:
        """Return what the run `name` needs: what it began itself, and what that stands on."""
        hashes: dict[str, frozenset[str]] = {}
        for stage in reversed(self.stages):
            own = frozenset(work.config_hash for work in self._of_stage(stage.name) if work.run == name)
            hashes[stage.name] = own or self._stood_on(stage.name, hashes)
        return self._chosen(hashes)

    def of_hashes(self, hashes: Mapping[str, str]) -> tuple[Work, ...]:
        """Return what a run with these config hashes needs."""
        return self._chosen({stage: frozenset([config_hash]) for stage, config_hash in hashes.items()})

    def _chosen(self, hashes: Mapping[str, Collection[str]]) -> tuple[Work, ...]:
        """Return the works with these config hashes; where there are several grounds, those on which they now stand."""
        chosen: dict[str, list[Work]] = {}
        for stage in self.stages:
            found = [work for work in self._of_stage(stage.name) if work.config_hash in hashes.get(stage.name, ())]
            for name, kinds in stage.inputs.items():
                # Where nothing of the stage before is left, it may give any ground when it runs again.
                if before := chosen[name]:
                    found = [work for work in found if any(self._stands_on(work, each, kinds) for each in before)]
            chosen[stage.name] = found
        return tuple(work for found in chosen.values() for work in found)

    def _stood_on(self, name: str, hashes: Mapping[str, Collection[str]]) -> frozenset[str]:
        """Return the config hashes of the stage `name` on whose works those with `hashes` stand."""
        matches = []
        for after in (stage for stage in self.stages if name in stage.inputs):
            for work in self._of_stage(after.name):
                if work.config_hash in hashes[after.name]:
                    candidates = self._of_stage(name)
                    kinds = after.inputs[name]
                    matches.append({each.config_hash for each in candidates if self._stands_on(work, each, kinds)})
        # Two stages may consume different kinds of its outputs: best is what suits all of them.
        return frozenset(set.intersection(*matches) or set.union(*matches)) if matches else frozenset()

    def _of_stage(self, name: str) -> list[Work]:
        return [work for work in self.works if work.stage == name]

    def _stands_on(self, work: Work, before: Work, kinds: tuple[str, ...]) -> bool:
        if work.inputs is None:
            return True
        key = (before.stage, before.key, kinds)
        if key not in self._grounds:
            grounds = {before.promise} if before.record is None else {before.promise, ground(before.record, kinds)}
            self._grounds[key] = frozenset(grounds)
        return work.inputs.get(before.stage) in self._grounds[key]


def _moment(text: object) -> float:
    """Return a time of the log in seconds since 1970; 0 where there is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
