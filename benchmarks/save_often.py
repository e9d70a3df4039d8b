"""What a kill costs with the default budget for checkpoints, and what the checkpoints cost: `make bench-save-often`.

The standard profile is trained on its own data (for more epochs than it has, so that it does not end), killed with
SIGKILL at a random moment, continued, killed again. *Lost work* is the training time between the state of the newest
checkpoint on disk and the kill; beside it what a kill at the worst moments of the same run would have cost, just before
a save became durable. *Cost* is the time for which saves blocked training, and by how much the steps taken until each
was durable were longer than the median of the others, as a part of all steps. Beside them trains, in the middle, one
process that makes no checkpoint at all (`runtime.checkpoint_budget = 0`, and none between mini-epochs either): by how
much the mean step of the others, all that saves cost included, is longer than its. That shows also what the machine
does by itself from minute to minute, which on shared cores is more than 1 %. Validations belong to neither.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_PROJECT))

from side_by_side import ENVIRONMENTS, Spread, machine, write_section

KILLS = 3
SECONDS = (35.0, 60.0)  # of training before a kill
SECONDS_WITHOUT = 45.0  # of training without checkpoints
_NUM_WARM = 10  # steps of a life that take longer because it has just begun
_GOAL = "Goals: at most 15 s of work lost by a kill, at a cost of at most 1 % of training."
SEED = 20261121
_WORDS = ("run", "--profile", "standard", "--epochs", "30")
_CHECKPOINT = re.compile(r"^checkpoint-step(\d+)-[^/]*-\d{8}_\d{6}$")


@dataclass
class Life:
    """What one process told until it was killed.

    Attributes:
        has_saves: whether it made any checkpoint.
        steps: when each step ended, its seconds, and whether a save was in flight.
        saves: step, when it began, and how long it blocked training, of each save.
        durable: step and moment, of each save that became durable.
        lost: seconds of work that the kill has cost.
    """

    has_saves: bool = True
    steps: dict[int, tuple[float, float, bool]] = field(default_factory=dict)
    saves: list[tuple[int, float, float]] = field(default_factory=list)
    durable: list[tuple[int, float]] = field(default_factory=list)
    lost: float = 0.0

    def take(self, line: dict[str, Any]) -> None:
        """Take in what was told."""
        match line["what"]:
            case "step":
                self.steps[line["step"]] = (line["now"], line["seconds"], line["is_writing"])
            case "save":
                self.saves.append((line["step"], line["now"], line["blocked"]))
            case "durable":
                self.durable.append((line["step"], line["now"]))

    @property
    def plain_seconds(self) -> float:
        """The usual time of a step."""
        return statistics.median(seconds for _, seconds, is_writing in self.steps.values() if not is_writing)

    @property
    def trained_seconds(self) -> float:
        """The time of all steps."""
        return sum(seconds for _, seconds, _ in self.steps.values())

    @property
    def blocked_seconds(self) -> list[float]:
        """For how long each save stopped training."""
        return [blocked for *_, blocked in self.saves]

    @property
    def mean_seconds(self) -> float:
        """What a step after the first ones took on average, with all that saves cost."""
        seconds = [seconds for _, seconds, _ in list(self.steps.values())[_NUM_WARM:]]
        return (sum(seconds) + sum(self.blocked_seconds)) / len(seconds)

    @property
    def cost(self) -> float:
        """The seconds that saves have cost."""
        slowed = [seconds for _, seconds, is_writing in self.steps.values() if is_writing]
        return sum(self.blocked_seconds) + sum(slowed) - len(slowed) * self.plain_seconds

    @property
    def at_any_moment(self) -> list[float]:
        """What a kill just before each save became durable, the worst moment there is, would have cost in seconds."""
        began = {step: now for step, now, _ in self.saves}
        return [later - began[step] for (step, _), (_, later) in pairwise(self.durable)]


def main() -> None:
    """Measure and write the table."""
    dice = random.Random(SEED)  # noqa: S311 - a seed, not a secret
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as name:
        subprocess.run([*_command(name), "--until", "data"], check=True, stdout=subprocess.DEVNULL, env=_environment())
        lives = [_life(name, dice.uniform(*SECONDS)) for _ in range(KILLS // 2)]
        without = _life(name, SECONDS_WITHOUT, has_saves=False)
        lives += [without, *(_life(name, dice.uniform(*SECONDS)) for _ in range(KILLS - KILLS // 2))]
    lines = [
        f"{machine()}, one thread; seed {SEED}. Default settings: `runtime.checkpoint_budget = 0.01`. {_GOAL}\n",
        "| life | training s | ms a step: median | mean, saves included | x without saves | saves "
        "| blocked ms: median | min | max | cost s | cost % | s lost by its kill "
        "| s lost by one at the worst moments: median | max |",
        "| --- " * 14 + "|",
        *(_row(number, life, without) for number, life in enumerate(lives, 1)),
    ]
    write_section("Saving often on the standard profile (`make bench-save-often`)", "\n".join(lines))


def _row(number: int, life: Life, without: Life) -> str:
    """Return the row of a life beside the one without saves."""
    ratio = life.mean_seconds / without.mean_seconds
    steps = f"{life.trained_seconds:.0f} | {1e3 * life.plain_seconds:.1f} | {1e3 * life.mean_seconds:.1f} | {ratio:.3f}"
    if not life.has_saves:
        return f"| {number}, no saves | {steps} | 0 |{' |' * 8}"
    blocked = Spread.of(life.blocked_seconds or [0.0]).row(scale=1e3)
    worst = Spread.of(life.at_any_moment or [life.lost])
    return (
        f"| {number} | {steps} | {len(life.saves)} | {blocked} | {life.cost:.2f} "
        f"| {100 * life.cost / life.trained_seconds:.2f} | {life.lost:.1f} | {worst.median:.1f} | {worst.max:.1f} |"
    )


def _life(workspace: str, seconds: float, *, has_saves: bool = True) -> Life:
    """Let a process train for so long, kill it, and return what it told."""
    command = [sys.executable, __file__, "--child" if has_saves else "--child-without-saves", workspace]
    life, ends_at = Life(has_saves=has_saves), float("inf")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            life.take(line)
            if ends_at == float("inf"):
                ends_at = line["now"] + seconds
            if line["now"] >= ends_at:
                process.kill()
                break
    names = (_CHECKPOINT.match(path.name) for path in Path(workspace).glob("checkpoints/training/*/*"))
    newest = max((int(name[1]) for name in names if name), default=0)
    # Where no save of this life became durable, the newest is from before it, and all of this life is lost.
    first_end, first_seconds, _ = next(iter(life.steps.values()))
    kept_until = life.steps[newest][0] if newest in life.steps else first_end - first_seconds
    life.lost = max(now for now, *_ in life.steps.values()) - kept_until
    print(f"killed after {seconds:.0f} s: {life.lost:.1f} s of work lost", file=sys.stderr)
    return life


def _command(workspace: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *_WORDS, "--workspace", workspace]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _train(workspace: str, *, has_saves: bool) -> None:
    """Train as the command line does, or without any checkpoint, and tell each step and save on stdout."""
    from pipeline.cli import main as run
    from stages.training import loop
    from stages.training.saving import Saver

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def tell(what: str, step: int, **facts: float) -> None:
        out.write(f"{json.dumps({'what': what, 'step': step, 'now': time.monotonic(), **facts})}\n")

    class TellingSaver(Saver):
        """Tells what it does."""

        _in_flight = 0
        _before = time.monotonic()

        def after_step(self) -> None:
            """Tell of a step, and of a save that has become durable."""
            now, step = time.monotonic(), self._session.tracker.global_step
            tell("step", step, seconds=now - self._before, is_writing=bool(self._in_flight))
            super().after_step()
            if self._in_flight and not self.is_writing:
                tell("durable", self._in_flight)
                self._in_flight = 0
            self._before = time.monotonic()

        def save(self, *, is_final: bool) -> None:
            """Tell of a save, or make none."""
            if not has_saves:
                # What was done since the last step, a validation for the most part, is no part of the next one.
                self._now, self._before = self._clock(), time.monotonic()
                return
            started = time.monotonic()
            super().save(is_final=is_final)
            self._in_flight = self._session.tracker.global_step
            self._before = time.monotonic()
            tell("save", self._in_flight, blocked=self._before - started)

    setattr(loop, "Saver", TellingSaver)  # noqa: B010 - to mypy a class is no variable
    budget = [] if has_saves else ["--set", "runtime.checkpoint_budget=0"]
    run([*_WORDS, *budget, "--workspace", workspace, "--until", "training"])


if __name__ == "__main__":
    if sys.argv[1:2] in (["--child"], ["--child-without-saves"]):
        _train(sys.argv[2], has_saves=sys.argv[1] == "--child")
    else:
        main()
