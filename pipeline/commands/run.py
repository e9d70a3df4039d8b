"""`pipeline run`: bring every stage to its end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TextIO

from pipeline.answer import Answer
from pipeline.commands.report import write_at_end
from pipeline.console import console
from pipeline.descriptions import decision_document, head, near, target_document, targets_of, targets_text
from pipeline.errors import TargetsMissed
from pipeline.events import Event, Kind, Reporter, Reporters
from pipeline.interrupts import StopFlag, stop_on_signals
from pipeline.options import RunOptions, SettingsOptions
from pipeline.outcomes import StageOutcome
from pipeline.records import Target
from pipeline.reporting import EventLog, LogFile, tell_on_stderr
from pipeline.session import Session, open_session
from pipeline.tables import counted, duration, table
from pipeline.trackers.reporter import Trackers


def run(
    settings: SettingsOptions,
    options: RunOptions,
    *,
    talk: TextIO | None,
    requires_targets: bool,
    command: Sequence[str],
) -> Answer:
    """Bring every stage to its end; `talk` is where progress is told, if anywhere, `command` the words that asked."""
    session = open_session(settings, options)
    forced, until = session.forced(options), session.until(options)
    with stop_on_signals() as stop, closing(_reporters(session, talk, stop)) as reporter:
        orchestrator = session.orchestrator(
            reporter=reporter,
            stop=stop,
            reruns_on_code_change=options.on_code_change == "rerun",
            command=command,
        )
        warn = partial(_warn, reporter)
        try:
            outcomes = orchestrator.run(forced=forced, until=until)
        except BaseException:
            if orchestrator.kept_workspace:  # otherwise it is not this run's to write in
                left = stop.seconds_left(session.settings.runtime.grace_seconds)
                write_at_end(session, orchestrator, (), warn=warn, seconds_left=left)
            raise
        report = write_at_end(session, orchestrator, outcomes, warn=warn)
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
        "report": str(report) if report else None,
    }

    def text(width: int) -> str:
        parts = [_times_text(outcomes, width=width), targets_text(targets, width=width), _results_text(results, report)]
        return "\n\n".join(filter(None, parts))

    return Answer(document, text, _missed(targets) if requires_targets else None)


def _results_text(folder: Path, report: Path | None) -> str:
    if not folder.is_dir():
        return ""
    return f"results: {near(folder)}" + (f"\nreport: {near(report)}" if report else "")


def _warn(reporter: Reporter, text: str) -> None:
    reporter.emit(Event(Kind.WARNING, "", {"text": text}))


def _reporters(session: Session, talk: TextIO | None, stop: StopFlag) -> Reporters:
    runtime, logs = session.settings.runtime, session.workspace.logs
    # First, so that what it tells while it is closed still comes into the logs.
    trackers = Trackers(
        runtime,
        config=session.settings.values(),
        workspace=session.workspace,
        tell=lambda text: reporters.emit(Event(Kind.WARNING, data={"text": text})),
    )
    interval = runtime.log_interval_seconds
    files = (
        EventLog(session.workspace.event_log, tell=tell_on_stderr),
        LogFile(logs / f"{session.settings.profile}_training.log", interval=interval, tell=tell_on_stderr),
    )
    terminal = (console(talk, stop=stop),) if talk else ()
    reporters = Reporters(trackers, *files, *terminal)
    return reporters


def _times_text(outcomes: Sequence[StageOutcome], *, width: int) -> str:
    rows = [(each.decision.stage, each.decision.action.value, duration(each.seconds)) for each in outcomes]
    return table(rows, header=("stage", "action", "time"), width=width)


def _missed(targets: Sequence[Target]) -> TargetsMissed | None:
    missed = [f"{target.metric} on {target.data_set}" for target in targets if not target.is_met]
    if not missed:
        return None
    return TargetsMissed(
        f"{counted(len(missed), 'target')} missed: {', '.join(missed)}",
        code="E0301",
        hint="train longer or on more data; what is done stays done",
    )
