"""On what, and with which settings, the GPU check measures: the professional profile, or a tiny likeness of it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_check_ledger import OutOfTimeError

from stages.detection.config import DetectionConfig
from stages.training.config import TrainingConfig

ROOT = Path(__file__).parent.parent
_PROFILE = ROOT / "stages" / "profiles" / "professional.toml"
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_POLL_SECONDS = 0.005
_GRACE_SECONDS = 60.0
_STOPPED = 75  # the exit code of a run that SIGTERM has stopped
# What makes of the profile something that two CPU cores do in seconds.
_TINY: Mapping[str, Any] = {
    "data_generation.dataset_size": 32,
    "data_generation.validation_size": 8,
    "data_generation.test_size": 8,
    "data_generation.chunk_size": 8,
    "data_generation.image_size": 64,
    "data_generation.min_extent": 0.2,
    "training.batch_size": 8,
    "training.epochs": 1,
    "training.precision": "fp32",
    "training.task.backbone": "resnet18",
    "training.task.channels": 16,
    "training.task.num_convs": 1,
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all parts of the check share.

    Attributes:
        workspace: the folder for data, checkpoints and results; much larger than the figures, and made anew if lost.
        real: a folder of real Bongard-LOGO images, if there is one.
        deadline: by `time.monotonic`, when this call must come to its end.
    """

    workspace: Path
    device: torch.device
    is_tiny: bool
    real: Path | None
    deadline: float

    def seconds_left(self) -> float:
        """Return how long this call may still work."""
        return self.deadline - time.monotonic()

    def pick(self, full: int, *, tiny: int) -> int:
        """Return `full`, or `tiny` where only the script itself is tried."""
        return tiny if self.is_tiny else full

    def training_config(self, **changes: Any) -> TrainingConfig:
        """Return the training settings of the profile, some of them changed; long enough to be measured."""
        settings = tomllib.loads(_PROFILE.read_text())["training"]
        for name, value in (_TINY if self.is_tiny else {}).items():
            section, *path, key = name.split(".")
            inner = settings
            for step in path if section == "training" else ():
                inner = inner.setdefault(step, {})
            if section == "training":
                inner[key] = value
        task = DetectionConfig.model_validate(settings["task"])
        settings["epochs"] = self.pick(settings["epochs"], tiny=10)
        return TrainingConfig.model_validate({**settings, **changes, "task": task})

    def start(self, workspace: str, *, until: str = "", **changes: Any) -> subprocess.Popen[bytes]:
        """Start `pipeline run` with the profile in a workspace of its own; `changes` are settings, __ for the dot."""
        folder = self.workspace / workspace
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**(_TINY if self.is_tiny else {}), **{key.replace("__", "."): v for key, v in changes.items()}}
        command = [
            *(sys.executable, "-m", "pipeline", "run", "--professional"),
            *("--workspace", str(folder), "--device", self.device.type),
            *(("--until", until) if until else ()),
            *(word for key, value in settings.items() for word in ("--set", f"{key}={_toml(value)}")),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        with (folder / "gpu_check.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl+C is for this program, which then stops it
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing else runs in this program while it forks
            )

    def manifest(self) -> Path:
        """Return the manifest of the profile's data set, which is generated first where it is not there."""
        if not finish(self.start("whole", until="data_generation"), until=lambda: self.seconds_left() < 0):
            raise OutOfTimeError("time ran out before the data were there")
        return next((self.workspace / "whole" / "datasets").glob("*/*/manifest.json"))


def finish(process: subprocess.Popen[bytes], *, until: Callable[[], bool]) -> bool:
    """Wait for a run; stop it by SIGTERM, as soon as `until` says so, and return False; raises where it fails."""
    while process.poll() is None and not until():
        time.sleep(_POLL_SECONDS)
    if process.poll() is None:
        process.terminate()
    try:
        code = process.wait(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        kill(process)
        return False
    if code not in (0, _STOPPED):
        raise RuntimeError(f"pipeline ended with {code}: see {Path(_workspace_of(process.args)).name}/gpu_check.log")
    return code == 0


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a run and all processes that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _workspace_of(arguments: Any) -> str:
    words: Sequence[str] = arguments
    return words[words.index("--workspace") + 1]


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
