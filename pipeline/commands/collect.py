"""`pipeline gc`: remove what nobody needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import files
from pipeline.answer import Answer
from pipeline.commands.listing import Listed, listing
from pipeline.commands.remove import Ask
from pipeline.descriptions import head
from pipeline.garbage import Findings, Garbage, find_garbage
from pipeline.options import PlaceOptions, SettingsOptions
from pipeline.reporting import tell_on_stderr
from pipeline.session import Session, open_session
from pipeline.stage import Stage
from pipeline.stat_cache import CACHE_NAME, StatCache
from pipeline.tables import counted, size, wrapped

_NAMED_RUNS = 5  # that go; the others are counted, and the JSON names all


def collect(place: PlaceOptions, *, keep: int | None, ask: Ask | None) -> Answer:
    """Remove what nobody needs, if the user agrees; without `ask` only tell what that is.

    Raises:
        WorkspaceLocked: a run works here, and something was to be removed.
    """
    session = open_session(SettingsOptions(config=place.config, workspace=place.workspace))
    stages = session.orchestrator().stages
    if ask is None:
        owner = session.workspace.owner
        findings = find_garbage(stages, workspace=session.workspace, keep=keep, is_at_work=bool(owner))
        told = f"would remove {_amount(findings)}" if findings.garbage else "there is nothing to remove"
        if owner:
            told += f"; not now, as a run works here: {owner}"
        return Answer(
            _document(session, findings, keep=keep, removed=None),
            lambda width: "\n\n".join(filter(None, [_findings_text(session, findings, width=width), told])),
        )
    # Under the lock, so that the question is not asked in vain; and free while a person thinks.
    with session.workspace.locked(tell=tell_on_stderr):
        findings = find_garbage(stages, workspace=session.workspace, keep=keep)
    is_agreed = bool(findings.garbage) and ask(
        lambda width: _findings_text(session, findings, width=width), f"Remove {_amount(findings)}?"
    )
    removed = _remove(findings, stages, session, keep=keep) if is_agreed else ()
    told = _told(findings, removed, is_agreed=is_agreed)
    return Answer(
        _document(session, findings, keep=keep, removed=removed),
        lambda width: "\n".join([*_doubts(findings, width=width), told]),
    )


def _remove(findings: Findings, stages: Sequence[Stage], session: Session, *, keep: int | None) -> tuple[Garbage, ...]:
    """Remove what was agreed on and is garbage still; return that."""
    workspace = session.workspace
    with workspace.locked(tell=tell_on_stderr) as lock:
        # A run may have come and gone while somebody thought.
        still = set(find_garbage(stages, workspace=workspace, keep=keep).garbage)
        agreed = [each for each in findings.garbage if each in still]
        # A record goes before what it refers to: no kill leaves one that vouches for what is gone.
        for each in sorted(agreed, key=lambda each: each.path.suffix != ".json"):
            lock.require_held()
            files.remove(each.path)
        cache = StatCache(workspace.checkpoints / CACHE_NAME)
        cache.forget_missing()
        cache.save()
    return tuple(agreed)


def _told(findings: Findings, removed: Sequence[Garbage], *, is_agreed: bool) -> str:
    if not findings.garbage:
        return "there is nothing to remove"
    if not is_agreed:
        return "nothing was removed"
    changed = len(findings.garbage) - len(removed)
    rest = f"; a run has changed {changed} of {len(findings.garbage)} since you were asked: left" if changed else ""
    return f"removed {size(sum(each.num_bytes for each in removed))}{rest}"


def _amount(findings: Findings) -> str:
    return f"{size(findings.num_bytes)} in {counted(findings.num_files, 'file')}"


def _document(
    session: Session, findings: Findings, *, keep: int | None, removed: Sequence[Garbage] | None
) -> dict[str, Any]:
    workspace, retention = session.workspace, findings.retention
    return {
        **head("gc", workspace),
        "is_dry_run": removed is None,
        "is_removed": bool(removed),
        "keep": keep,
        "running": workspace.owner,
        "kept_runs": [run.name for run in retention.kept],
        "dropped_runs": [run.name for run in retention.dropped],
        "num_files": findings.num_files,
        "num_bytes": findings.num_bytes,
        "garbage": [
            {
                "path": workspace.relative(each.path),
                "why": each.why.name,
                "num_files": each.num_files,
                "num_bytes": each.num_bytes,
                "is_removed": each in (removed or ()),
            }
            for each in findings.garbage
        ],
        "doubts": list(findings.doubts),
    }


def _findings_text(session: Session, findings: Findings, *, width: int) -> str:
    """Return what would go, and why."""
    things = (Listed(each.why, each.path, each.num_files, each.num_bytes) for each in findings.garbage)
    rows = listing(things, workspace=session.workspace, width=width)
    return "\n".join(filter(None, [*_doubts(findings, width=width), *_runs(findings, width=width), rows]))


def _doubts(findings: Findings, *, width: int) -> list[str]:
    return [wrapped(f"warning: {doubt}", width=width, hanging="  ") for doubt in findings.doubts]


def _runs(findings: Findings, *, width: int) -> list[str]:
    """Return which runs stay and which go, the one that was started last at the beginning; nothing if all stay."""
    kept, dropped = (
        [run.name for run in reversed(runs)] for runs in (findings.retention.kept, findings.retention.dropped)
    )
    if not dropped:
        return []
    more = f" and {len(dropped) - _NAMED_RUNS} more" if len(dropped) > _NAMED_RUNS else ""
    return [
        wrapped(f"stays: {', '.join(kept)}", width=width, hanging="  "),
        wrapped(f"goes: {', '.join(dropped[:_NAMED_RUNS])}{more}", width=width, hanging="  "),
    ]
