"""What is told reaches every reporter, also what one of them has to tell itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.config import RuntimeOptions
from pipeline.events import Event, Kind, Reporters
from pipeline.trackers import catalog
from pipeline.trackers.reporter import Trackers
from pipeline.workspace import Workspace


class _Keeper:
    def __init__(self) -> None:
        self.kept: list[Event] = []

    def emit(self, event: Event) -> None:
        self.kept.append(event)

    def close(self) -> None:
        pass


def test_a_tracker_that_is_not_installed_is_told_of_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reporter of trackers finds out while it is told that a stage begins: the warning must not wait for that."""
    monkeypatch.setattr(catalog, "is_installed", lambda _: False)
    keeper = _Keeper()
    trackers = Trackers(
        RuntimeOptions(trackers=("wandb",)),
        config={},
        workspace=Workspace.at(tmp_path),
        tell=lambda text: reporters.emit(Event(Kind.WARNING, data={"text": text})),
    )
    reporters = Reporters(trackers, keeper)
    telling = threading.Thread(target=reporters.emit, args=[Event(Kind.STAGE_STARTED, "a")], daemon=True)
    telling.start()
    telling.join(timeout=60)  # for ever, where it waits for itself
    assert [event.kind for event in keeper.kept] == [Kind.WARNING, Kind.STAGE_STARTED]
    assert "the tracker wandb is not installed, so the run goes on without it" in keeper.kept[0].data["text"]
