"""The options that force stages: what they force, and what a plan says of it."""

from __future__ import annotations

import pytest
import toy_command_line
from toy_command_line import Call

call = toy_command_line.call


@pytest.mark.parametrize(
    ("option", "forced"),
    [
        ("--force-data", {"numbers"}),
        ("--force-eval", {"total"}),
        ("--force-all", {"numbers", "squares", "cubes", "total"}),
    ],
)
def test_forced_stages_run_from_zero(call: Call, option: str, forced: set[str]) -> None:
    """Each --force option forces what the pipeline's short name says, no more."""
    call("run --quiet")
    stages = call("run --json", option).document["stages"]
    assert {stage["stage"] for stage in stages if stage["reason"] == "FORCED"} == forced


@pytest.mark.parametrize("option", ["--force-data", "--force-all"])
def test_a_plan_tells_of_forced_stages_what_the_run_does(call: Call, option: str) -> None:
    """Also of those behind others that would run: a forced stage is not left alone, whatever comes of them."""
    call("run --quiet")
    planned, carried_out = (
        {
            (stage["stage"], stage["action"], stage["reason"])
            for stage in call(f"{command} --json", option).document["stages"]
            if stage["reason"] == "FORCED"
        }
        for command in ("plan", "run")
    )
    assert planned == carried_out
    assert planned
