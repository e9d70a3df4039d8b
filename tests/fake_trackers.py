"""Trackers of one's own, as `module:attribute`: one that keeps everything, and those that misbehave in each verb."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.trackers.tracker import TrackedRun

VERBS = ("start", "log", "artifact", "finish")


class Keeping:
    """Writes each call as a line of JSON into `logs/kept.jsonl`."""

    rewrites = False

    def start(self, run: TrackedRun) -> None:
        """Keep who it is."""
        self._path = run.logs / "kept.jsonl"
        run.logs.mkdir(parents=True, exist_ok=True)
        self._keep("start", id=run.id, config=dict(run.config), is_online=run.is_online)

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Keep the values."""
        self._keep("log", step=step, values=dict(values))

    def artifact(self, path: Path) -> None:
        """Keep the contents."""
        self._keep("artifact", name=path.name, text=path.read_text())

    def finish(self, status: str) -> None:
        """Keep how it ended."""
        self._keep("finish", status=status)

    def _keep(self, verb: str, **what: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"verb": verb, **what}) + "\n")


class Rewriting(Keeping):
    """The same, for one that can hide what was there."""

    rewrites = True


class Gated(Keeping):
    """Waits at a named pipe in the folder of logs before it takes the first values."""

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Wait, then keep."""
        gate = self._path.with_name("gate")
        if gate.exists():
            gate.read_bytes()
        super().log(values, step=step)


class _Misbehaving:
    rewrites = True

    def __init__(self, verb: str) -> None:
        self._verb = verb

    def start(self, _run: TrackedRun) -> None:
        self._meet("start")

    def log(self, _values: Mapping[str, float], *, step: int | None) -> None:
        self._meet(f"log{step or ''}"[:3])

    def artifact(self, _path: Path) -> None:
        self._meet("artifact")

    def finish(self, _status: str) -> None:
        self._meet("finish")

    def _meet(self, verb: str) -> None:
        if verb == self._verb:
            self._misbehave()

    def _misbehave(self) -> None:
        raise NotImplementedError


class _Raising(_Misbehaving):
    def _misbehave(self) -> None:
        raise RuntimeError(f"no {self._verb} today, says token-abcdef")


class _Hanging(_Misbehaving):
    def _misbehave(self) -> None:
        while True:
            time.sleep(3600)


class _Dying(_Misbehaving):
    def _misbehave(self) -> None:
        os._exit(7)


class _Full(_Misbehaving):
    def _misbehave(self) -> None:
        with Path("/dev/full").open("w") as full:
            full.write("x" * 100_000)


class _Talking(_Misbehaving):
    def _misbehave(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            print("x" * 1_000_000, file=stream, flush=True)


def __getattr__(name: str) -> Any:
    """Make what `Raising_log` and its like name."""
    kind, _, verb = name.partition("_")
    kinds = {"Raising": _Raising, "Hanging": _Hanging, "Dying": _Dying, "Full": _Full, "Talking": _Talking}
    if kind not in kinds or verb not in VERBS:
        raise AttributeError(name)
    return lambda: kinds[kind](verb)
