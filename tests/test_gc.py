"""`gc`: what goes, what stays for every run that is kept, and who it never races with."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import toy_command_line
from faults import Fault, FaultyDisk, Point
from toy_command_line import Call, actions

from pipeline import files
from pipeline.commands.collect import collect
from pipeline.options import PlaceOptions

call = toy_command_line.call

_HOLDER = """
import sys
from pathlib import Path
from pipeline.workspace import Workspace
with Workspace.at(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""
_LOW = "--set=numbers.draw.low={}"


@contextmanager
def _held(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a process that holds the run lock, as a run does."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(root)], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield holder
        holder.communicate()


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _size(root: Path) -> int:
    """Return the bytes of all files but the logs of events and what is remembered of files, which gc writes anew."""
    paths = (path for path in root.rglob("*") if path.is_file() and path.name not in (".stat_cache", "events.jsonl"))
    return sum(path.stat().st_size for path in paths)


def _garbage(document: dict[str, Any]) -> dict[str, str]:
    return {each["path"]: each["why"] for each in document["garbage"]}


def test_after_runs_of_many_settings_there_is_nothing_to_remove(call: Call) -> None:
    """Every record is current as long as nobody says how many runs are to be kept: going back is a cache hit."""
    settings = ("", _LOW.format(5), "--set=cubes.mode=signed", "--profile=large")
    for each in settings:
        call("run --quiet", each)
    assert call("gc --yes").out == "there is nothing to remove\n"
    for each in settings:
        assert set(actions(call("run --json", each)).values()) == {"skip"}


def test_what_no_record_needs_goes_and_what_is_not_ours_stays(call: Call, tmp_path: Path) -> None:
    """Temporaries of killed processes, what was set aside, and results of runs that are gone; each with its reason."""
    call("run --quiet")
    number = next(tmp_path.glob("datasets/*/00002.json"))
    leftovers = {
        number.with_name(".tmp-0123456789ab-00003.json"): "TEMPORARY",
        number.with_name("00002.json.corrupt-0"): "SET_ASIDE",
        tmp_path / "results/gone-0123abcd/report.html": "UNNEEDED",
        tmp_path / "logs/tensorboard/gone-0123abcd/events": "UNNEEDED",
        tmp_path / "checkpoints/.stat_cache.gone-0123abcd": "UNNEEDED",
    }
    foreign = [number.with_name("notes.txt"), tmp_path / "results/notes/mine.txt", tmp_path / "logs/my.log"]
    alive = [path.parent / "report.html" for path in tmp_path.glob("results/*/total.json")]
    for path in (*leftovers, *foreign, *alive):
        files.write_bytes(path, b"12345")
    before = _size(tmp_path)
    document = call("gc --yes --json").document
    whole = {path.parent if "gone" in path.parent.name else path: why for path, why in leftovers.items()}
    assert _garbage(document) == {path.relative_to(tmp_path).as_posix(): why for path, why in whole.items()}
    assert (document["num_files"], document["num_bytes"]) == (5, 25)
    assert before - _size(tmp_path) == 25
    assert not any(path.exists() for path in leftovers)
    assert all(path.read_bytes() == b"12345" for path in (*foreign, *alive))
    assert set(actions(call("run --json")).values()) == {"skip"}


@pytest.mark.parametrize("has_log", [True, False])
def test_keep_keeps_the_runs_that_were_started_last(call: Call, tmp_path: Path, has_log: bool) -> None:
    """A cached run counts as a start; without the log of events, the time when a run was done decides."""
    for low in (2, 3, 4):
        call("run --quiet", _LOW.format(low))
    names = [call("status --json", _LOW.format(low)).document["run"] for low in (2, 3, 4)]
    if has_log:
        call("run --quiet", _LOW.format(2))
    else:
        (tmp_path / "logs/events.jsonl").unlink()
        for number, path in enumerate(sorted(tmp_path.glob("checkpoints/*/*.json"))):
            document = files_document(path)
            document["finished_at"] = f"2026-01-0{1 + names.index(document['run'])}T00:00:{number:02}+0000"
            reseal(path, document)
    document = call("gc --keep 2 --yes --json").document
    kept = [2, 4] if has_log else [3, 4]
    assert document["dropped_runs"] == [names[1] if has_log else names[0]]
    assert {each["why"] for each in document["garbage"]} == {"OLD_RUN"}
    for low in (2, 3, 4):
        expected = {"skip"} if low in kept else {"run"}
        assert set(actions(call("run --json", _LOW.format(low))).values()) == expected


def test_keep_leaves_what_a_kept_run_shares_with_older_ones(call: Call, tmp_path: Path) -> None:
    """The data and one branch were made by the run that goes; only its own branch and total go with it."""
    call("run --quiet")
    call("run --quiet --set cubes.mode=signed --set total.minimum=1")
    first, second = sorted(tmp_path.glob("results/*"), key=lambda folder: (folder / "squares.json").exists())[::-1]
    files.write_bytes(first / "report.html", b"of a run that goes")
    call("gc --keep 1 --yes")
    assert {path.name for path in first.iterdir()} == {"squares.json"}
    assert {path.name for path in second.iterdir()} == {"cubes.json", "total.json"}
    assert set(actions(call("run --json --set cubes.mode=signed --set total.minimum=1")).values()) == {"skip"}
    assert call("gc --keep 1 --dry-run").out == "there is nothing to remove\n"
    assert actions(call("run --json")) == {"numbers": "skip", "squares": "skip", "cubes": "run", "total": "run"}


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_run_before_the_kept_runs_are_still_whole(call: Call, tmp_path: Path, seed: int) -> None:
    """After any history, the kept runs are skipped, every record left is intact, and nothing is left to remove."""
    chance = random.Random(seed)  # noqa: S311
    lines = [
        " ".join(
            (
                _LOW.format(chance.choice((1, 2))),
                f"--set=numbers.count={chance.choice((2, 3))}",
                f"--set=squares.label={chance.choice('ab')}",
                f"--set=total.minimum={chance.choice((1, 2))}",
            )
        )
        for _ in range(8)
    ]
    lines += [f"{lines[0]} --until=squares", lines[1]]
    for line in lines:
        call("run --quiet", line)
    keep = chance.randint(1, 4)
    newest = list(dict.fromkeys(line.replace(" --until=squares", "") for line in reversed(lines)))[:keep]
    before = _size(tmp_path)
    document = call(f"gc --keep {keep} --yes --json").document
    assert before - _size(tmp_path) == document["num_bytes"]
    assert "intact" in call("validate --deep").out
    assert call(f"gc --keep {keep} --dry-run").out == "there is nothing to remove\n"
    for line in newest:
        assert set(actions(call("run --json", line)).values()) == {"skip"}, line


def test_half_done_work_stays_until_its_run_is_not_kept(call: Call, tmp_path: Path, monkeypatch: Any) -> None:
    """Work that can be continued is worth more than the place it takes, unless the user says how many runs stay."""
    monkeypatch.setenv("TOY_FAILURE", "stage")
    call("run --quiet", code=1)
    monkeypatch.delenv("TOY_FAILURE")
    assert len(list(tmp_path.glob("checkpoints/total/*.begun"))) == 1
    call("run --quiet", _LOW.format(5))
    assert call("gc --yes").out == "there is nothing to remove\n"
    call("gc --yes --keep 1")
    assert not list(tmp_path.glob("checkpoints/total/*.begun"))
    assert len(list(tmp_path.glob("checkpoints/*/*.json"))) == 4


@pytest.mark.parametrize("words", ["", "--keep 1"])
def test_a_running_run_is_never_raced(call: Call, tmp_path: Path, words: str) -> None:
    """While another process holds the lock nothing goes; a dry run tells who it is, and leaves out its temporaries."""
    call("run --quiet")
    call("run --quiet", _LOW.format(5))
    files.write_bytes(tmp_path / "results/.tmp-0123456789ab-x", b"of the run that works")
    with _held(tmp_path) as holder:
        before = _tree(tmp_path)
        ended = call("gc --yes", words, code=5)
        assert f"process {holder.pid}" in ended.err
        told = call("gc --dry-run --json", words).document
        assert f"process {holder.pid}" in told["running"]
        assert "TEMPORARY" not in _garbage(told).values()
        assert f"not now, as a run works here: process {holder.pid}" in call("gc --dry-run --keep 1").out
        after = _tree(tmp_path)
        assert {name: after[name] for name in before if "lock" not in name} == {
            name: before[name] for name in before if "lock" not in name
        }
    assert _garbage(call("gc --dry-run --json").document) == {"results/.tmp-0123456789ab-x": "TEMPORARY"}


def test_a_run_at_work_loses_nothing(call: Call, tmp_path: Path) -> None:
    """A real run that has made a part of its first stage: gc ends with 5, a dry run finds nothing, the run is done."""
    os.mkfifo(fifo := tmp_path / "fifo")
    environment = {**os.environ, "TOY_PAUSE": str(fifo), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-m", "pipeline", "run", "--quiet"], cwd=tmp_path, env=environment) as run:
        with fifo.open("wb"):  # opens when the run has written a number and waits
            assert f"process {run.pid}" in call("gc --yes --keep 1", code=5).err
            assert call("gc --dry-run --keep 1 --json").document["garbage"] == []
            assert len(list(tmp_path.glob("datasets/*/*.json"))) == 1
            fifo.unlink()
            fifo.touch()  # where it waits no more
        assert run.wait() == 0
    assert set(actions(call("run --json")).values()) == {"skip"}
    assert call("gc --yes").out == "there is nothing to remove\n"


def test_a_dry_run_touches_nothing(call: Call, tmp_path: Path) -> None:
    """It tells what would go, with bytes, and leaves every file as it is; in an empty folder it makes none."""
    assert call("gc --dry-run").out == "there is nothing to remove\n"
    assert list(tmp_path.iterdir()) == []
    call("run --quiet")
    call("run --quiet", _LOW.format(5))
    before = _tree(tmp_path)
    ended = call("gc --keep 1 --dry-run")
    assert "would remove " in ended.out
    assert "belongs to a run that is not kept  4 files  " in ended.out
    assert _tree(tmp_path) == before


def test_nothing_goes_without_a_yes(call: Call, tmp_path: Path) -> None:
    """Where nobody can be asked it says what would go, and how to say yes beforehand."""
    call("run --quiet")
    call("run --quiet", _LOW.format(5))
    before = _tree(tmp_path)
    ended = call("gc --keep 1", code=2)
    assert "nobody can answer" in ended.err
    assert ended.err.count("small-") >= 2  # which runs stay and which go
    assert _tree(tmp_path) == before
    assert collect(PlaceOptions(), keep=1, ask=lambda *_: False).text(0) == "nothing was removed"
    assert _tree(tmp_path) == before
    assert call("gc --keep 0", code=2).err.startswith("error")


def test_what_a_run_needs_that_came_while_the_user_thought_stays(call: Call) -> None:
    """The question was about a run that was old; when it is answered, that run has been started again."""
    call("run --quiet")
    call("run --quiet", _LOW.format(5))

    def ask(*_: object) -> bool:
        call("run --quiet")
        return True

    told = collect(PlaceOptions(), keep=1, ask=ask).text(0)
    assert "since you were asked" in told
    assert set(actions(call("run --json")).values()) == {"skip"}


@pytest.mark.parametrize("words", ["", "--keep 1"])
def test_where_a_record_cannot_be_read_nothing_goes_that_it_may_mean(call: Call, tmp_path: Path, words: str) -> None:
    """Its stage and those before it stay whole, and it is said why; the run that has it is then mended as ever."""
    call("run --quiet")
    call("run --quiet", _LOW.format(5))
    record = next(tmp_path.glob("checkpoints/squares/*.json"))
    record.write_bytes(record.read_bytes().replace(b'"size"', b'"site"'))
    before = _tree(tmp_path)
    ended = call("gc --yes", words)
    assert "warning: " in ended.out
    assert "of squares and the stages before it nothing goes" in ended.out
    gone = before.keys() - _tree(tmp_path).keys()
    assert not [name for name in gone if "datasets" in name or "squares" in name]
    assert bool(gone) == bool(words)
    assert "run" not in {actions(call("run --json", _LOW.format(low)))["numbers"] for low in (1, 5)}


def test_results_stay_where_a_record_that_cannot_be_read_may_mean_them(call: Call, tmp_path: Path) -> None:
    """Whose they are is known from records alone, where the log is gone."""
    call("run --quiet")
    for path in (*tmp_path.glob("checkpoints/[cnt]*/*.json"), tmp_path / "logs/events.jsonl"):
        path.unlink()
    next(tmp_path.glob("checkpoints/squares/*.json")).write_bytes(b"{}")
    call("gc --yes")
    assert list(tmp_path.glob("results/*/squares.json"))


def test_what_other_pipelines_have_made_stays(call: Call, tmp_path: Path) -> None:
    """Records of stages that this pipeline does not have vouch for their files all the same, also with --keep."""
    call("run --quiet")
    call("run --quiet", _LOW.format(5))
    shutil.copytree(tmp_path / "checkpoints/total", tmp_path / "checkpoints/other")
    for path in tmp_path.glob("checkpoints/other/*.json"):
        reseal(path, {**files_document(path), "stage": "other", "run": "mine-0123abcd"})
    files.write_bytes(tmp_path / "results/mine-0123abcd/x.json", b"x")
    call("gc --keep 1 --yes")
    assert len(list(tmp_path.glob("checkpoints/other/*.json"))) == 2
    assert len(list(tmp_path.glob("results/*/total.json"))) == 2
    assert (tmp_path / "results/mine-0123abcd/x.json").exists()


def test_stopped_at_any_point_it_leaves_no_record_of_what_is_gone(call: Call, tmp_path: Path) -> None:
    """A disk that fails at any operation: every record that is left is intact, and the next time does the rest."""
    made, work = tmp_path / "made", tmp_path / "work"
    for low in (1, 5):
        call("run --quiet --workspace made", _LOW.format(low))
    real, number, is_done = files.disk, 0, False
    while not is_done:
        number += 1
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(made, work)
        files.disk = FaultyDisk(Point(Fault.EIO, at=number))
        try:
            is_done = call("gc --keep 1 --yes --workspace work", code=None).code == 0
        finally:
            files.disk = real
        assert "intact" in call("validate --deep --workspace work").out
        call("gc --keep 1 --yes --workspace work")
        assert call("gc --keep 1 --dry-run --workspace work").out == "there is nothing to remove\n"
        assert set(actions(call("run --json --workspace work", _LOW.format(5))).values()) == {"skip"}
    assert number > 20


def files_document(path: Path) -> dict[str, Any]:
    """Return a sealed document as it is, seal included."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def reseal(path: Path, document: dict[str, Any]) -> None:
    """Write a document back with a seal that fits."""
    from pipeline.sealed import save_sealed

    save_sealed(path, {name: value for name, value in document.items() if name != "digest"})
