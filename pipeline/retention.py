"""Which work stays in a workspace when only its newest runs are kept: a pure function of what is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.graph import ordered, up_to
from pipeline.inventory import Inventory, Work
from pipeline.runs import Run
from pipeline.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What stays and what does not; runs in the order in which they were last started.

    Attributes:
        live_names: the names of runs whose folders and logs stay.
        untouchable: stages of which nothing goes: a record that cannot be read may refer to anything.
    """

    kept: tuple[Run, ...]
    dropped: tuple[Run, ...]
    kept_works: tuple[Work, ...]
    dropped_works: tuple[Work, ...]
    live_names: frozenset[str]
    untouchable: frozenset[str]


def retain(inventory: Inventory, runs: Sequence[Run], *, stages: Sequence[Stage], keep: int | None) -> Retention:
    """Return what stays with the newest `keep` of `runs`; None: all that there is.

    Work that belongs to no run goes with the older runs: what it stood on has been replaced. It stays where its stage
    is none of `stages`, and where nothing tells of the run that began it.
    """
    num_dropped = 0 if keep is None else max(0, len(runs) - keep)
    kept, dropped = tuple(runs[num_dropped:]), tuple(runs[:num_dropped])
    untouchable = _with_those_before(inventory.blind_stages, stages)
    known = {stage.name for stage in stages} - untouchable
    needed = {work.place for run in kept for work in run.works}
    in_a_run = {work.place for run in runs for work in run.works}

    def stays(work: Work) -> bool:
        is_anonymous = not work.run and work.place not in in_a_run
        return keep is None or work.place in needed or work.stage not in known or is_anonymous

    kept_works = tuple(filter(stays, inventory.works))
    dropped_works = tuple(work for work in inventory.works if not stays(work))
    places = {work.place for work in dropped_works}
    return Retention(
        kept=kept,
        # Of others all that is left is shared with those that are kept: they went before.
        dropped=tuple(run for run in dropped if any(work.place in places for work in run.works)),
        kept_works=kept_works,
        dropped_works=dropped_works,
        live_names=frozenset({run.name for run in kept} | {w.run for w in kept_works if w.place not in needed}),
        untouchable=untouchable,
    )


def _with_those_before(names: Collection[str], stages: Sequence[Stage]) -> frozenset[str]:
    known = ordered(stages)
    mine = [stage.name for stage in known if stage.name in names]
    return frozenset(names).union(*([stage.name for stage in up_to(known, name)] for name in mine))
