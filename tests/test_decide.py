"""The decision table, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.decide import Action, FieldChange, Observation, Reason, decide

_EVERYTHING = Observation(
    stage="s",
    pending_upstream=("before",),
    is_forced=True,
    has_record=True,
    record_problem="record is torn",
    changed_inputs=("before",),
    damage=("chunk is missing",),
    is_repairable=True,
    changed_code=("module.function",),
    reruns_on_code_change=True,
    partial_work="step 7",
    config_changes=(FieldChange("lr", 0.1, 0.2),),
)
_NO_RECORD = replace(_EVERYTHING, pending_upstream=(), is_forced=False, record_problem="", has_record=False)
_RECORD = replace(_NO_RECORD, has_record=True)


@pytest.mark.parametrize(
    ("seen", "action", "reason", "words"),
    [
        (_EVERYTHING, Action.RUN, Reason.FORCED, "from zero"),
        (replace(_EVERYTHING, is_forced=False), Action.RUN, Reason.UPSTREAM_PENDING, "before would run first"),
        (
            replace(_EVERYTHING, pending_upstream=(), is_forced=False),
            Action.RESUME,
            Reason.RECORD_UNREADABLE,
            "record is torn; continues from step 7",
        ),
        (
            replace(_EVERYTHING, pending_upstream=(), is_forced=False, partial_work=""),
            Action.RUN,
            Reason.RECORD_UNREADABLE,
            "record is torn; runs again",
        ),
        (_RECORD, Action.REPAIR, Reason.ARTIFACT_DAMAGED, "chunk is missing; only this"),
        (replace(_RECORD, is_repairable=False), Action.RESUME, Reason.ARTIFACT_DAMAGED, "continues from step 7"),
        (
            replace(_RECORD, is_repairable=False, partial_work=""),
            Action.RUN,
            Reason.ARTIFACT_DAMAGED,
            "chunk is missing; runs again",
        ),
        (replace(_RECORD, damage=()), Action.RUN, Reason.CODE_CHANGED, "module.function"),
        (replace(_RECORD, damage=(), reruns_on_code_change=False), Action.SKIP, Reason.UP_TO_DATE, "as recorded"),
        (replace(_RECORD, damage=(), changed_code=()), Action.SKIP, Reason.UP_TO_DATE, "as recorded"),
        (_NO_RECORD, Action.RUN, Reason.CODE_CHANGED, "since it began: module.function"),
        (replace(_NO_RECORD, changed_code=()), Action.RESUME, Reason.INTERRUPTED, "continues from step 7"),
        (replace(_NO_RECORD, reruns_on_code_change=False), Action.RESUME, Reason.INTERRUPTED, "continues from step 7"),
        (replace(_NO_RECORD, partial_work=""), Action.RUN, Reason.INPUTS_CHANGED, "other inputs: before"),
        (
            replace(_NO_RECORD, partial_work="", changed_inputs=()),
            Action.RUN,
            Reason.CONFIG_CHANGED,
            "lr: 0.1 -> 0.2",
        ),
        (Observation(stage="s"), Action.RUN, Reason.NEVER_RAN, "no record"),
    ],
)
def test_first_matching_row_wins(seen: Observation, action: Action, reason: Reason, words: str) -> None:
    """Each row of the table holds although every row below it would match too."""
    decision = decide(seen)
    assert (decision.stage, decision.action, decision.reason) == ("s", action, reason)
    assert words in decision.detail


def test_only_pending_stages_may_become_skip() -> None:
    """A stage behind one that would run is the only one whose fate is open."""
    assert decide(replace(_EVERYTHING, is_forced=False)).may_become_skip
    assert not decide(_RECORD).may_become_skip


def test_long_lists_are_cut() -> None:
    """A decision names the first few items and counts the others."""
    damage = tuple(f"file {number} is missing" for number in range(100))
    detail = decide(Observation(stage="s", has_record=True, damage=damage)).detail
    assert "file 3 is missing; and 96 more" in detail
    assert "file 4" not in detail
