"""`pipeline report`: what a run came to, as one HTML file; also written at the end of every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.answer import Answer
from pipeline.browser import Show
from pipeline.decide import Action
from pipeline.descriptions import head, near
from pipeline.errors import UsageError
from pipeline.options import SettingsOptions
from pipeline.orchestrator import Orchestrator
from pipeline.outcomes import StageOutcome
from pipeline.profiles import BUILT_IN_PIPELINE
from pipeline.report.reproduction import command_of
from pipeline.report.sheet import REPORT_NAME, RunSheet, SheetStage, is_written, stage_of
from pipeline.secrets import hide, hide_text
from pipeline.session import Session, open_session

_LEAST_SECONDS = 2.0  # in which a report without charts is written, also by a slow machine


def report(settings: SettingsOptions, *, show: Show | None) -> Answer:
    """Write the report of a run, whole or not, and show it if `show` is given."""
    from pipeline.report.writer import write_report

    session = open_session(settings)
    if not session.workspace.root.is_dir():  # a mistyped name is not to be made into a folder
        raise UsageError(
            f"there is no folder {session.workspace.root}, so no run to report on",
            code="E0227",
            hint="give the folder of your runs with --workspace; `pipeline run` makes one",
        )
    orchestrator = session.orchestrator()
    sheet = sheet_of(session, orchestrator, _planned(orchestrator))
    path = write_report(sheet, workspace=session.workspace)
    if show is not None:
        show(path)
    document = {
        **head("report", session.workspace, orchestrator),
        "path": str(path),
        "num_bytes": path.stat().st_size,
        "is_whole": sheet.is_whole,
    }
    return Answer(document, lambda _: f"report: {near(path)}")


def write_at_end(
    session: Session,
    orchestrator: Orchestrator,
    outcomes: Sequence[StageOutcome],
    *,
    warn: Callable[[str], None],
    seconds_left: float = math.inf,
) -> Path | None:
    """Write the report of a run that has ended, unless it is there already; return its path, if there is one.

    Of a run that was cut short, which has no `outcomes`, it tells how far it came and what stopped it. It may be killed
    in `seconds_left`; of those half are for what comes after the report. What goes wrong is a warning: the run itself
    is over.
    """
    if not session.settings.runtime.report:
        return None
    if seconds_left < _LEAST_SECONDS:
        warn("there was no time left for the report; `pipeline report` writes it")
        return None
    folder = session.workspace.results / orchestrator.run_name
    try:
        sheet = sheet_of(session, orchestrator, _known(orchestrator, outcomes))
        if outcomes and is_written(sheet, folder):
            return folder / REPORT_NAME
        from pipeline.report.writer import write_report  # not where everything was done before

        return write_report(sheet, workspace=session.workspace, patience=seconds_left / 2)
    except Exception as error:  # whatever it is: a report is no reason for a run to fail
        warn(f"the report could not be written ({type(error).__name__}: {error}); `pipeline report` tries again")
        return None


def sheet_of(session: Session, orchestrator: Orchestrator, known: Mapping[str, SheetStage]) -> RunSheet:
    """Return the sheet of the run that `session` is about; `known` says how its stages stand."""
    settings = session.settings
    # Hidden before anything is made of them: quoted twice, a secret would not be known again.
    values, origins = hide(settings.values()), settings.origins
    return RunSheet(
        run=orchestrator.run_name,
        profile=settings.profile,
        command=hide_text(_command(session, values, origins)),
        settings={key: {"value": value, "origin": origins.get(key, "default")} for key, value in values.items()},
        stages=tuple(known[stage.name] for stage in orchestrator.stages),
    )


def _known(orchestrator: Orchestrator, outcomes: Sequence[StageOutcome]) -> dict[str, SheetStage]:
    if not outcomes:  # what was found damaged must not be read as a whole once more before the run ends
        records = orchestrator.records()
        return {stage.name: stage_of(stage.name, records.get(stage.name)) for stage in orchestrator.stages}
    done = {outcome.decision.stage: stage_of(outcome.decision.stage, outcome.record) for outcome in outcomes}
    return done if len(done) == len(orchestrator.stages) else {**_planned(orchestrator), **done}


def _planned(orchestrator: Orchestrator) -> dict[str, SheetStage]:
    plans = orchestrator.plan()
    return {
        plan.decision.stage: stage_of(
            plan.decision.stage,
            plan.record if plan.decision.action is Action.SKIP else None,
            detail=plan.decision.detail,
        )
        for plan in plans
    }


def _command(session: Session, values: Mapping[str, object], origins: Mapping[str, str]) -> str:
    profile, file = session.settings.profile, session.file
    return command_of(
        profile=profile,
        values=values,
        origins=origins,
        config_file=file.name if profile in file.profiles else "",
        pipeline="" if session.pipeline == BUILT_IN_PIPELINE else session.pipeline,
    )
