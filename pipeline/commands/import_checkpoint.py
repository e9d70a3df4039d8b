"""`pipeline import-checkpoint`: continue what another program began."""

from __future__ import annotations

from pathlib import Path

from pipeline.answer import Answer
from pipeline.descriptions import head
from pipeline.options import SettingsOptions
from pipeline.session import open_session


def import_checkpoint(settings: SettingsOptions, path: Path) -> Answer:
    """Take over a checkpoint of another program as half-done work of this run."""
    session = open_session(settings)
    orchestrator = session.orchestrator()
    stage, told = orchestrator.upkeep.import_checkpoint(path)
    document = {**head("import-checkpoint", session.workspace, orchestrator), "stage": stage, "told": told}
    return Answer(document, lambda _: told)
