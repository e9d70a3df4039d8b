"""trackio: SQLite files in `logs/trackio/`, unless the user allows the network and TRACKIO_SPACE_ID names a Space."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.trackers.tracker import TrackedRun


class TrackioTracker:
    """One trackio run of the name of our id."""

    rewrites = False

    def start(self, run: TrackedRun) -> None:
        """Begin the run, or continue the one of this name."""
        folder = run.logs / "trackio"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ |= {"TRACKIO_DIR": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1"}
        if not run.is_online:
            os.environ["HF_HUB_OFFLINE"] = "1"
            for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL", "TRACKIO_BUCKET_ID"):
                os.environ.pop(name, None)
        import trackio  # type: ignore[import-not-found, unused-ignore]

        self._trackio = trackio
        self._run: Any = trackio.init(
            project=run.project,
            name=run.id,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self._step = 0

    def log(self, values: Mapping[str, float], *, step: int | None) -> None:
        """Add a point to each curve; a figure of the whole run stands at its last step."""
        self._step = self._step if step is None else step
        self._run.log(dict(values), step=self._step)

    def artifact(self, path: Path) -> None:
        """Add the file to the artifacts of the run."""
        artifact = self._trackio.Artifact(f"{self._run.name}-{path.stem}", type="result")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def finish(self, _status: str) -> None:
        """Write out what is held back."""
        self._run.finish()
