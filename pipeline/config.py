"""The two kinds of settings: what changes the result, and what changes only the running."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StageConfig(BaseModel):
    """Settings of one stage; every field changes the result, so the whole of it is hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuntimeOptions(BaseModel):
    """How a run is carried out; recorded, never hashed, because the result does not depend on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where training and evaluation compute")
    num_workers: int = Field(0, ge=0, le=256, description="processes for data generation; 0: one per usable core")
    log_interval_seconds: float = Field(5.0, gt=0, le=3600, description="between progress lines when not on a terminal")
    checkpoint_interval_steps: int = Field(0, ge=0, description="training steps between extra checkpoints; 0: off")
    checkpoint_interval_seconds: float = Field(0.0, ge=0, description="seconds between extra checkpoints; 0: off")
    keep_checkpoints: int = Field(3, ge=1, le=1000, description="training checkpoints kept besides the best")
    sample_log: bool = Field(False, description="write the sample ids of every training step to logs/samples.jsonl")
    tensorboard: bool = Field(True, description="write TensorBoard event files when the package is installed")
