"""What people see of plans, states and results, at 40 and at 80 columns and in a pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toy_command_line
from toy_command_line import Call

call = toy_command_line.call

PLAN = {
    "80": """\
numbers  REPAIR  ARTIFACT_DAMAGED  datasets/numbers-01234567/00002.json is
                                   missing; only this is made again
                                   time about 0.0s (25.0% of its bytes), disk
                                   about 3 B
squares  RUN     UPSTREAM_PENDING  numbers would run first; skipped if that
                                   gives the same bytes
                                   if it runs: time about 0.0s (as it took on
                                   2026-01-02), disk about 21 B
cubes    RUN     UPSTREAM_PENDING  numbers would run first; skipped if that
                                   gives the same bytes
                                   if it runs: time about 0.0s (as it took on
                                   2026-01-02), disk about 22 B
total    RUN     UPSTREAM_PENDING  squares, cubes would run first; skipped if
                                   that gives the same bytes
                                   if it runs: time about 0.0s (as it took on
                                   2026-01-02), disk about 5 B

in all: time about 0.0s, disk about 51 B; 9.9 GB are free
""",
    "40": """\
numbers
  REPAIR  ARTIFACT_DAMAGED
  datasets/numbers-01234567/00002.json
  is missing; only this is made again
  time about 0.0s (25.0% of its bytes),
  disk about 3 B
squares
  RUN  UPSTREAM_PENDING  numbers would
  run first; skipped if that gives the
  same bytes
  if it runs: time about 0.0s (as it
  took on 2026-01-02), disk about 21 B
cubes
  RUN  UPSTREAM_PENDING  numbers would
  run first; skipped if that gives the
  same bytes
  if it runs: time about 0.0s (as it
  took on 2026-01-02), disk about 22 B
total
  RUN  UPSTREAM_PENDING  squares, cubes
  would run first; skipped if that gives
  the same bytes
  if it runs: time about 0.0s (as it
  took on 2026-01-02), disk about 5 B

in all: time about 0.0s, disk about 51
B; 9.9 GB are free
""",
}

STATUS = {
    "80": """\
small-01234567

numbers  done     2026-01-02 03:04, took 0.0s
squares  done     2026-01-02 03:04, took 0.0s
cubes    stale    mode: 'plain' -> 'signed'
total    waiting  cubes would run first; skipped if that gives the same bytes
""",
    "40": """\
small-01234567

numbers
  done  2026-01-02 03:04, took 0.0s
squares
  done  2026-01-02 03:04, took 0.0s
cubes
  stale  mode: 'plain' -> 'signed'
total
  waiting  cubes would run first;
  skipped if that gives the same bytes
""",
}

RUN = {
    "80": """\
stage    action  time
numbers  skip    0.0s
squares  skip    0.0s
cubes    skip    0.0s
total    run     0.0s

data set  metric  target   value
toy       total   >= 1000  130    MISSED

results: results/small-01234567
""",
    "40": """\
stage    action  time
numbers  skip    0.0s
squares  skip    0.0s
cubes    skip    0.0s
total    run     0.0s

data set  metric  target   value
toy       total   >= 1000  130    MISSED

results: results/small-01234567
""",
}


def settled(text: str) -> str:
    """Return `text` with all times and hashes the same."""
    text = re.sub(r"\b(small|numbers)-[0-9a-f]{8}", r"\1-01234567", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "2026-01-02 03:04", text)
    text = re.sub(r"\d+\.\d [MGT]B are free", "9.9 GB are free", re.sub(r"\d{4}-\d\d-\d\d", "2026-01-02", text))
    return re.sub(r"\b\d\.\ds\b", "0.0s", text)


@pytest.fixture(params=["80", "40"])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, call: Call) -> str:
    """The width of the terminal; everything was run before."""
    call("run --quiet")
    monkeypatch.setenv("COLUMNS", request.param)
    return str(request.param)


def test_the_picture_of_a_plan(call: Call, columns: str, tmp_path: Path) -> None:
    """Stage, action, reason and particulars, wrapped below themselves or stacked."""
    next(tmp_path.glob("datasets/*/00002.json")).unlink()
    assert settled(call("plan").out) == PLAN[columns]


def test_the_picture_of_a_status(call: Call, columns: str) -> None:
    """Stage, state and what there is to know."""
    assert settled(call("status --set cubes.mode=signed").out) == STATUS[columns]


def test_the_picture_of_a_run(call: Call, columns: str) -> None:
    """Times, targets and where the results are."""
    assert settled(call("run --quiet --set total.minimum=1000").out) == RUN[columns]


@pytest.mark.parametrize("command", ["plan", "status", "run", "validate", "config show", "progress show"])
def test_nothing_is_wider_than_the_terminal(call: Call, columns: str, command: str) -> None:
    """Only a path or a key that is wider by itself may be."""
    ended = call(command)
    wide = [line for line in (ended.out + ended.err).splitlines() if len(line) > int(columns)]
    assert not [line for line in wide if len(line.split()) > 1]
