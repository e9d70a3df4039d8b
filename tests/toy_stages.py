"""Four toy stages that fork and join, run by the orchestrator in this process."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import files
from pipeline.config import RuntimeOptions, StageConfig
from pipeline.decide import Action, Reason
from pipeline.events import Event
from pipeline.interrupts import StopFlag
from pipeline.orchestrator import Orchestrator
from pipeline.outcomes import StageOutcome
from pipeline.records import Artifact
from pipeline.stage import Output, Stage, StageContext, StageResult
from pipeline.workspace import Workspace


class NumbersConfig(StageConfig):
    """How many numbers, from where on."""

    count: int = 3
    start: int = 0


class AddConfig(StageConfig):
    """What is added to each number."""

    amount: int = 1


class SumConfig(StageConfig):
    """Nothing to set."""


class Numbers:
    """Writes one file for each number; can go on with missing ones and mend damaged ones."""

    name = "numbers"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {}
    reruns_on_code_change = False

    def __init__(self, config: NumbersConfig) -> None:
        self.config = config
        self.written: list[int] = []
        self.stops_after = 1000

    def execute(self, context: StageContext) -> StageResult:
        """Write what is missing."""
        for number in range(self.config.count):
            if len(self.written) == self.stops_after:
                context.stop.set(signal.SIGTERM)
            context.stop.check(where=f"number {number}")
            if not self._path(context, number).exists():
                files.write_bytes(self._path(context, number), str(self.config.start + number).encode())
                self.written.append(number)
        outputs = [Output("number", self._path(context, number)) for number in range(self.config.count)]
        return StageResult(outputs=outputs, metrics={"count": self.config.count})

    def partial_work(self, context: StageContext) -> str:
        """Count the files."""
        done = sum(self._path(context, number).exists() for number in range(self.config.count))
        return f"{done} of {self.config.count} numbers" if done else ""

    def discard_partial_work(self, context: StageContext) -> None:
        """Remove the files."""
        files.remove(context.state_folder)

    def can_repair(self, damaged: Sequence[Artifact]) -> bool:
        """Any number can be written again."""
        return bool(damaged)

    def repair(self, context: StageContext, damaged: Sequence[Artifact]) -> StageResult:
        """Write the damaged ones again."""
        for artifact in damaged:
            files.remove(context.workspace.resolve(artifact.path))
        return self.execute(context)

    @staticmethod
    def _path(context: StageContext, number: int) -> Path:
        return context.state_folder / f"{number}.txt"


class Add:
    """Adds an amount to every number of its input; knows nothing of resuming or mending."""

    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {"numbers": ("number",)}
    reruns_on_code_change = False

    def __init__(self, name: str, config: AddConfig) -> None:
        self.name = name
        self.config = config
        self.num_runs = 0

    def execute(self, context: StageContext) -> StageResult:
        """Write the list of results."""
        self.num_runs += 1
        numbers = [int(path.read_text()) + self.config.amount for path in context.input_paths("numbers", "number")]
        path = context.results_folder / f"{self.name}.json"
        files.write_bytes(path, json.dumps(numbers).encode())
        return StageResult(outputs=[Output("list", path)])


class Sum:
    """Joins both branches."""

    name = "sum"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {"left": (), "right": ("list",)}
    reruns_on_code_change = True

    def __init__(self, config: SumConfig) -> None:
        self.config = config
        self.num_runs = 0

    def execute(self, context: StageContext) -> StageResult:
        """Write the total."""
        self.num_runs += 1
        lists = [json.loads(context.input_paths(name, "list")[0].read_text()) for name in self.inputs]
        path = context.results_folder / "sum.json"
        files.write_bytes(path, json.dumps(sum(map(sum, lists))).encode())
        return StageResult(outputs=[Output("total", path)])


class Toy:
    """The pipeline of one test: keeps the stages, so that what they did can be asked."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep `event`."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing is held back."""

    def configure(
        self, *, count: int = 3, start: int = 0, left: int = 1, right: int = 10, reruns_on_code_change: bool = False
    ) -> Orchestrator:
        """Make new stages with these settings and return what runs them."""
        self.numbers = Numbers(NumbersConfig(count=count, start=start))
        self.left = Add("left", AddConfig(amount=left))
        self.right = Add("right", AddConfig(amount=right))
        self.sum = Sum(SumConfig())
        stages: list[Stage] = [self.sum, self.left, self.right, self.numbers]
        self.events = []
        return Orchestrator(
            stages,
            workspace=self.workspace,
            profile="toy",
            runtime=RuntimeOptions(),
            reporter=self,
            stop=StopFlag(),
            reruns_on_code_change=reruns_on_code_change,
        )

    def run(self, *, forced: Sequence[str] = (), until: str | None = None, **config: Any) -> dict[str, StageOutcome]:
        """Run the stages with these settings and return what was done with each, by name."""
        outcomes = self.configure(**config).run(forced=forced, until=until)
        return {outcome.decision.stage: outcome for outcome in outcomes}

    def file(self, name: str) -> Path:
        """Return the file of this name in the workspace."""
        return next(self.workspace.root.rglob(name))


@pytest.fixture
def toy(workspace: Workspace) -> Toy:
    """Give a toy pipeline in an empty workspace."""
    return Toy(workspace)


def decisions(outcomes: Mapping[str, StageOutcome]) -> dict[str, tuple[Action, Reason]]:
    """Return what was decided for each stage, by name."""
    return {name: (outcome.decision.action, outcome.decision.reason) for name, outcome in outcomes.items()}


UP_TO_DATE = (Action.SKIP, Reason.UP_TO_DATE)


ALL_SKIPPED = dict.fromkeys(["numbers", "left", "right", "sum"], UP_TO_DATE)
