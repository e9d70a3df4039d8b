"""What is told when a run begins: which it is, what it aims at, and who carries it out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pipeline.events import Event, Kind
from pipeline.stage import AimsAtTargets, Stage


def announcement(
    stages: Sequence[Stage], *, run: str, profile: str, config_hashes: Mapping[str, str], command: Sequence[str]
) -> Event:
    """Return the first event of a run of `stages` by this process; `command` is what asked for it, in words."""
    aims = [target for stage in stages if isinstance(stage, AimsAtTargets) for target in stage.aims()]
    data = {
        "run": run,
        "profile": profile,
        "stages": [stage.name for stage in stages],
        "config_hashes": dict(config_hashes),
        "targets": [target.model_dump() for target in aims],
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "command": list(command),
    }
    return Event(Kind.RUN_STARTED, "", data)
