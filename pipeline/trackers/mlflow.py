"""MLflow: a SQLite file in `logs/`, unless the user allows the network and MLFLOW_TRACKING_URI names a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.trackers.tracker import TrackedRun

_ID_TAG = "stage_pipeline.run_id"  # MLflow chooses the ids of its runs itself
_STATES = {"done": "FINISHED", "failed": "FAILED"}
_MAX_PARAM_LETTERS = 500  # longer ones are refused
_PARAMS_AT_ONCE = 100
_NOT_IN_NAMES = re.compile(r"[^\w./ -]")  # of metrics, which may name classes


class MlflowTracker:
    """One MLflow run for our id, found again by a tag."""

    rewrites = False

    def __init__(self) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow import entities  # type: ignore[import-not-found, unused-ignore]
        from mlflow.tracking import MlflowClient  # type: ignore[import-not-found, unused-ignore]

        self._entities, self._new_client = entities, MlflowClient

    def start(self, run: TrackedRun) -> None:
        """Find or create experiment and run; settings are its parameters."""
        run.logs.mkdir(parents=True, exist_ok=True)
        server = os.environ.get("MLFLOW_TRACKING_URI") if run.is_online else None
        self._client: Any = self._new_client(server or f"sqlite:///{run.logs / 'mlflow.db'}")
        experiment = self._client.get_experiment_by_name(run.project)
        if experiment is None:
            place = None if server else (run.logs / "mlflow").as_uri()
            experiment_id = self._client.create_experiment(run.project, artifact_location=place)
        else:
            experiment_id = experiment.experiment_id
        found = self._client.search_runs([experiment_id], f"tags.`{_ID_TAG}` = '{run.id}'", max_results=1)
        if found:
            self._run_id = found[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            return
        self._run_id = self._client.create_run(experiment_id, run_name=run.name).info.run_id
        self._client.log_batch(self._run_id, tags=[self._entities.RunTag(_ID_TAG, run.id)])
        params = [self._entities.Param(name, str(value)[:_MAX_PARAM_LETTERS]) for name, value in run.config.items()]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(self._run_id, params=params[start : start + _PARAMS_AT_ONCE])

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Add a value to each metric; a figure of the whole run stands at step 0."""
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(_NOT_IN_NAMES.sub("_", name), value, now, step or 0) for name, value in values.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def artifact(self, path: Path) -> None:
        """Copy the file to the artifacts of the run."""
        self._client.log_artifact(self._run_id, str(path))

    def finish(self, status: str) -> None:
        """End the run."""
        self._client.set_terminated(self._run_id, _STATES.get(status, "KILLED"))
