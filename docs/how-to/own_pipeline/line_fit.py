"""A pipeline of three stages: draw points, fit a line to them, judge the line."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import Field

from pipeline import files
from pipeline.config import StageConfig
from pipeline.definition import PipelineDefinition
from pipeline.errors import StageFailed
from pipeline.records import Target
from pipeline.report.parts import REPORT_KIND, LinesBlock, ReportPart, Series, encode_part
from pipeline.stage import Output, Stage, StageContext, StageResult

Point = tuple[float, float]


class PointsConfig(StageConfig):
    """Which points there are."""

    seed: int = Field(0, ge=0, description="of the random numbers")
    count: int = Field(200, ge=2, description="how many points")
    noise: float = Field(0.1, ge=0, description="standard deviation of their distance from y = 2 x + 1")


class FitConfig(StageConfig):
    """How the line is fitted."""

    steps: int = Field(500, ge=1, description="steps of gradient descent")
    lr: float = Field(0.1, gt=0, description="learning rate")


class JudgeConfig(StageConfig):
    """What the line should come to."""

    minimum: float = Field(0.9, le=1, description="the coefficient of determination that the line has to reach")


@dataclass(frozen=True)
class PointsStage:
    """Draws the points. Runs that ask for the same points share them: their folder is named after the config."""

    config: PointsConfig
    name: str = "points"
    version: int = 1
    reruns_on_code_change: bool = False
    folders: tuple[str, ...] = ("datasets/points-*",)

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It has none."""
        return {}

    def execute(self, context: StageContext) -> StageResult:
        """Write all points into one file."""
        rng = random.Random(self.config.seed)  # noqa: S311 - nothing here is secret
        xs = [rng.uniform(-1, 1) for _ in range(self.config.count)]
        points = [(x, 2 * x + 1 + rng.gauss(0, self.config.noise)) for x in xs]
        path = context.workspace.datasets / f"points-{context.config_hash[:8]}" / "points.json"
        files.write_bytes(path, json.dumps(points).encode())
        return StageResult(outputs=[Output("points", path)], metrics={"count": len(points)})


@dataclass(frozen=True)
class FitStage:
    """Fits the line; what it has done is kept every 100 steps, and it goes on from there."""

    config: FitConfig
    name: str = "fit"
    version: int = 1
    reruns_on_code_change: bool = False

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It takes the points."""
        return {"points": ("points",)}

    def execute(self, context: StageContext) -> StageResult:
        """Take the steps that are not done yet."""
        points = points_of(context)
        step, slope, intercept = self._load(context)
        while step < self.config.steps:
            if context.stop.is_set:
                self._save(context, step, slope, intercept)
                context.stop.check(where=f"step {step} of {self.config.steps}")  # raises Interrupted
            errors = [slope * x + intercept - y for x, y in points]
            loss = sum(error * error for error in errors) / len(points)
            if not loss < 1e9:
                raise StageFailed(f"the loss is {loss:g} at step {step}", code="LINE01", hint="lower fit.lr")
            pull = sum(error * x for error, (x, _) in zip(errors, points, strict=True))
            slope -= 2 * self.config.lr * pull / len(points)
            intercept -= 2 * self.config.lr * sum(errors) / len(points)
            step += 1
            context.metrics(step, loss=loss)
            context.progress(step, self.config.steps, "steps", loss=loss)
            if step % 100 == 0:
                self._save(context, step, slope, intercept)
        path = context.results_folder / "line.json"
        files.write_bytes(path, json.dumps({"slope": slope, "intercept": intercept}).encode())
        return StageResult(outputs=[Output("line", path)], metrics={"slope": slope, "intercept": intercept})

    def partial_work(self, context: StageContext) -> str:
        """Tell from where `execute` would go on."""
        step, *_ = self._load(context)
        return f"step {step} of {self.config.steps}" if step else ""

    def discard_partial_work(self, context: StageContext) -> None:
        """Let `execute` begin from zero."""
        files.remove(context.state_folder)

    def _load(self, context: StageContext) -> tuple[int, float, float]:
        path = context.state_folder / "state.json"
        return cast("tuple[int, float, float]", json.loads(path.read_bytes())) if path.is_file() else (0, 0.0, 0.0)

    def _save(self, context: StageContext, *state: float) -> None:
        files.write_bytes(context.state_folder / "state.json", json.dumps(state).encode())


@dataclass(frozen=True)
class JudgeStage:
    """Measures how much of the points the line explains, and shows it in the report."""

    config: JudgeConfig
    name: str = "judge"
    version: int = 1
    reruns_on_code_change: bool = True

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It takes the points and the line."""
        return {"points": ("points",), "fit": ("line",)}

    def execute(self, context: StageContext) -> StageResult:
        """Compute the coefficient of determination, and draw points and line."""
        points = points_of(context)
        line = json.loads(context.input_paths("fit", "line")[0].read_bytes())
        mean = sum(y for _, y in points) / len(points)
        left = sum((line["slope"] * x + line["intercept"] - y) ** 2 for x, y in points)
        r2 = 1 - left / sum((y - mean) ** 2 for _, y in points)
        drawn = [(x, line["slope"] * x + line["intercept"]) for x in (-1.0, 1.0)]
        curves = (Series(name="line", points=tuple(drawn)), Series(name="points", points=tuple(sorted(points))))
        part = ReportPart(
            title="The line", blocks=(LinesBlock(title="Points and line", x_title="x", y_title="y", series=curves),)
        )
        path = context.results_folder / "judge_report.json"
        files.write_bytes(path, encode_part(part))
        target = Target(data_set="points", metric="r2", minimum=self.config.minimum, value=r2)
        return StageResult(outputs=[Output(REPORT_KIND, path)], metrics={"r2": r2}, targets=[target])


def points_of(context: StageContext) -> list[Point]:
    """Read the points that the first stage has left."""
    (path,) = context.input_paths("points", "points")
    return [(x, y) for x, y in json.loads(path.read_bytes())]


def build(configs: Mapping[str, StageConfig]) -> tuple[Stage, ...]:
    """Make the stages from their settings."""
    return (
        PointsStage(cast("PointsConfig", configs["points"])),
        FitStage(cast("FitConfig", configs["fit"])),
        JudgeStage(cast("JudgeConfig", configs["judge"])),
    )


PIPELINE = PipelineDefinition(
    configs={"points": PointsConfig, "fit": FitConfig, "judge": JudgeConfig},
    build=build,
    profiles=Path(__file__).parent / "profiles",
    default_profile="small",
    short_names={"data": "points"},
    explanations=Path(__file__).parent / "explanations",
)
