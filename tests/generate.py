"""Runs data generation in a process of its own, for tests that kill it: `generate.py WORKSPACE CONFIG_JSON WORKERS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fakes import make_context

from pipeline.config import RuntimeOptions
from pipeline.errors import Interrupted
from pipeline.interrupts import stop_on_signals
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.stage import DataGenerationStage


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
            return interruption.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
