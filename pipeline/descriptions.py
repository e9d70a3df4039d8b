"""What is known of stages, as documents for programs and as text for people."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.decide import Action, Decision, Reason, describe_code_changes
from pipeline.orchestrator import Orchestrator
from pipeline.outcomes import StagePlan
from pipeline.records import StageRecord, Target
from pipeline.reporting import figures
from pipeline.stage import ProgressReport
from pipeline.tables import bar, counted, duration, size, table, wrapped
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.validation import Validation

SCHEMA_VERSION = 1
AT_WORK = "at work"  # the state of a stage that a run brings to its end now, whatever is there of it
_PART_TIMED = {Action.RESUME: "the last part of it ", Action.REPAIR: "its repair "}
STATES = {
    Reason.UP_TO_DATE: "done",
    Reason.INTERRUPTED: "interrupted",
    Reason.ARTIFACT_DAMAGED: "damaged",
    Reason.RECORD_UNREADABLE: "damaged",
    Reason.UPSTREAM_PENDING: "waiting",
    Reason.NEVER_RAN: "not run",
    Reason.INPUTS_CHANGED: "stale",
    Reason.CONFIG_CHANGED: "stale",
    Reason.CODE_CHANGED: "stale",
    Reason.FORCED: "stale",
}


def head(command: str, workspace: Workspace, orchestrator: Orchestrator | None = None) -> dict[str, Any]:
    """Return what every document begins with."""
    run = {"run": orchestrator.run_name} if orchestrator else {}
    return {"schema_version": SCHEMA_VERSION, "command": command, "workspace": str(workspace.root), **run}


def decision_document(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON."""
    return {
        "stage": decision.stage,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "may_become_skip": decision.may_become_skip,
    }


def plan_document(plan: StagePlan, *, at_work: Collection[str]) -> dict[str, Any]:
    """Return what would be done with a stage and in what state it is, as JSON; `at_work` are those that a run does."""
    return {
        **decision_document(plan.decision),
        "state": state_of(plan, at_work),
        "compared_run": plan.decision.compared_run or None,
        "changes": [asdict(change) for change in plan.decision.changes],
        "code_changes": list(plan.code_changes),
        "finished_at": plan.record.finished_at if plan.record else None,
        "duration_seconds": plan.record.duration_seconds if plan.record else None,
        "metrics": plan.record.metrics if plan.record else None,
    }


def states_text(plans: Sequence[StagePlan], *, at_work: Collection[str], width: int) -> str:
    """Return each stage with its state and what there is to know about it; `at_work` are those that a run does now."""
    rows = [(each.decision.stage, state_of(each, at_work), _state_detail(each, at_work)) for each in plans]
    return "\n".join([table(rows, width=width), *code_warnings(plans, width=width)])


def targets_of(records: Iterable[StageRecord]) -> list[Target]:
    """Return all targets of `records`."""
    return [target for record in records for target in record.targets]


def target_document(target: Target) -> dict[str, Any]:
    """Return a target as JSON."""
    return {**target.model_dump(mode="json"), "is_met": target.is_met}


def targets_text(targets: Sequence[Target], *, width: int) -> str:
    """Return the table of targets; empty where there are none."""
    rows = [
        (
            target.data_set,
            target.metric,
            f">= {target.minimum:g}",
            "not measured" if target.value is None else f"{target.value:.4g}",
            "met" if target.is_met else "MISSED",
        )
        for target in targets
    ]
    return table(rows, header=("data set", "metric", "target", "value", ""), width=width) if rows else ""


def validation_document(validation: Validation) -> dict[str, Any]:
    """Return what was found for the records of one stage, as JSON."""
    return {
        "stage": validation.stage,
        "num_records": validation.num_records,
        "num_files": validation.num_files,
        "num_bytes": validation.num_bytes,
        "problems": list(validation.problems),
    }


def validations_text(validations: Sequence[Validation], *, width: int) -> str:
    """Return what was looked at for each stage, and below it every problem."""
    rows = [
        (
            each.stage,
            counted(each.num_records, "record"),
            counted(each.num_files, "file"),
            size(each.num_bytes),
            f"{counted(len(each.problems), 'problem')}" if each.problems else "intact",
        )
        for each in validations
    ]
    problems = [
        wrapped(problem, width=width, indent="  ", hanging="    ") for each in validations for problem in each.problems
    ]
    return "\n".join([table(rows, width=width), *problems])


def progress_text(report: ProgressReport, *, width: int) -> str:
    """Return heading and figures of a report, and a bar for each of its parts."""
    rows = [
        (
            row.name,
            bar(row.done, row.total),
            f"{row.done}/{row.total}  {row.note}".rstrip(),
        )
        for row in report.rows
    ]
    lines = [
        wrapped(report.title, width=width),
        wrapped(figures(report.summary), width=width),
        table(rows, width=width),
    ]
    return "\n".join(filter(None, lines))


def shown(value: Any) -> str:
    """Return a value as people read it: text without quotes, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def near(path: Path) -> str:
    """Return `path` as seen from the current folder, if it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def code_warnings(plans: Sequence[StagePlan], *, width: int) -> list[str]:
    """Return a line for each stage that does not run again although its code changed."""
    return [
        wrapped(
            f"warning: {each.decision.stage}: {describe_code_changes(each.code_changes)}",
            width=width,
            hanging="  ",
        )
        for each in plans
        if each.code_changes and each.decision.action is not Action.RUN
    ]


def state_of(plan: StagePlan, at_work: Collection[str]) -> str:
    """Return the state of a stage in a word; `at_work` are those that a run does now."""
    return AT_WORK if plan.decision.stage in at_work else STATES[plan.decision.reason]


def _state_detail(plan: StagePlan, at_work: Collection[str]) -> str:
    if plan.decision.stage in at_work:
        return "`pipeline status --watch` shows how far it is"
    if plan.record and plan.decision.action is Action.SKIP:
        to_the_minute = plan.record.finished_at[:16].replace("T", " ")
        # Whatever was done before it was continued, or mended, is told by the report.
        what = _PART_TIMED.get(plan.record.runtime.get("action", ""), "")
        return f"{to_the_minute}, {what}took {duration(plan.record.duration_seconds)}"
    return plan.decision.detail
