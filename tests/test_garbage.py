"""What `gc` takes for ours: the name of a folder alone is no proof."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import toy_command_line
from fakes import let_vanish
from toy_command_line import Call

from pipeline import files
from pipeline.garbage import find_garbage
from pipeline.workspace import Workspace

call = toy_command_line.call

_DATED = ("results/figures-20261121", "logs/slurm/job-20261121")


def test_folders_of_others_stay_whatever_they_are_called(call: Call, tmp_path: Path) -> None:
    """A date looks like the hash in the name of a run; that they were left alone, and why, is told."""
    call("run --quiet")
    call("report")
    own_sheet = next(tmp_path.glob("results/*/run.json"))
    for folder in _DATED:
        files.write_bytes(tmp_path / folder / "mine.txt", b"mine")
    (tmp_path / "results/empty-20261121").mkdir()
    files.write_bytes(tmp_path / "results/other-20261121/run.json", b'{"run": "other-20261121"}')
    shutil.copytree(own_sheet.parent, tmp_path / "results/copy-20261121")
    ended = call("gc --yes")
    assert ended.out.splitlines()[-1] == "there is nothing to remove"
    assert ended.out.startswith("warning: left alone: results/copy-20261121, ")
    assert "and 2 more; the name is like that of a run, but no record, log or run.json tells of one" in ended.out
    call("gc --yes --keep 1")
    assert all((tmp_path / folder / "mine.txt").read_bytes() == b"mine" for folder in _DATED)
    assert len(list(tmp_path.glob("results/*-20261121"))) == 4


@pytest.mark.parametrize("proof", ["record", "log", "cache", "sheet"])
def test_what_a_run_has_left_goes_by_any_proof_that_it_is_of_a_run(call: Call, tmp_path: Path, proof: str) -> None:
    """A record that goes with it, the log, what was remembered of its files, or its own sheet."""
    call("run --quiet")
    call("report")
    name = next(tmp_path.glob("results/*/run.json")).parent.name
    files.write_bytes(tmp_path / "logs/curves" / name / "points", b"x")
    if proof != "record":
        for path in tmp_path.glob("checkpoints/*/*"):
            path.unlink()
    if proof != "log":
        (tmp_path / "logs/events.jsonl").unlink()
    if proof != "cache":
        for path in tmp_path.glob("checkpoints/.stat_cache.*"):
            path.unlink()
    if proof != "sheet":
        (tmp_path / "results" / name / "run.json").unlink()
    if proof == "record":
        call("run --quiet --set numbers.count=5")
        (tmp_path / "logs/events.jsonl").unlink()
    document = call("gc --yes --json", "--keep 1" if proof == "record" else "").document
    assert document["doubts"] == []
    assert not (tmp_path / "results" / name).exists()
    assert not (tmp_path / "logs/curves" / name).exists()
    assert json.dumps(document["garbage"]).count(name) >= 2


@pytest.mark.parametrize("after", range(1, 8))
def test_what_a_run_removes_meanwhile_does_not_end_the_listing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """`gc --dry-run` takes no lock: what is gone is no garbage, whenever it went."""
    folder = workspace.datasets / "numbers.corrupt-0"
    for name in ("a", "b"):
        files.write_bytes(folder / name, b"x" * 1000)
    let_vanish(monkeypatch, folder, after=after)
    assert find_garbage([], workspace=workspace, keep=None).num_bytes in (0, 1000, 2000)
    assert not folder.exists()
