"""The order of stages: a DAG by their declared inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from pipeline.errors import UsageError
from pipeline.stage import Stage


def ordered(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return `stages` so that each comes after its inputs, otherwise in the order given.

    Raises:
        UsageError: two stages share a name, an input is no stage, or the inputs form a cycle.
    """
    by_name = {stage.name: stage for stage in stages}
    if len(by_name) != len(stages):
        raise UsageError(
            "two stages of the pipeline have the same name", code="E0221", hint="a stage's name is its identity"
        )
    for stage in stages:
        for name in stage.inputs:
            if name not in by_name:
                known = ", ".join(by_name)
                raise UsageError(
                    f"stage {stage.name!r} takes {name!r} as input, which is no stage",
                    code="E0222",
                    hint=f"stages: {known}",
                )
    sorter = TopologicalSorter({stage.name: tuple(stage.inputs) for stage in stages})
    try:
        sorter.prepare()
    except CycleError as error:
        raise UsageError(f"stages wait for each other: {' -> '.join(error.args[1])}", code="E0223") from error
    places, ready, found = list(by_name), list[str](), list[Stage]()
    while sorter.is_active():
        ready += sorter.get_ready()
        first = min(ready, key=places.index)
        ready.remove(first)
        sorter.done(first)
        found.append(by_name[first])
    return tuple(found)


def up_to(stages: Sequence[Stage], last: str) -> tuple[Stage, ...]:
    """Return `last` and all stages it needs, in order; raises UsageError when there is no such stage."""
    by_name = {stage.name: stage for stage in stages}
    if last not in by_name:
        raise UsageError(f"there is no stage {last!r}", code="E0202", hint=f"stages: {', '.join(by_name)}")
    needed = _with_inputs(last, {stage.name: tuple(stage.inputs) for stage in stages})
    return tuple(stage for stage in stages if stage.name in needed)


def _with_inputs(name: str, inputs: Mapping[str, Collection[str]]) -> set[str]:
    return {name}.union(*(_with_inputs(before, inputs) for before in inputs[name]))
