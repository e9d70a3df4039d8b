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


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--dataset-only --force-eval", "--dataset-only and --force-eval contradict each other"),
        ("--until squares --force-eval --force-all", "--until squares and --force-eval contradict each other"),
    ],
)
def test_a_stage_that_the_run_does_not_reach_is_not_forced(call: Call, command: str, options: str, said: str) -> None:
    """The two options contradict each other; nothing is done."""
    told = call(command, options, code=2).err
    assert f"error[E0203]: {said}: the run does not reach total\n" in told


@pytest.mark.parametrize("options", ["--dataset-only --force-data", "--until cubes --force-data", "--until total"])
def test_stages_before_the_last_one_may_be_forced(call: Call, options: str) -> None:
    """With --force-all those that the run reaches are."""
    call("run --quiet")
    stages = call("run --json --force-all", options).document["stages"]
    assert {stage["reason"] for stage in stages} == {"FORCED"}


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
