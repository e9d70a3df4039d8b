"""A plan as people read it: what would be done, why in every particular, and what that would take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.decide import Action, Decision, Reason
from pipeline.descriptions import code_warnings
from pipeline.estimate import Estimate, total_of
from pipeline.outcomes import StagePlan
from pipeline.tables import counted, duration, size, table, wrapped

_MAX_PARTICULARS = 20  # of damage there may be thousands; the document has all changed settings
_HEADS = {
    Reason.CONFIG_CHANGED: "changed setting",
    Reason.ARTIFACT_DAMAGED: "damaged file",
    Reason.CODE_CHANGED: "changed function",
    Reason.INPUTS_CHANGED: "changed input",
}
_FOLLOWS = {
    Action.REPAIR: ", only these are made again",
    Action.RESUME: ", continues from what is half-done",
    Action.RUN: ", runs again",
}


def plans_text(plans: Sequence[StagePlan], estimates: Sequence[Estimate], *, num_free: int, width: int) -> str:
    """Return each stage with action, reason and particulars, and what it would take; `num_free` bytes are there."""
    rows: list[tuple[str, str, str, str]] = []
    for plan, estimate in zip(plans, estimates, strict=True):
        decision = plan.decision
        first, *others = [*particulars(decision), *_cost(decision, estimate)]
        rows.append((decision.stage, decision.action.upper(), decision.reason.value, first))
        rows += [("", "", "", line) for line in others]
    parts = ["\n".join([table(rows, width=width), *code_warnings(plans, width=width)])]
    if any(each.decision.action is not Action.SKIP for each in plans):
        parts.append(wrapped(_total(estimates, num_free=num_free), width=width))
    return "\n\n".join(parts)


def particulars(decision: Decision) -> Iterator[str]:
    """Yield one line where one says all, else a heading and a line for each."""
    items = decision.particulars
    if len(items) < 2:
        yield f"{decision.detail}{_since(decision)}"
        return
    follows = _FOLLOWS[decision.action] if decision.reason is Reason.ARTIFACT_DAMAGED else ""
    yield f"{counted(len(items), _HEADS[decision.reason])}{_since(decision)}{follows}:"
    yield from items[:_MAX_PARTICULARS]
    if len(items) > _MAX_PARTICULARS:
        yield f"and {len(items) - _MAX_PARTICULARS:,} more"


def _since(decision: Decision) -> str:
    return f" (since {decision.compared_run})" if decision.compared_run else ""


def _cost(decision: Decision, estimate: Estimate) -> Iterator[str]:
    if decision.action is Action.SKIP:
        return
    basis = f" ({estimate.basis})" if estimate.basis else ""
    condition = "if it runs: " if decision.may_become_skip else ""
    yield f"{condition}time {_time(estimate)}{basis}, disk {_disk(estimate)}"


def _total(estimates: Sequence[Estimate], *, num_free: int) -> str:
    total = total_of(estimates)
    known = Estimate(
        seconds=sum(each.seconds or 0 for each in estimates), num_bytes=sum(each.num_bytes or 0 for each in estimates)
    )
    time = _time(total) if total.seconds is not None else f"unknown{_at_least(known.seconds, _time(known))}"
    disk = _disk(total) if total.num_bytes is not None else f"unknown{_at_least(known.num_bytes, _disk(known))}"
    warning = "; that is not enough" if (known.num_bytes or 0) > num_free else ""
    return f"in all: time {time}, disk {disk}; {size(num_free)} are free{warning}"


def _at_least(amount: float | None, words: str) -> str:
    return f", at least {words}" if amount else ""


def _time(estimate: Estimate) -> str:
    return "unknown" if estimate.seconds is None else f"about {duration(estimate.seconds)}"


def _disk(estimate: Estimate) -> str:
    return "unknown" if estimate.num_bytes is None else f"about {size(estimate.num_bytes)}"
