"""What to do with a stage, and why: a pure function of what was observed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What happens to a stage."""

    SKIP = "skip"
    RESUME = "resume"
    REPAIR = "repair"
    RUN = "run"


class Reason(StrEnum):
    """Why it happens."""

    UPSTREAM_PENDING = "UPSTREAM_PENDING"
    FORCED = "FORCED"
    RECORD_UNREADABLE = "RECORD_UNREADABLE"
    INPUTS_CHANGED = "INPUTS_CHANGED"
    ARTIFACT_DAMAGED = "ARTIFACT_DAMAGED"
    CODE_CHANGED = "CODE_CHANGED"
    UP_TO_DATE = "UP_TO_DATE"
    INTERRUPTED = "INTERRUPTED"
    CONFIG_CHANGED = "CONFIG_CHANGED"
    NEVER_RAN = "NEVER_RAN"


@dataclass(frozen=True)
class FieldChange:
    """A setting that differs from an earlier run of the same stage."""

    field: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.field}: {self.old!r} -> {self.new!r}"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is on disk for one stage, as far as a decision needs it. Empty fields mean: nothing of that kind."""

    stage: str
    pending_upstream: tuple[str, ...] = ()
    is_forced: bool = False
    has_record: bool = False
    record_problem: str = ""
    changed_inputs: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    is_repairable: bool = False
    changed_code: tuple[str, ...] = ()
    reruns_on_code_change: bool = False
    partial_work: str = ""
    config_changes: tuple[FieldChange, ...] = ()
    compared_run: str = ""


@dataclass(frozen=True)
class Decision:
    """What will be done with a stage, why, and the particulars in words.

    Attributes:
        particulars: everything of which `detail` tells the first few.
        changes: the settings that differ from those of the run `compared_run`, where that is the reason.
    """

    stage: str
    action: Action
    reason: Reason
    detail: str = ""
    particulars: tuple[str, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    compared_run: str = ""

    @property
    def may_become_skip(self) -> bool:
        """Whether the stage is left alone after all if its upstream stages end with the same bytes."""
        return self.reason is Reason.UPSTREAM_PENDING

    @property
    def starts_from_zero(self) -> bool:
        """Whether half-done work that would fit is thrown away first."""
        return self.reason in (Reason.FORCED, Reason.CODE_CHANGED)


def decide(seen: Observation) -> Decision:
    """Choose the action for a stage; the first row that matches wins.

    | what was observed | action | reason |
    | --- | --- | --- |
    | the user forced it | RUN from zero | FORCED |
    | an upstream stage would run first (`plan`, `status` only) | RUN, may become SKIP | UPSTREAM_PENDING |
    | record unreadable | as without record | RECORD_UNREADABLE |
    | record there, artifacts missing or altered, and the stage can mend them | REPAIR only those | ARTIFACT_DAMAGED |
    | record there, artifacts missing or altered | RESUME if partial work fits, else RUN | ARTIFACT_DAMAGED |
    | record there, the stage's code changed, and it reruns for that | RUN | CODE_CHANGED |
    | record there, all verified | SKIP | UP_TO_DATE |
    | no record, partial work, but the code changed since it began, and the stage reruns for that | RUN | CODE_CHANGED |
    | no record, partial work with this hash and these inputs | RESUME | INTERRUPTED |
    | no record, one with this config for other inputs | RUN | INPUTS_CHANGED |
    | no record, another config of this stage has one | RUN | CONFIG_CHANGED: which fields, old -> new |
    | nothing | RUN | NEVER_RAN |
    """
    action, reason, detail = _first_match(seen)
    if reason is Reason.CONFIG_CHANGED:
        particulars = tuple(map(str, seen.config_changes))
        return Decision(seen.stage, action, reason, detail, particulars, seen.config_changes, seen.compared_run)
    particulars = {
        Reason.ARTIFACT_DAMAGED: seen.damage,
        Reason.CODE_CHANGED: seen.changed_code,
        Reason.INPUTS_CHANGED: seen.changed_inputs,
    }.get(reason, ())
    return Decision(seen.stage, action, reason, detail, particulars)


def describe_code_changes(names: tuple[str, ...]) -> str:
    """Return the warning for a stage that stays skipped although the code behind its result changed."""
    return f"code changed since it ran: {_listed(names)}. `--on-code-change rerun` would run it again"


def _first_match(seen: Observation) -> tuple[Action, Reason, str]:
    if seen.is_forced:
        return Action.RUN, Reason.FORCED, "forced; starts from zero"
    if seen.pending_upstream:
        names = ", ".join(seen.pending_upstream)
        return Action.RUN, Reason.UPSTREAM_PENDING, f"{names} would run first; skipped if that gives the same bytes"
    if seen.record_problem:
        action, detail = _continue_or_run(seen)
        return action, Reason.RECORD_UNREADABLE, f"{seen.record_problem}; {detail}"
    if seen.has_record:
        return _with_record(seen)
    return _without_record(seen)


def _with_record(seen: Observation) -> tuple[Action, Reason, str]:
    if seen.damage:
        what = _listed(seen.damage)
        if seen.is_repairable:
            return Action.REPAIR, Reason.ARTIFACT_DAMAGED, f"{what}; only this is made again"
        action, detail = _continue_or_run(seen)
        return action, Reason.ARTIFACT_DAMAGED, f"{what}; {detail}"
    if seen.changed_code and seen.reruns_on_code_change:
        return Action.RUN, Reason.CODE_CHANGED, f"changed since it ran: {_listed(seen.changed_code)}"
    return Action.SKIP, Reason.UP_TO_DATE, "config, inputs and every artifact are as recorded"


def _without_record(seen: Observation) -> tuple[Action, Reason, str]:
    if seen.partial_work and seen.changed_code and seen.reruns_on_code_change:
        return Action.RUN, Reason.CODE_CHANGED, f"changed since it began: {_listed(seen.changed_code)}"
    if seen.partial_work:
        return Action.RESUME, Reason.INTERRUPTED, f"continues from {seen.partial_work}"
    if seen.changed_inputs:
        return Action.RUN, Reason.INPUTS_CHANGED, f"it ran with other inputs: {_listed(seen.changed_inputs)}"
    if seen.config_changes:
        return Action.RUN, Reason.CONFIG_CHANGED, _listed(tuple(str(change) for change in seen.config_changes))
    return Action.RUN, Reason.NEVER_RAN, "no record and no partial work in this workspace"


def _continue_or_run(seen: Observation) -> tuple[Action, str]:
    if seen.partial_work:
        return Action.RESUME, f"continues from {seen.partial_work}"
    return Action.RUN, "runs again"


def _listed(items: tuple[str, ...], *, limit: int = 4) -> str:
    shown = "; ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}; and {len(items) - limit} more"
