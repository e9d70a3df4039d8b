"""What each command does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.answer import Answer
from pipeline.console import console
from pipeline.decide import Action
from pipeline.descriptions import (
    decision_document,
    head,
    near,
    plan_document,
    plans_text,
    progress_text,
    shown,
    states_text,
    target_document,
    targets_of,
    targets_text,
    validation_document,
    validations_text,
)
from pipeline.errors import IntegrityError, TargetsMissed
from pipeline.events import Reporters
from pipeline.interrupts import StopFlag, stop_on_signals
from pipeline.options import RunOptions, SettingsOptions
from pipeline.outcomes import StageOutcome
from pipeline.records import Target
from pipeline.reporting import EventLog, LogFile, tell_on_stderr
from pipeline.session import Session, find_definition, open_session
from pipeline.tables import counted, duration, size, table, wrapped

if TYPE_CHECKING:
    from pipeline.reset import Removal

_LISTED_SINGLY = 3  # so many files of one folder are named, more are counted
# Shows a person what would go and asks whether it may; the text is made for a width in characters.
Ask = Callable[[Callable[[int], str], str], bool]


def run(settings: SettingsOptions, options: RunOptions, *, talk: TextIO | None, requires_targets: bool) -> Answer:
    """Bring every stage to its end; `talk` is where progress is told, if anywhere."""
    session = open_session(settings, options)
    forced, until = session.forced(options), session.until(options)
    with stop_on_signals() as stop, closing(_reporters(session, talk, stop)) as reporter:
        orchestrator = session.orchestrator(
            reporter=reporter, stop=stop, reruns_on_code_change=options.on_code_change == "rerun"
        )
        outcomes = orchestrator.run(forced=forced, until=until)
    targets = targets_of(outcome.record for outcome in outcomes)
    results = session.workspace.results / orchestrator.run_name
    document = {
        **head("run", session.workspace, orchestrator),
        "stages": [
            {**decision_document(outcome.decision), "seconds": outcome.seconds, "metrics": outcome.record.metrics}
            for outcome in outcomes
        ],
        "targets": [target_document(target) for target in targets],
        "results": str(results) if results.is_dir() else None,
    }

    def text(width: int) -> str:
        parts = [_times_text(outcomes, width=width), targets_text(targets, width=width), _results_text(results)]
        return "\n\n".join(filter(None, parts))

    return Answer(document, text, _missed(targets) if requires_targets else None)


def _results_text(folder: Path) -> str:
    return f"results: {near(folder)}" if folder.is_dir() else ""


def plan(settings: SettingsOptions, options: RunOptions) -> Answer:
    """Tell what `run` would do with each stage, and why."""
    session = open_session(settings, options)
    forced, until = session.forced(options), session.until(options)
    orchestrator = session.orchestrator(reruns_on_code_change=options.on_code_change == "rerun")
    plans = orchestrator.plan(forced=forced, until=until)
    document = {**head("plan", session.workspace, orchestrator), "stages": [plan_document(each) for each in plans]}
    return Answer(document, lambda width: plans_text(plans, width=width))


def status(settings: SettingsOptions) -> Answer:
    """Tell for each stage whether it is done, where it was interrupted or why it is stale; and the targets."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    plans = orchestrator.plan()
    targets = targets_of(each.record for each in plans if each.record and each.decision.action is Action.SKIP)
    document = {
        **head("status", session.workspace, orchestrator),
        "running": session.workspace.owner,
        "stages": [plan_document(each) for each in plans],
        "targets": [target_document(target) for target in targets],
    }

    where = "" if session.workspace.root == Path.cwd() else f" in {session.workspace.root}"
    title = f"{orchestrator.run_name}{where}"
    if session.workspace.owner:
        title += f"; a run works here now: {session.workspace.owner}"

    def text(width: int) -> str:
        parts = [wrapped(title, width=width), states_text(plans, width=width), targets_text(targets, width=width)]
        return "\n\n".join(filter(None, parts))

    return Answer(document, text)


def validate(settings: SettingsOptions, *, is_deep: bool) -> Answer:
    """Tell whether everything that records vouch for is as it was written."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    found = orchestrator.validate(is_deep=is_deep)
    document = {
        **head("validate", session.workspace, orchestrator),
        "is_deep": is_deep,
        "stages": [validation_document(each) for each in found],
    }
    num_problems = sum(len(each.problems) for each in found)
    error = IntegrityError(
        f"{counted(num_problems, 'problem')} found in {session.workspace.root}",
        hint="`pipeline run` makes what its settings need of this again; `pipeline reset` removes the rest",
    )
    return Answer(document, lambda width: validations_text(found, width=width), error if num_problems else None)


def reset(settings: SettingsOptions, word: str, *, only_this_run: bool, ask: Ask) -> Answer:
    """Remove what the stages that `word` names have made, if the user agrees."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    removals = orchestrator.removals(session.stages(word), only_this_run=only_this_run)
    total = size(sum(removal.num_bytes for removal in removals))
    is_agreed = bool(removals) and ask(
        lambda width: _removals_text(session, removals, width=width),
        f"Remove {total} in {counted(sum(removal.num_files for removal in removals), 'file')}?",
    )
    if is_agreed:
        orchestrator.reset(removals)
    document = {
        **head("reset", session.workspace),
        "is_removed": is_agreed,
        "removals": [
            {
                "stage": removal.stage,
                "path": session.workspace.relative(removal.path),
                "num_files": removal.num_files,
                "num_bytes": removal.num_bytes,
            }
            for removal in removals
        ],
    }
    told = f"removed {total}" if is_agreed else "nothing was removed" if removals else "there is nothing to remove"
    if only_this_run and not removals and set(session.stages(word)) & orchestrator.half_done().keys():
        told += " that is whole; `pipeline progress reset` discards half-done work"
    return Answer(document, lambda _: told)


