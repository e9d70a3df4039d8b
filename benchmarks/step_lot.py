"""What the training loop adds to a step, told apart by lot inside one training: `make bench-step-lot`.

Whole runs beside each other (`make bench-step-tax`) differ by more than the tax where a step takes milliseconds. Here
one training decides by lot for each block of steps whether the loop takes them, as ever, or a bare loop does, on the
same model, optimizer, schedule, average and reader. The average is ours in both, and takes some 30 us less than torch's
own, which the bare loop of `step_tax` uses: the tax shows so much higher here. What the machine does to one kind of
block it does to the other, so that their difference shows. The position is committed after a bare block, outside of its
time. Display and live copy come by the clock, so that the whole blocks, half of the time, bear all of them: the tax is
told a little too high.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_PROJECT / "tests"), str(_PROJECT)]

import step_tax
import torch
from bare_loop import BATCH, CLIP_NORM
from side_by_side import machine, write_section
from torch import nn

from stages.chunks.reader import Batch
from stages.training import loop
from stages.training.session import Session

SEED = 20261121
BLOCK = 10  # steps
NUM_STEPS = {64: 24_000, 0: 20_000}  # by width; 0: as wide as makes a step take 5 ms
_NUM_WARM = 30  # blocks


class Lot:
    """Takes the place of the loop's step: at the end of each block it draws who takes the next one.

    Attributes:
        seconds: of a step in each block, by who took it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"whole": [], "bare": []}
        self._random = random.Random(SEED)  # noqa: S311
        self._num_blocks = 0
        self._num_left = 0
        self._started = 0.0
        self._whole_step = loop._step

    def __call__(self, session: Session, batch: Batch) -> None:
        """Take the step, or a whole block of bare ones from it on."""
        if not self._num_left:
            if self._started:
                self._note("whole", time.perf_counter() - self._started)
                self._started = 0.0
            while self._random.random() < 0.5:
                following = self._bare_block(session, batch)
                if following is None:
                    return
                batch = following
            self._num_left, self._started = BLOCK, time.perf_counter()
        self._num_left -= 1
        self._whole_step(session, batch)

    def _bare_block(self, session: Session, batch: Batch) -> Batch | None:
        """Take a block of steps as a bare loop does, and return the batch after it; None at the end of the data."""
        reader: Any = session.feed._reader
        taken: list[tuple[Batch, torch.Tensor]] = []
        following: Batch | None = batch
        started = time.perf_counter()
        while following is not None and len(taken) < BLOCK:
            taken.append((following, _bare_step(session, following)))
            following = next(reader, None)
        seconds = time.perf_counter() - started
        if len(taken) == BLOCK:
            self._note("bare", seconds)
        for each, loss in taken:
            loop._commit_step(session, each, step=session.tracker.global_step + 1, loss=loss)
        return following

    def _note(self, kind: str, seconds: float) -> None:
        self._num_blocks += 1
        if self._num_blocks > _NUM_WARM:
            self.seconds[kind].append(seconds / BLOCK)


def _bare_step(session: Session, batch: Batch) -> torch.Tensor:
    learner = session.learner
    features, labels = torch.from_numpy(batch.arrays["features"]), torch.from_numpy(batch.arrays["label"])
    learner.optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(learner.model(features), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(learner.parameters, CLIP_NORM)
    learner.optimizer.step()
    learner.schedule.step()
    learner.average.after_step()
    return loss


def _row(width: int, num_steps: int) -> str:
    lot = Lot()
    loop._step = lot
    try:
        with tempfile.TemporaryDirectory() as folder:
            step_tax.ours(Path(folder), width, num_steps)
    finally:
        loop._step = lot._whole_step
    whole, bare = (_without_outliers(lot.seconds[kind]) for kind in ("whole", "bare"))
    tax = statistics.fmean(whole) - statistics.fmean(bare)
    error = (statistics.variance(whole) / len(whole) + statistics.variance(bare) / len(bare)) ** 0.5
    base = statistics.fmean(bare)
    return (
        f"| 64-{width} | {len(whole)} + {len(bare)} | {1e6 * base:,.0f} | {1e6 * tax:.0f} ± {1e6 * error:.0f} "
        f"| {100 * tax / base:.1f} ± {100 * error / base:.1f} |"
    )


def _without_outliers(seconds: list[float]) -> list[float]:
    """Leave out the slowest twentieth of the blocks, of both kinds alike: those that other programs stopped."""
    return sorted(seconds)[: len(seconds) * 19 // 20]


def main() -> None:
    """Measure and write the table."""
    sys.modules.setdefault("step_tax", step_tax)
    torch.set_num_threads(1)
    rows = [_row(width or step_tax.width_of(5000.0), num_steps) for width, num_steps in NUM_STEPS.items()]
    head = (
        f"{machine()}, torch {torch.__version__}, one thread; blocks of {BLOCK} steps of {BATCH} samples, whole or "
        f"bare by lot (seed {SEED}); means without the slowest twentieth, ± one standard error. Goals: at most 50 us a "
        "step, at most 1 % at 5 ms a step.\n\n"
        "| model | blocks | us of a bare step | tax in us | tax in % |\n| --- | --- | --- | --- | --- |"
    )
    write_section("Step tax, told apart inside one training (`make bench-step-lot`)", "\n".join([head, *rows, ""]))


if __name__ == "__main__":
    main()
