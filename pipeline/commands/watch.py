"""`pipeline status --watch`: shows what a run in another process does, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from pipeline.answer import Answer
from pipeline.commands.look import status
from pipeline.descriptions import targets_text
from pipeline.display import Display, display
from pipeline.event_reader import FollowedLog
from pipeline.holder import Holder
from pipeline.options import SettingsOptions
from pipeline.run_view import RunView, State
from pipeline.session import open_session
from pipeline.tables import duration, printable, table, wrapped

_LOOK_SECONDS = 0.5


def watch(settings: SettingsOptions, *, stream: TextIO | None, sleep: Callable[[float], None] = time.sleep) -> Answer:
    """Show the run that works in the workspace until it ends or Ctrl+C is pressed, then tell what became of it.

    That is the status where it is the run of these settings, and otherwise what the log tells of its stages. `stream`
    is where it is shown; with None its end is waited for in silence.
    """
    workspace = open_session(settings).workspace
    holder = Holder(workspace)
    if not holder.is_at_work:
        return _told(f"no run is at work in {workspace.root}", status(settings))
    view, shown = RunView(), display(stream)
    try:
        _follow(FollowedLog(workspace.event_log), holder, view, shown, sleep=sleep)
    except KeyboardInterrupt:  # the way to leave: it does not reach the run
        return _told(f"{view.run or 'the run'} goes on", _outcome(view, settings))
    finally:
        shown.close()
    return _told(_ending(view), _outcome(view, settings))


def _outcome(view: RunView, settings: SettingsOptions) -> Answer:
    """Return the status; of a run of other settings only what the log tells, as the status would be of another run."""
    answer = status(settings)
    stages = [
        {"stage": each.name, "state": each.state.value, "seconds": each.seconds, "error": each.error}
        for each in view.stages.values()
    ]
    document = {**answer.document, "watched": {"run": view.run, "is_over": view.is_over, "stages": stages}}
    is_of_settings = view.run in ("", answer.document["run"])
    return Answer(document, answer.text if is_of_settings else lambda width: _stages_text(view, width=width))


def _stages_text(view: RunView, *, width: int) -> str:
    rows = []
    for stage in view.stages.values():
        took = "" if stage.seconds is None else f"in {duration(stage.seconds)}"
        rows.append((printable(stage.name), stage.state.value, printable(stage.error) or took))
    targets = targets_text(view.targets, width=width)
    return "\n\n".join(filter(None, (table(rows, width=width), targets)))


def _follow(log: FollowedLog, holder: Holder, view: RunView, shown: Display, *, sleep: Callable[[float], None]) -> None:
    while True:
        # Asked before the log is read: the last words of a run are there when it is gone.
        is_at_work = holder.is_at_work
        for logged in log.new_events():
            view.take(logged.event, at=logged.time)
            shown.take(logged.event)
        if view.run:
            shown.refresh(view)
        if not is_at_work or shown.is_closed:
            return
        sleep(_LOOK_SECONDS)


def _ending(view: RunView) -> str:
    """Say how a run ended."""
    name = view.run or "the run"
    if not view.is_over:
        return f"{name} has ended without a word, as after a kill; `pipeline run` with the same options goes on with it"
    words = {State.FAILED: "failed", State.INTERRUPTED: "was interrupted"}
    # The one that failed comes before one that was stopped for that.
    broken = next((stage for state in words for stage in view.stages.values() if stage.state is state), None)
    if broken is None:
        return f"{name} is done"
    why = f": {printable(broken.error)}" if broken.error else ""
    return f"{name} has ended: {broken.name} {words[broken.state]}{why}"


def _told(sentence: str, answer: Answer) -> Answer:
    """Return `answer` with a sentence before it."""

    def text(width: int) -> str:
        return f"{wrapped(sentence, width=width)}\n\n{answer.text(width)}"

    return Answer(answer.document, text, answer.error)
