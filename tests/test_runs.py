"""In which order runs were done, as the log and the works that they left tell it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import toy_command_line
from test_gc import files_document, reseal
from toy_command_line import Call

call = toy_command_line.call

_COUNT = "--set=numbers.count={}"


def _set_times(root: Path, run: str, day: int) -> None:
    """Let what `run` did have been done on a day of January: in its records, and in the log where that has it."""
    moment = f"2026-01-{day:02}T00:00:00+0000"
    for path in root.glob("checkpoints/*/*.json"):
        if (document := files_document(path))["run"] == run:
            reseal(path, {**document, "finished_at": moment})
    log = root / "logs/events.jsonl"
    if log.is_file():
        events: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
        told = [{**event, "time": moment} if event["run"] == run else event for event in events]
        log.write_text("".join(f"{json.dumps(event)}\n" for event in told))


def _unlogged(call: Call, root: Path, count: int, *, code: int = 0) -> None:
    """Carry out a run while the log cannot be written."""
    log, aside = root / "logs/events.jsonl", root / "aside"
    log.rename(aside)
    log.symlink_to("/nowhere")
    assert "goes on without it" in call("run --quiet", _COUNT.format(count), code=code).err
    log.unlink()
    aside.rename(log)


@pytest.mark.parametrize("unlogged", [4, 5, 6])
def test_runs_are_in_the_order_of_their_times_whether_they_are_logged_or_not(
    call: Call, tmp_path: Path, unlogged: int
) -> None:
    """One whose start the log could not take is the newest if it was done last, and not if others came after it."""
    names = []
    for day, count in enumerate((4, 5, 6), start=1):
        if count == unlogged:
            (tmp_path / "logs").mkdir(exist_ok=True)
            (tmp_path / "logs/events.jsonl").touch()
            _unlogged(call, tmp_path, count)
        else:
            call("run --quiet", _COUNT.format(count))
        names.append(call("status --json", _COUNT.format(count)).document["run"])
        _set_times(tmp_path, names[-1], day)
    for keep in (1, 2):
        document = call(f"gc --keep {keep} --dry-run --json").document
        assert (document["kept_runs"], document["dropped_runs"]) == (names[-keep:], names[:-keep])


@pytest.mark.parametrize("day", [1, 3])
def test_half_done_work_counts_from_when_it_was_last_changed(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: int
) -> None:
    """Where the log does not tell of its run, as its note has no time in it."""
    call("run --quiet")
    logged = call("status --json").document["run"]
    monkeypatch.setenv("TOY_FAILURE", "stage")
    _unlogged(call, tmp_path, 5, code=1)
    half_done = call("status --json", _COUNT.format(5)).document["run"]
    _set_times(tmp_path, logged, 2)
    _set_times(tmp_path, half_done, 1)
    for path in tmp_path.glob("checkpoints/*/*"):
        os.utime(path, (1_767_225_600 + (day - 1) * 86_400,) * 2)  # from the first of that January on
    assert call("gc --keep 1 --dry-run --json").document["kept_runs"] == [logged if day == 1 else half_done]


@pytest.mark.parametrize("part", [0.25, 0.75])
def test_within_a_second_the_disk_tells_when_an_unlogged_run_was_done(call: Call, tmp_path: Path, part: float) -> None:
    """Records tell whole seconds; a copy, whose files are new, counts from the end of that second."""
    call("run --quiet")
    logged = call("status --json").document["run"]
    _unlogged(call, tmp_path, 5)
    unlogged = call("status --json", _COUNT.format(5)).document["run"]
    for run in (logged, unlogged):
        _set_times(tmp_path, run, 1)
    log = tmp_path / "logs/events.jsonl"
    log.write_text(log.read_text().replace("T00:00:00+", "T00:00:00.500+"))
    for path in tmp_path.glob("checkpoints/*/*.json"):
        os.utime(path, (1_767_225_600 + part,) * 2)
    newest = unlogged if part > 0.5 else logged
    assert call("gc --keep 1 --dry-run --json").document["kept_runs"] == [newest]
    for path in tmp_path.glob("checkpoints/*/*.json"):
        os.utime(path)
    assert call("gc --keep 1 --dry-run --json").document["kept_runs"] == [unlogged]
