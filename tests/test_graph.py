"""The order of stages."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.graph import ordered, up_to


def _stage(name: str, *inputs: str) -> Any:
    return type("Toy", (), {"name": name, "inputs": dict.fromkeys(inputs, ())})()


_FORK_AND_JOIN = [_stage("join", "left", "right"), _stage("left", "start"), _stage("right", "start"), _stage("start")]


def test_each_stage_comes_after_its_inputs() -> None:
    """A fork and a join, declared in any order, run in the order of their inputs."""
    names = [stage.name for stage in ordered(_FORK_AND_JOIN)]
    assert names[0] == "start"
    assert names[-1] == "join"


def test_what_needs_nothing_more_keeps_its_place() -> None:
    """Stages that do not depend on each other run in the order in which they were given."""
    chain_and_more = [_stage("a"), _stage("b", "a"), _stage("c"), _stage("d", "b")]
    assert ordered(chain_and_more) == tuple(chain_and_more)
    assert [stage.name for stage in ordered(chain_and_more[::-1])] == ["c", "a", "b", "d"]


def test_up_to_takes_only_what_is_needed() -> None:
    """`--until` a branch leaves the other branch alone."""
    assert [stage.name for stage in up_to(ordered(_FORK_AND_JOIN), "left")] == ["start", "left"]
    with pytest.raises(UsageError, match="no stage 'lefty'"):
        up_to(ordered(_FORK_AND_JOIN), "lefty")


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([_stage("a", "b")], "takes 'b' as input"),
        ([_stage("a"), _stage("a")], "same name"),
        ([_stage("a", "b"), _stage("b", "a")], "wait for each other"),
    ],
)
def test_impossible_graphs_are_refused(stages: list[Any], words: str) -> None:
    """An unknown input, a name used twice and a cycle are usage errors."""
    with pytest.raises(UsageError, match=words):
        ordered(stages)