def show_progress(settings: SettingsOptions) -> Answer:
    """Tell part by part how far the stages have come."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    reports = orchestrator.progress()
    document = {
        **head("progress show", session.workspace, orchestrator),
        "stages": {stage: dict(report.document) for stage, report in reports.items()},
    }

    def text(width: int) -> str:
        return "\n\n".join(progress_text(report, width=width) for report in reports.values()) or "nothing has begun"

    return Answer(document, text)


def reset_progress(settings: SettingsOptions, *, ask: Ask) -> Answer:
    """Discard the half-done work of every stage that has some, if the user agrees."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    half_done = orchestrator.half_done()
    is_agreed = bool(half_done) and ask(
        lambda width: table(list(half_done.items()), width=width), f"Discard the progress of {', '.join(half_done)}?"
    )
    discarded = list(half_done) if is_agreed else []
    for stage in discarded:
        orchestrator.discard_partial_work(stage)
    document = {**head("progress reset", session.workspace, orchestrator), "discarded": discarded}
    told = f"discarded the progress of {', '.join(discarded)}" if discarded else "nothing was discarded"
    return Answer(document, lambda _: told)


def import_checkpoint(settings: SettingsOptions, path: Path) -> Answer:
    """Take over a checkpoint of another program as half-done work of this run."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    stage, told = orchestrator.import_checkpoint(path)
    document = {**head("import-checkpoint", session.workspace, orchestrator), "stage": stage, "told": told}
    return Answer(document, lambda _: told)


def show_config(settings: SettingsOptions) -> Answer:
    """Tell every setting with its value and where that comes from."""
    session = open_session(settings)
    values, origins = session.settings.values(), session.settings.origins
    document = {
        **head("config show", session.workspace),
        "profile": session.settings.profile,
        "settings": {key: {"value": value, "origin": origins[key]} for key, value in values.items()},
    }
    rows = [(key, origins[key], shown(value)) for key, value in values.items()]
    return Answer(document, lambda width: table(rows, header=("setting", "origin", "value"), width=width))


def config_schema(settings: SettingsOptions) -> Answer:
    """Tell what a settings file may hold."""
    from pipeline.settings_schema import settings_schema

    schema = settings_schema(find_definition(settings))
    return Answer(schema, lambda _: json.dumps(schema, indent=2))


def _reporters(session: Session, talk: TextIO | None, stop: StopFlag) -> Reporters:
    interval = session.settings.runtime.log_interval_seconds
    logs = session.workspace.logs
    files = (
        EventLog(logs / "events.jsonl", tell=tell_on_stderr),
        LogFile(logs / f"{session.settings.profile}_training.log", interval=interval, tell=tell_on_stderr),
    )
    return Reporters(*files, console(talk, interval=interval, stop=stop)) if talk else Reporters(*files)


def _times_text(outcomes: Sequence[StageOutcome], *, width: int) -> str:
    rows = [(each.decision.stage, each.decision.action.value, duration(each.seconds)) for each in outcomes]
    return table(rows, header=("stage", "action", "time"), width=width)


def _removals_text(session: Session, removals: Sequence[Removal], *, width: int) -> str:
    """Return what would go; a folder of many files is one row: a data set may have thousands of chunks."""
    groups: dict[tuple[str, Path], list[Removal]] = {}
    for removal in removals:
        groups.setdefault((removal.stage, removal.path.parent), []).append(removal)
    rows: list[tuple[str, str, str, str]] = []
    for (stage, folder), group in groups.items():
        parts = [[each] for each in group] if len(group) <= _LISTED_SINGLY else [group]
        rows += [
            (
                stage or "no stage",
                counted(sum(each.num_files for each in part), "file"),
                size(sum(each.num_bytes for each in part)),
                session.workspace.relative(part[0].path if len(part) == 1 else folder / "*"),
            )
            for part in parts
        ]
    return table(rows, width=width)


def _missed(targets: Sequence[Target]) -> TargetsMissed | None:
    missed = [f"{target.metric} on {target.data_set}" for target in targets if not target.is_met]
    if not missed:
        return None
    return TargetsMissed(
        f"{counted(len(missed), 'target')} missed: {', '.join(missed)}",
        hint="train longer or on more data; what is done stays done",
    )
