"""Commands that remove what was made: `reset`, `progress reset`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.answer import Answer
from pipeline.commands.listing import Listed, listing
from pipeline.descriptions import head
from pipeline.options import SettingsOptions
from pipeline.session import Session, open_session
from pipeline.tables import counted, size, table

if TYPE_CHECKING:
    from pipeline.reset import Removal

# Shows a person what would go and asks whether it may; the text is made for a width in characters.
Ask = Callable[[Callable[[int], str], str], bool]


def reset(settings: SettingsOptions, word: str, *, only_this_run: bool, ask: Ask) -> Answer:
    """Remove what the stages that `word` names have made, if the user agrees."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    removals = orchestrator.upkeep.removals(session.stages(word), only_this_run=only_this_run)
    total = size(sum(removal.num_bytes for removal in removals))
    is_agreed = bool(removals) and ask(
        lambda width: _removals_text(session, removals, width=width),
        f"Remove {total} in {counted(sum(removal.num_files for removal in removals), 'file')}?",
    )
    if is_agreed:
        orchestrator.upkeep.reset(removals)
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
    if only_this_run and not removals and set(session.stages(word)) & orchestrator.upkeep.half_done().keys():
        told += " that is whole; `pipeline progress reset` discards half-done work"
    return Answer(document, lambda _: told)


def reset_progress(settings: SettingsOptions, *, ask: Ask) -> Answer:
    """Discard the half-done work of every stage that has some, if the user agrees."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    half_done = orchestrator.upkeep.half_done()
    is_agreed = bool(half_done) and ask(
        lambda width: table(list(half_done.items()), width=width), f"Discard the progress of {', '.join(half_done)}?"
    )
    discarded = list(half_done) if is_agreed else []
    for stage in discarded:
        orchestrator.upkeep.discard_partial_work(stage)
    document = {**head("progress reset", session.workspace, orchestrator), "discarded": discarded}
    told = f"discarded the progress of {', '.join(discarded)}" if discarded else "nothing was discarded"
    return Answer(document, lambda _: told)


def _removals_text(session: Session, removals: Sequence[Removal], *, width: int) -> str:
    """Return what would go, and which stage made it."""
    things = (Listed(each.stage or "no stage", each.path, each.num_files, each.num_bytes) for each in removals)
    return listing(things, workspace=session.workspace, width=width)
