"""A pipeline of four small stages with a fork and a join, built through the public protocol alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline import files
from pipeline.config import StageConfig
from pipeline.definition import PipelineDefinition
from pipeline.errors import StageFailed
from pipeline.records import Artifact, Target
from pipeline.stage import Output, ProgressReport, ProgressRow, Stage, StageContext, StageResult


class DrawConfig(StageConfig):
    """How the numbers are drawn."""

    low: int = Field(1, ge=0, description="smallest number")
    step: float = Field(1.0, gt=0, le=100, description="distance between two numbers")


class NumbersConfig(StageConfig):
    """Which numbers there are."""

    count: int = Field(4, ge=1, le=1000, description="how many numbers")
    draw: DrawConfig = DrawConfig()


class SquaresConfig(StageConfig):
    """How numbers are squared."""

    is_signed: bool = False
    label: str = "squares"


class CubesConfig(StageConfig):
    """How numbers are cubed."""

    mode: Literal["plain", "signed"] = "plain"


class TotalConfig(StageConfig):
    """What the total should reach."""

    minimum: float = Field(10.0, description="target for the total")
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class NumbersStage:
    """Writes one file for each number; can go on and can mend, number by number."""

    config: NumbersConfig
    name: str = "numbers"
    version: int = 1
    reruns_on_code_change: bool = False
    folders: tuple[str, ...] = ("datasets/numbers-*",)

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It has none."""
        return {}

    def execute(self, context: StageContext) -> StageResult:
        """Write the numbers that are missing."""
        for number in range(self.config.count):
            context.stop.check(where=f"number {number} of {self.config.count}")
            self._write(context, number)
            context.progress(number + 1, self.config.count, "numbers", latest=number)
            _meet_the_test()
        paths = [self._path(context, number) for number in range(self.config.count)]
        return StageResult(outputs=[Output("number", path) for path in paths], metrics={"count": len(paths)})

    def partial_work(self, context: StageContext) -> str:
        """Tell how many numbers are there."""
        done = self._num_done(context)
        return f"number {done} of {self.config.count}" if done else ""

    def discard_partial_work(self, context: StageContext) -> None:
        """Remove the numbers."""
        files.remove(self._path(context, 0).parent)

    def can_repair(self, damaged: Sequence[Artifact]) -> bool:
        """Any number can be written again."""
        return bool(damaged)

    def repair(self, context: StageContext, damaged: Sequence[Artifact]) -> StageResult:
        """Write the damaged numbers again."""
        for artifact in damaged:
            files.remove(context.workspace.resolve(artifact.path))
        return self.execute(context)

    def progress_report(self, context: StageContext) -> ProgressReport | None:
        """Tell how many numbers are there."""
        done = self._num_done(context)
        row = ProgressRow("numbers", done, self.config.count, "drawn in order")
        return ProgressReport("Numbers", {"done": done}, (row,), {"done": done}) if done else None

    def _num_done(self, context: StageContext) -> int:
        return sum(self._path(context, number).exists() for number in range(self.config.count))

    def _path(self, context: StageContext, number: int) -> Path:
        return context.workspace.datasets / f"numbers-{context.config_hash[:8]}" / f"{number:05}.json"

    def _write(self, context: StageContext, number: int) -> None:
        path = self._path(context, number)
        if not path.exists():
            files.write_bytes(path, json.dumps(self.config.draw.low + number * self.config.draw.step).encode())


@dataclass(frozen=True)
class PowerStage:
    """Raises each number to a power: the fork is two of these."""

    config: StageConfig
    name: str
    exponent: int
    version: int = 1
    reruns_on_code_change: bool = False

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It takes all numbers."""
        return {"numbers": ()}

    def execute(self, context: StageContext) -> StageResult:
        """Write all powers into one file."""
        numbers = [json.loads(path.read_bytes()) for path in context.input_paths("numbers", "number")]
        path = context.results_folder / f"{self.name}.json"
        files.write_bytes(path, json.dumps([number**self.exponent for number in numbers]).encode())
        return StageResult(outputs=[Output("powers", path)])


@dataclass(frozen=True)
class TotalStage:
    """Adds up all powers: the join."""

    config: TotalConfig
    name: str = "total"
    version: int = 1
    reruns_on_code_change: bool = True

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """It takes what both branches made."""
        return {"squares": (), "cubes": ("powers",)}

    def execute(self, context: StageContext) -> StageResult:
        """Write the sum and compare it with its target."""
        _fail_as_told()
        paths = [*context.input_paths("squares", "powers"), *context.input_paths("cubes", "powers")]
        total = float(sum(sum(json.loads(path.read_bytes())) for path in paths))
        path = context.results_folder / "total.json"
        files.write_bytes(path, json.dumps(total).encode())
        context.info(f"the total is {total}")
        target = Target(data_set="toy", metric="total", minimum=self.config.minimum, value=total)
        return StageResult(outputs=[Output("total", path)], metrics={"total": total}, targets=[target])


def build(configs: Mapping[str, StageConfig]) -> tuple[Stage, ...]:
    """Make the four stages."""
    numbers, total = configs["numbers"], configs["total"]
    assert isinstance(numbers, NumbersConfig)
    assert isinstance(total, TotalConfig)
    return (
        NumbersStage(numbers),
        PowerStage(configs["squares"], "squares", 2),
        PowerStage(configs["cubes"], "cubes", 3),
        TotalStage(total),
    )


PIPELINE = PipelineDefinition(
    configs={"numbers": NumbersConfig, "squares": SquaresConfig, "cubes": CubesConfig, "total": TotalConfig},
    build=build,
    profiles=Path(__file__).parent / "toy_profiles",
    default_profile="small",
    short_names={"data": "numbers", "eval": "total"},
    flags={"dataset-size": "numbers.count", "device": "runtime.device"},
    explanations=Path(__file__).parent / "toy_explanations",
)


def _meet_the_test() -> None:
    """Wait until the test has opened and closed the named pipe of TOY_PAUSE, so that a signal comes at a known time."""
    if fifo := os.environ.get("TOY_PAUSE"):
        Path(fifo).read_bytes()


def _fail_as_told() -> None:
    failures: dict[str, Exception] = {
        "stage": StageFailed("the total cannot be added up", code="T0001", hint="try smaller numbers"),
        "memory": MemoryError(),
        "disk": OSError(28, "No space left on device", "total.json"),
        "denied": PermissionError(13, "Permission denied", "total.json"),
        "bug": KeyError("oops"),
    }
    if failure := failures.get(os.environ.get("TOY_FAILURE", "")):
        raise failure
