"""Small data sets, drawn here or in a process that can be killed: `generate.py WORKSPACE CONFIG_JSON WORKERS`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from fakes import make_context

from pipeline.config import RuntimeOptions
from pipeline.errors import Interrupted
from pipeline.interrupts import stop_on_signals
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.stage import DataGenerationStage

SMALL = {
    "dataset_size": 25,
    "validation_size": 10,
    "test_size": 7,
    "chunk_size": 5,
    "image_size": 32,
    "min_extent": 0.25,
}
# Enough that worker processes are worth their start, and that a kill falls in the middle.
LARGE = {**SMALL, "dataset_size": 4000, "chunk_size": 100}


def make_stage(**values: Any) -> DataGenerationStage:
    """Return the stage with the small settings and some others."""
    return DataGenerationStage(DataGenerationConfig.model_validate({**SMALL, **values}))


def data_bytes(root: Path) -> dict[str, bytes]:
    """Return all that lies in the data folder of the workspace `root`, by name."""
    files = sorted(path for path in (root / "datasets").rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def environment() -> dict[str, str]:
    """Return what a process needs to import the tests and the program."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parent.parent))),
    }


def main() -> int:
    """Execute the stage once; the exit code is that of the command line."""
    workspace, config, num_workers = sys.argv[1:]
    stage = DataGenerationStage(DataGenerationConfig.model_validate(json.loads(config)))
    with stop_on_signals() as stop:
        context = make_context(stage, Path(workspace), stop=stop, runtime=RuntimeOptions(num_workers=int(num_workers)))
        try:
            stage.execute(context)
        except Interrupted as interruption:
            sys.stderr.write(interruption.message)
            return interruption.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
