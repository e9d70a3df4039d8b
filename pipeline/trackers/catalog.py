"""Which trackers there are, by name, and what each needs to be installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from pipeline.trackers.tracker import Tracker

# The package of each, its name and that of the extra being the same.
BUILT_IN = {
    "tensorboard": "pipeline.trackers.tensorboard:TensorBoardTracker",
    "wandb": "pipeline.trackers.wandb:WandbTracker",
    "mlflow": "pipeline.trackers.mlflow:MlflowTracker",
    "trackio": "pipeline.trackers.trackio:TrackioTracker",
}


def is_installed(name: str) -> bool:
    """Return whether the package of a built-in tracker is there; of one's own nothing is known before it is loaded."""
    return name not in BUILT_IN or find_spec(name) is not None


def load_tracker(name: str) -> Tracker:
    """Make the tracker of a name, or of "module:attribute" for one's own; raises whatever its module raises."""
    module_name, _, attribute = BUILT_IN.get(name, name).partition(":")
    return cast("Tracker", getattr(import_module(module_name), attribute)())
