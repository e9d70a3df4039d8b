"""Commands that look and touch nothing: `plan`, `status`, `validate`, `progress show`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline.answer import Answer
from pipeline.decide import Action
from pipeline.descriptions import (
    head,
    plan_document,
    progress_text,
    states_text,
    target_document,
    targets_of,
    targets_text,
    validation_document,
    validations_text,
)
from pipeline.errors import IntegrityError
from pipeline.estimate import Foresight, total_of
from pipeline.holder import stages_at_work
from pipeline.options import RunOptions, SettingsOptions
from pipeline.plan_text import plans_text
from pipeline.session import open_session
from pipeline.space import free_bytes
from pipeline.tables import counted, wrapped


def plan(settings: SettingsOptions, options: RunOptions) -> Answer:
    """Tell what `run` would do with each stage, and why."""
    session = open_session(settings, options)
    forced, until = session.forced(options), session.until(options)
    orchestrator = session.orchestrator(reruns_on_code_change=options.on_code_change == "rerun")
    plans = orchestrator.plan(forced=forced, until=until)
    foresight = Foresight(session.workspace, runtime=session.settings.runtime)
    by_name = {stage.name: stage for stage in orchestrator.stages}
    estimates = [foresight.estimate(by_name[each.decision.stage], each) for each in plans]
    num_free = free_bytes(session.workspace.root)
    at_work = stages_at_work(session.workspace, run=orchestrator.run_name)
    document = {
        **head("plan", session.workspace, orchestrator),
        "stages": [
            {**plan_document(each, at_work=at_work), "estimate": asdict(estimate)}
            for each, estimate in zip(plans, estimates, strict=True)
        ],
        "estimate": asdict(total_of(estimates)),
        "free_bytes": num_free,
    }
    return Answer(document, lambda width: plans_text(plans, estimates, num_free=num_free, width=width))


def status(settings: SettingsOptions) -> Answer:
    """Tell for each stage whether it is done, at work, where it was interrupted or why it is stale; and the targets."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    plans = orchestrator.plan()
    at_work = stages_at_work(session.workspace, run=orchestrator.run_name)
    targets = targets_of(each.record for each in plans if each.record and each.decision.action is Action.SKIP)
    document = {
        **head("status", session.workspace, orchestrator),
        "running": session.workspace.owner,
        "stages": [plan_document(each, at_work=at_work) for each in plans],
        "targets": [target_document(target) for target in targets],
    }

    where = "" if session.workspace.root == Path.cwd() else f" in {session.workspace.root}"
    title = f"{orchestrator.run_name}{where}"
    if session.workspace.owner:
        title += f"; a run works here now: {session.workspace.owner}"

    def text(width: int) -> str:
        states = states_text(plans, at_work=at_work, width=width)
        parts = [wrapped(title, width=width), states, targets_text(targets, width=width)]
        return "\n\n".join(filter(None, parts))

    return Answer(document, text)


def validate(settings: SettingsOptions, *, is_deep: bool) -> Answer:
    """Tell whether everything that records vouch for is as it was written."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    found = orchestrator.upkeep.validate(is_deep=is_deep)
    document = {
        **head("validate", session.workspace, orchestrator),
        "is_deep": is_deep,
        "stages": [validation_document(each) for each in found],
    }
    num_problems = sum(len(each.problems) for each in found)
    error = IntegrityError(
        f"{counted(num_problems, 'problem')} found in {session.workspace.root}",
        code="E0401",
        hint="`pipeline run` makes what its settings need of this again; `pipeline reset` removes the rest",
    )
    return Answer(document, lambda width: validations_text(found, width=width), error if num_problems else None)


def show_progress(settings: SettingsOptions) -> Answer:
    """Tell part by part how far the stages have come."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    reports = orchestrator.upkeep.progress()
    document = {
        **head("progress show", session.workspace, orchestrator),
        "stages": {stage: dict(report.document) for stage, report in reports.items()},
    }

    def text(width: int) -> str:
        return "\n\n".join(progress_text(report, width=width) for report in reports.values()) or "nothing has begun"

    return Answer(document, text)
