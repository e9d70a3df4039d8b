"""The tiny pipeline with data generation that a test holds back chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from gated_data import GatedData
from tiny_pipeline import SMALL

from pipeline.config import StageConfig
from pipeline.stage import Stage
from stages.catalog import build
from stages.data_generation.config import DataGenerationConfig


def build_gated(configs: Mapping[str, StageConfig]) -> tuple[Stage, ...]:
    """Return the built-in stages, the first of them gated."""
    return GatedData(cast("DataGenerationConfig", configs["data_generation"])), *build(configs)[1:]


GATED = replace(SMALL, build=build_gated)
