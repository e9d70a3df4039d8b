"""Weights & Biases: offline into `logs/wandb/<run>/`, for `wandb sync`, unless the user allows the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.trackers.tracker import TrackedRun

_STEP = "step"  # an axis of our own: W&B's refuses to go back, and counts what has no step


class WandbTracker:
    """One W&B run of our id; W&B joins the parts of an interrupted one by it when they are synced."""

    rewrites = False

    def __init__(self) -> None:
        import wandb  # type: ignore[import-not-found, unused-ignore]

        self._wandb: Any = wandb

    def start(self, run: TrackedRun) -> None:
        """Open the run; nothing is collected but what it is given."""
        folder = run.logs / "wandb" / run.name
        folder.mkdir(parents=True, exist_ok=True)
        settings = self._wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
        )
        self._run: Any = self._wandb.init(
            project=run.project,
            id=run.id,
            name=run.name,
            config=dict(run.config),
            resume="allow",
            mode="online" if run.is_online else "offline",
            dir=str(folder),
            settings=settings,
        )
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Add a point to each chart, or a figure to the summary."""
        if step is None:
            self._run.summary.update(dict(values))
        else:
            self._run.log({**values, _STEP: step})

    def artifact(self, path: Path) -> None:
        """Add the file to the artifacts of the run."""
        artifact = self._wandb.Artifact(f"{self._run.id}-{path.stem}", type="result")
        artifact.add_file(str(path), skip_cache=True, policy="immutable")
        self._run.log_artifact(artifact)

    def finish(self, status: str) -> None:
        """Close the run, as failed unless it is done."""
        self._run.finish(exit_code=0 if status == "done" else 1)
