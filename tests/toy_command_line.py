"""Carries out command lines on the toy pipeline, in this process."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


Call = Callable[..., Ended]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Carry out command lines on the toy pipeline in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pipeline"])
    monkeypatch.setenv("PIPELINE_PIPELINE", "toy_pipeline:PIPELINE")
    monkeypatch.delenv("COLUMNS", raising=False)

    def carry_out(*words: str, code: int | None = 0) -> Ended:
        found = main(shlex.split(" ".join(words)))
        ended = Ended(found, *capsys.readouterr())
        assert code in (ended.code, None), ended
        return ended

    return carry_out


def actions(ended: Ended) -> dict[str, str]:
    """Return what was or would be done with each stage."""
    return {stage["stage"]: stage["action"] for stage in ended.document["stages"]}


def states(ended: Ended) -> dict[str, str]:
    """Return the state of each stage."""
    return {stage["stage"]: stage["state"] for stage in ended.document["stages"]}
