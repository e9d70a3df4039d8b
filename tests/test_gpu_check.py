"""The GPU check keeps what is finished, goes on wherever it was killed, and its document says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gpu_check
import gpu_check_kernels
import pytest
import torch
from gpu_check_ledger import Figures, Item, Ledger, OutOfTimeError, work_through
from gpu_check_report import report
from gpu_check_setting import Setting

_IDENTITY = {"device": "none", "torch": "0", "tiny": True}


class _KilledError(BaseException):
    """Stands for SIGKILL."""


class _Works:
    """Items that count how often they are done; one of them can be told to end otherwise."""

    def __init__(self, *names: str) -> None:
        self.done: list[str] = []
        self.endings: dict[str, Callable[[], Figures | None]] = {}
        self.items = [Item(name, 10, lambda name=name: self._work(name)) for name in names]  # type: ignore[misc]

    def _work(self, name: str) -> Figures | None:
        self.done.append(name)
        return self.endings.get(name, lambda: {"of": name})()


def _raise(error: BaseException) -> Any:
    raise error


def _go(works: _Works, ledger: Ledger, *, seconds: float = 100) -> bool:
    return work_through(works.items, ledger, seconds_left=lambda: seconds, tell=lambda _: None)


def test_a_kill_costs_one_item(tmp_path: Path) -> None:
    """What was finished before a kill is not done again; the item that it met is; a damaged record is measured anew."""
    works = _Works("a", "b", "c")
    works.endings["b"] = lambda: _raise(_KilledError())
    with pytest.raises(_KilledError):
        _go(works, Ledger(tmp_path, _IDENTITY))
    works.endings.clear()
    assert _go(works, Ledger(tmp_path, _IDENTITY))
    assert works.done == ["a", "b", "b", "c"]
    path = tmp_path / "figures" / "a.json"
    path.write_bytes(path.read_bytes()[:-3])
    ledger = Ledger(tmp_path, _IDENTITY)
    assert _go(works, ledger)
    assert works.done[4:] == ["a"]
    assert [ledger.figures(name) for name in "abc"] == [{"of": "a"}, {"of": "b"}, {"of": "c"}]


def test_what_fails_keeps_nothing_from_being_done(tmp_path: Path) -> None:
    """An item that fails is told with its reason and tried again by the next call; the others are done."""
    works, ledger = _Works("a", "b"), Ledger(tmp_path, _IDENTITY)
    works.endings["a"] = lambda: _raise(ValueError("no such kernel"))
    assert not _go(works, ledger)
    assert works.done == ["a", "b"]
    assert ledger.failure("a") == "ValueError: no such kernel"
    works.endings.clear()
    assert _go(works, ledger)
    assert works.done == ["a", "b", "a"]
    assert ledger.failure("a") == ""


def test_what_fails_twice_is_given_up(tmp_path: Path) -> None:
    """Then nothing is left to do, and the document says so; with other code it is tried again."""
    works, ledger = _Works("a", "b"), Ledger(tmp_path, _IDENTITY, code="old")
    works.endings["a"] = lambda: _raise(ValueError("no such kernel"))
    assert [_go(works, ledger) for _ in range(3)] == [False, True, True]
    assert works.done == ["a", "b", "a"]
    text = report(ledger, works.items, titles={})
    assert "not tried again before the code changes:** a (failed: ValueError: no such kernel)." in text
    assert "Not measured yet:" not in text
    works.endings.clear()
    assert _go(works, Ledger(tmp_path, _IDENTITY, code="new"))
    assert works.done[3:] == ["a"]


def test_what_brings_down_the_program_comes_last(tmp_path: Path) -> None:
    """An item that twice did not come to any end waits for the others, and after four times is not begun any more."""
    works = _Works("a", "b")
    works.endings["a"] = lambda: _raise(_KilledError())
    for _ in range(4):
        with pytest.raises(_KilledError):
            _go(works, Ledger(tmp_path, _IDENTITY))
    assert works.done == ["a", "a", "b", "a", "a"]
    assert _go(works, ledger := Ledger(tmp_path, _IDENTITY))
    assert works.done == ["a", "a", "b", "a", "a"]
    assert ledger.failure("a") == "begun 4 times and never ended"


def test_time_that_ran_out_is_a_failure_only_of_what_had_all_of_it(tmp_path: Path) -> None:
    """An item that began late is begun again; one that had the whole call fails, and is in the end given up."""
    works, ledger = _Works("a", "b"), Ledger(tmp_path, _IDENTITY)
    works.endings["b"] = lambda: _raise(OutOfTimeError("time ran out"))
    assert not _go(works, ledger)
    assert ledger.failure("b") == ""
    assert not _go(works, ledger)
    assert ledger.failure("b") == "OutOfTimeError: time ran out"
    assert _go(works, ledger)
    assert works.done == ["a", "b", "b", "b"]


def test_each_item_finds_the_machine_clean(tmp_path: Path) -> None:
    """What the item before it has left is cleared away first, also where that one failed."""
    works, ledger = _Works("a", "b"), Ledger(tmp_path, _IDENTITY)
    works.endings["a"] = lambda: _raise(ValueError("no such kernel"))
    work_through(
        works.items, ledger, seconds_left=lambda: 100, tell=lambda _: None, clean=lambda: works.done.append("clean")
    )
    assert works.done == ["clean", "a", "clean", "b"]


def test_nothing_begins_that_would_end_too_late(tmp_path: Path) -> None:
    """With less time left than an item needs it waits for the next call; a shorter one does not."""
    works, ledger = _Works("long", "short"), Ledger(tmp_path, _IDENTITY)
    works.items[0] = Item("long", 60, works.items[0].work)
    assert not _go(works, ledger, seconds=30)
    assert works.done == ["short"]
    assert _go(works, ledger)
    assert works.done == ["short", "long"]


def test_an_item_may_take_several_calls(tmp_path: Path) -> None:
    """One that returns nothing is not finished, and finds what it has noted, also after a kill."""
    works = _Works("whole-run")
    ledger = Ledger(tmp_path, _IDENTITY)

    def slice_of_it() -> Figures | None:
        seconds = ledger.notes("whole-run").get("seconds", 0) + 5
        ledger.note("whole-run", {"seconds": seconds})
        return {"seconds": seconds} if seconds == 15 else None

    works.endings["whole-run"] = slice_of_it
    assert [_go(works, Ledger(tmp_path, _IDENTITY)) for _ in range(3)] == [False, False, True]
    assert ledger.figures("whole-run") == {"seconds": 15}


def test_figures_of_two_machines_are_never_mixed(tmp_path: Path) -> None:
    """A folder that holds the figures of another device, or of a trial, is refused."""
    Ledger(tmp_path, _IDENTITY)
    with pytest.raises(SystemExit, match="device: none -> another"):
        Ledger(tmp_path, {**_IDENTITY, "device": "another"})


def _setting(tmp_path: Path, *, is_tiny: bool) -> Setting:
    return Setting(workspace=tmp_path, device=torch.device("cpu"), is_tiny=is_tiny, real=None, deadline=0.0)


def test_the_document_names_what_is_missing(tmp_path: Path) -> None:
    """From nothing at all there is a document; it names each item, and why one failed; what there is has its table."""
    ledger = Ledger(tmp_path, _IDENTITY)
    items = gpu_check.plan(_setting(tmp_path, is_tiny=False), ledger)
    text = report(ledger, items, titles=gpu_check._TITLES)
    assert all(item.name in text for item in items)
    assert text.count("Not measured yet.") == len(gpu_check._TITLES)
    ledger.fail("saving", f"OSError: {tmp_path}/whole/x: disk full, as /somewhere/else is")
    ledger.finish(
        "tests", {"passed": 7, "failed": 1, "skipped": 0, "failures": ["tests/x.py::test_y"], "is_met": False}
    )
    text = report(ledger, items, titles=gpu_check._TITLES, roots=(tmp_path,))
    assert "saving (failed: OSError: whole/x: disk full, as else is)" in text
    assert "7 passed, 1 failed, 0 skipped." in text
    assert "tests," not in text


def test_every_item_has_a_title_and_fits_into_a_call(tmp_path: Path) -> None:
    """No item is forgotten by the document, has the name of another, or needs more than the time of one call."""
    for is_tiny in (False, True):
        items = gpu_check.plan(_setting(tmp_path, is_tiny=is_tiny), Ledger(tmp_path, _IDENTITY))
        assert len({item.name for item in items}) == len(items)
        assert all(any(item.name.startswith(key) for key in gpu_check._TITLES) for item in items)
        assert all(item.seconds < gpu_check._SECONDS for item in items)


def test_without_a_gpu_only_a_trial_is_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script says in one line what it needs, and measures nothing on a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu_check.main(["--out", str(tmp_path), "--device", "cpu"])
    assert "only --tiny makes sense" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu_check.main(["--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_trial_of_the_first_part_goes_through(tmp_path: Path) -> None:
    """Operations are compared with float64 by the script itself, and its document has their table."""
    ledger = Ledger(tmp_path, _IDENTITY)
    items = [Item("kernels", 0, partial(gpu_check_kernels.kernels, _setting(tmp_path, is_tiny=True), seed=7))]
    assert work_through(items, ledger, seconds_left=lambda: 1.0, tell=lambda _: None)
    figures = ledger.figures("kernels")
    assert figures is not None
    assert [check["name"] for check in figures["checks"] if not check["is_met"]] == []
    assert "| assignment: share of cells that differ |" in report(ledger, items, titles=gpu_check._TITLES)
