"""What a run came to: its targets, met or missed, or how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.records import StageRecord, Target
from pipeline.report.history import Ending, History
from pipeline.report.sheet import RunSheet, SheetStage
from pipeline.tables import duration

Mood = Literal["good", "bad", "open", "plain"]

# How a run stands, by how the newest attempt of a stage that is not done ended; the first that there is says it.
_UNFINISHED: Mapping[Ending, tuple[Mood, str, str]] = {
    "at work": ("open", "At work", "is at work"),
    "failed": ("bad", "Failed", "failed"),
    "interrupted": ("open", "Interrupted", "was interrupted"),
    "killed": ("open", "Killed", "was killed"),
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The sentence that a report begins with, how good that is, the targets, and figures in passing."""

    mood: Mood
    text: str
    detail: str = ""
    targets: tuple[Target, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def judge(sheet: RunSheet, records: Mapping[str, StageRecord], history: History) -> Verdict:
    """Judge a run by its targets."""
    targets = tuple(target for record in records.values() for target in record.targets)
    missing = [stage for stage in sheet.stages if stage.name not in records]
    facts = tuple(_facts(records, history, is_whole=not missing))
    if missing:
        return replace(_unfinished(missing, history), targets=targets, facts=facts)
    if not targets:
        return Verdict(mood="plain", text="Done", detail="This run has no targets.", facts=facts)
    missed = [target for target in targets if not target.is_met]
    if not missed:
        text = "Target met" if len(targets) == 1 else f"All {len(targets)} targets met"
        return Verdict(mood="good", text=text, targets=targets, facts=facts)
    text = "Target missed" if len(targets) == 1 else f"{len(missed)} of {len(targets)} targets missed"
    return Verdict(mood="bad", text=text, detail=_farthest(missed), targets=targets, facts=facts)


def _unfinished(missing: Sequence[SheetStage], history: History) -> Verdict:
    """Say how the newest session of the run ended: a stage that failed comes before one that was stopped for that."""
    attempts = [attempt for stage in missing if (attempt := history.newest(stage.name))]
    newest = [each for each in attempts if each.session == max(other.session for other in attempts)]
    for ending, (mood, text, words) in _UNFINISHED.items():
        for attempt in newest:
            if attempt.ending == ending:
                told = ": ".join(filter(None, [f"{attempt.stage} {words}", attempt.told]))
                return Verdict(mood=mood, text=text, detail=told)
    first = missing[0]
    detail = f"{first.name}: {first.detail}" if first.detail else f"{first.name} is not done"
    return Verdict(mood="open", text="Not finished", detail=detail)


def _farthest(missed: Sequence[Target]) -> str:
    worst = max(missed, key=lambda target: target.minimum - (target.value or 0.0))
    if worst.value is None:
        return f"{worst.metric} on {worst.data_set} could not be measured."
    gap = worst.minimum - worst.value
    return f"{worst.metric} on {worst.data_set} is {gap:.4f} below its target."


def _facts(records: Mapping[str, StageRecord], history: History, *, is_whole: bool) -> list[tuple[str, str]]:
    facts = []
    if records and is_whole:
        facts.append(("finished", max(record.finished_at for record in records.values())[:16].replace("T", " ")))
    worked = sum(session.ended - session.began for session in history.sessions.values())
    if worked:
        facts.append(("time at work", duration(worked)))
    attempts = [attempt for stage in history.stages.values() for attempt in stage.attempts]
    cuts = [each for each in attempts if each.ending in ("failed", "interrupted", "killed")]
    facts.append(("interruptions", str(len(cuts)) if attempts else "not known"))
    saves = [seconds for stage in history.stages.values() for seconds in stage.checkpoint_seconds]
    if saves:
        facts.append(("checkpoints", f"{len(saves)}, written in {duration(sum(saves))}"))
    hosts = dict.fromkeys(str(record.environment.get("host", "")) for record in records.values())
    if named := ", ".join(filter(None, hosts)):
        facts.append(("host", named))
    warnings = sum(len(record.warnings) for record in records.values())
    if warnings:
        facts.append(("warnings", str(warnings)))
    return facts
