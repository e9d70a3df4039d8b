"""The figures that a run should reach, before and after they are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.records import Target
from stages.evaluation.config import REAL, SYNTHETIC, TargetConfig


def aims(targets: Sequence[TargetConfig], *, real: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets of a run as they are before anything is measured; `real` are its real data sets, by name.

    A target for `real` becomes one for each real data set, and none where there is none: what nobody asked to measure
    is not missed.
    """
    return tuple(
        Target(data_set=name, metric=target.metric, minimum=target.minimum, value=None)
        for target in targets
        for name in (real if target.data_set == REAL else [target.data_set])
    )


def judge(targets: Sequence[TargetConfig], metrics: Mapping[str, Mapping[str, Any]]) -> tuple[Target, ...]:
    """Put the measured value beside each target; `metrics` holds the figures of each data set, by name.

    A figure that is undefined (no such object in the data) stays None, which is not met.
    """
    return tuple(
        target.model_copy(update={"value": metrics[target.data_set][target.metric]})
        for target in aims(targets, real=[name for name in metrics if name != SYNTHETIC])
    )
