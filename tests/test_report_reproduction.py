"""The command that reproduces a run gives its settings, whatever they came from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import toy_command_line
from hypothesis import given
from hypothesis import strategies as st
from toy_command_line import Call

from pipeline.profiles import parse_value
from pipeline.report.reproduction import as_setting, command_of
from pipeline.report.sheet import load_sheet

call = toy_command_line.call
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
# TOML knows no null inside of lists and tables.
_INNER = st.recursive(
    _TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1),
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=8,
)


@given(_SCALARS | _TEXT | st.lists(_INNER) | st.dictionaries(_TEXT, _INNER))
def test_every_value_is_read_back_as_it_was(value: Any) -> None:
    """What --set is given for a value means that value."""
    assert parse_value(as_setting(value)) == value


def test_only_what_was_chosen_is_said() -> None:
    """Defaults and what the profile says come by themselves."""
    command = command_of(
        profile="standard",
        values={"a.b": 1, "a.c": "x y", "a.d": None, "a.e": 2, "a.f": 3},
        origins={"a.b": "--set", "a.c": "PIPELINE_A__C", "a.d": "pipeline.toml", "a.e": "profile standard"},
    )
    assert shlex.split(command) == [
        *("pipeline", "run", "--profile", "standard"),
        *("--set", "a.b=1", "--set", 'a.c="x y"', "--set", "a.d=null"),
    ]


_FILE = """
profile = "mine"
[numbers]
count = 5
[profiles.mine]
extends = "small"
[profiles.mine.numbers.draw]
low = 2
"""


@pytest.mark.parametrize(
    "words",
    [
        "--profile small",
        "--profile large --set numbers.count=3 --set cubes.mode=signed",
        "--profile small --config plain.toml --set numbers.draw.low=4",
        "--config own.toml --set numbers.count=3",
    ],
)
def test_command_gives_the_same_run(words: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carried out with no environment and no settings file of its own, it is the same run by name."""
    (tmp_path / "plain.toml").write_text("[numbers]\ncount = 6\n")
    (tmp_path / "own.toml").write_text(_FILE)
    with monkeypatch.context() as patch:
        patch.setenv("PIPELINE_RUNTIME__NUM_WORKERS", "2")
        patch.setenv("PIPELINE_NUMBERS__DRAW__STEP", "2.5")
        run = call("report", *words.split(), "--json").document["run"]
    command = load_sheet(tmp_path / "results" / run / "run.json").command
    pipeline, program, verb, *rest = shlex.split(command)
    assert (pipeline, program, verb) == ("PIPELINE_PIPELINE=toy_pipeline:PIPELINE", "pipeline", "run")
    assert call("plan", "--json", shlex.join(rest)).document["run"] == run
