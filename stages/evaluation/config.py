"""The settings of evaluation: the real data sets to measure on, and the figures to reach."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config import StageConfig

SYNTHETIC = "synthetic"  # the data set that data generation held out
REAL = "real"  # in a target: each of the real data sets

Layout = Literal["auto", "coco", "bongard_logo"]
Metric = Literal[
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "agnostic_ap", "agnostic_ap50", "agnostic_ap75", "agnostic_ap_small", "agnostic_ap_medium", "agnostic_ap_large",
]  # fmt: skip


class RealData(StageConfig):
    """A folder of real images with known boxes."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60, description="how the results call it")
    path: Path = Field(description="the folder, relative to the current one")
    layout: Layout = Field("auto", description="how the folder is laid out; auto: by what is in it")


class TargetConfig(StageConfig):
    """A figure to reach."""

    data_set: str = Field(description='"synthetic", the name of a real data set, or "real" for each of them')
    metric: Metric = Field(description="agnostic_…: with all classes taken as one")
    minimum: float = Field(gt=0, le=1, description="the value that the metric has to reach")


class EvaluationConfig(StageConfig):
    """What is measured, and what it should come to."""

    batch_size: int = Field(64, ge=1, le=4096, description="images predicted at a time")
    real_data: tuple[RealData, ...] = Field((), description="real images to measure on, besides the held-out scenes")
    targets: tuple[TargetConfig, ...] = Field(
        (
            TargetConfig(data_set=SYNTHETIC, metric="ap", minimum=0.85),
            TargetConfig(data_set=SYNTHETIC, metric="ap50", minimum=0.95),
            # Whether real shapes bear the trained class names is a matter of taxonomy, not of detection.
            TargetConfig(data_set=REAL, metric="agnostic_ap50", minimum=0.70),
        ),
        description="figures to reach; those of `real` count only where real data is given",
    )

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> Self:
        names = [real.name for real in self.real_data]
        taken = {name for name in names if names.count(name) > 1 or name in (SYNTHETIC, REAL)}
        if taken:
            raise ValueError(f"real_data needs other names than {', '.join(sorted(taken))}: each must be its own")
        unknown = {target.data_set for target in self.targets} - {SYNTHETIC, REAL, *names}
        if unknown:
            raise ValueError(f"targets name data sets that are not in real_data: {', '.join(sorted(unknown))}")
        return self


def file_suffix(data_set: str) -> str:
    """Return what the files about `data_set` end in before their extension: nothing for the held-out scenes."""
    return "" if data_set == SYNTHETIC else f"_{data_set}"
