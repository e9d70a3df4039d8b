"""The command line on the tiny pipeline, its workspace when all is done, and a copy of that to spoil."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main

SMALL = "tiny_pipeline:SMALL"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the workspace of a finished run."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_PIPELINE", SMALL)
        assert main(["run", "--quiet", "--workspace", str(root)]) == 0
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """Give a copy of it that may be spoiled."""
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True)


@dataclass(frozen=True)
class Answered:
    """How a command ended, and its answer."""

    code: int
    document: Any

    @property
    def actions(self) -> list[str]:
        """What was or would be done with each stage, in order."""
        return [stage["action"] for stage in self.document["stages"]]

    @property
    def error(self) -> str:
        """The sentence and the hint of the error."""
        return f"{self.document['error']['message']} {self.document['error']['hint']}"


Command = Callable[..., Answered]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Give what carries out command lines on the tiny pipeline in this process, in a workspace."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("PIPELINE_PIPELINE", SMALL)

    def carry_out(workspace: Path, *words: str) -> Answered:
        code = main([*words, "--workspace", str(workspace), "--json"])
        return Answered(code, json.loads(capsys.readouterr().out))

    return carry_out


def contents(root: Path, *folders: str) -> dict[str, bytes]:
    """Return what lies in folders of a workspace, by relative path, but for what bears a time or a count of runs."""
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if "training_results" not in path.name}


def newest_checkpoint(root: Path) -> Path:
    """Return the folder of the newest checkpoint."""
    return max(root.glob("checkpoints/training/*/checkpoint-step*"), key=lambda path: (path.name, path.stat().st_mtime))
