"""Data generation that hands on a chunk only when a test lets it: all that the process of the stage imports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import StageFailed
from pipeline.stage import StageContext, StageResult
from stages.data_generation.stage import DataGenerationStage

GATES = "TEST_GATES"  # environment variable: a folder with a named pipe for each chunk that is held back, by its file


class GatedData(DataGenerationStage):
    """Reads the pipe of a chunk before it releases it, and so waits until something is written into it."""

    def execute(self, context: StageContext) -> StageResult:
        """Make the chunks; fail where "fail" is written."""
        folder = Path(os.environ[GATES])

        def release(name: str, facts: Mapping[str, Any]) -> None:
            gate = folder / Path(name).name
            if gate.exists() and gate.read_text() == "fail":
                raise StageFailed("the gate said so", code="T0001")
            context.release(name, facts)

        return super().execute(replace(context, release=release))
