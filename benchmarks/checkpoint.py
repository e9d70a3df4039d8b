"""What a checkpoint costs training, beside its peers: `make bench-checkpoint`.

The state is a model of 38 million parameters with AdamW's moments, 456 MB. Columns: for how long the training thread is
*blocked*; how much time training *lost* in all, which is that and by how much the steps taken until the checkpoint is
durable are longer than those right after; and how long it takes until it is *durable*. One core trains, each method in
turn; the first round is not counted. Ours goes the whole way of the training loop: state, snapshot, finite check,
digests, temporary folder, fsync of each file and folder, rename, rotation. The peers (`peers/lightning/checkpoint.py`)
are given the same state. Lightning's writer has no fsync: one is added, in the thread that trains, as its users would
have to, and is in its "blocked" and "lost" as well as in "durable".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_PROJECT / "tests"), str(_PROJECT)]

import torch
from big_model import build as build_model
from big_model import measure, serve, take_a_step, training_step
from side_by_side import ENVIRONMENTS, Spread, machine, python_of, write_section
from tiny_task import TinyTask, TinyTaskConfig, tiny_config, tiny_stage
from torch import nn

from pipeline.fingerprint import digest_bytes
from stages.training.data import load_data
from stages.training.saving import Saver
from stages.training.session import open_session

ROUNDS = 6
OURS = "ours"
_GOAL = (
    "Goals for ours: blocked at most 1.1x the plain copy, lost in all at most 0.25 s (where a copy takes 0.15 s), "
    "durable at most 1.2x the plain write.\n"
)
COPY, WRITE = "one plain copy into reused buffers", "one plain buffered write + fsync"
_COLUMNS = ("blocked", "lost in all", "durable")


class BigTask(TinyTask):
    """The tiny task, with the model that is to be saved."""

    def build_model(self) -> nn.Module:
        """Return the big model."""
        return build_model()


def build(config: Mapping[str, Any], _meta: Mapping[str, Any]) -> BigTask:
    """Make the task, as its settings name it."""
    return BigTask(config)


class Worker:
    """A process that holds the state and saves it when it is asked to."""

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.methods: list[str] = self._answer()

    def measure(self, method: str) -> tuple[float, float, float]:
        """Return blocked, lost and durable seconds of one save."""
        assert self._process.stdin is not None
        print(method, file=self._process.stdin, flush=True)
        blocked, lost, durable = self._answer()
        return blocked, lost, durable

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended")
        return json.loads(line)


def main() -> None:
    """Measure and write the table."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:
        peers, ours = Path(folder, "peers"), Path(folder, "ours")
        peers.mkdir()
        script = str(Path(__file__).parent / "peers" / "lightning" / "checkpoint.py")
        workers = [
            Worker([sys.executable, __file__, "--ours", str(ours)]),
            Worker([str(python_of("lightning")), script, str(peers)]),
        ]
        methods = {method: worker for worker in workers for method in worker.methods}
        found: dict[str, list[tuple[float, float, float]]] = {method: [] for method in methods}
        for number in range(ROUNDS):
            for method, worker in methods.items():
                found[method].append(worker.measure(method))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for worker in workers:
            worker.end()
    write_section("Checkpoint of 456 MB (`make bench-checkpoint`)", _table({name: found[name][1:] for name in found}))


def _table(found: Mapping[str, list[tuple[float, float, float]]]) -> str:
    copies, writes = [row[0] for row in found[COPY]], [row[2] for row in found[WRITE]]
    lines = [
        f"{machine()}, torch {torch.__version__}; one core trains; median of {ROUNDS - 1} rounds in turns (min to max) "
        "in seconds. x copy, x write: median ratio to the plain copy and to the plain write of the same round. "
        "Lightning's writer has no fsync of its own; the added one is in all its columns.",
        _GOAL,
        f"| method | {' | '.join(_COLUMNS)} | blocked x copy | lost x copy | durable x write |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in found.items():
        cells = [_cell(Spread.of([row[index] for row in rows])) for index in range(3)]
        bases = ((0, copies), (1, copies), (2, writes))
        for index, base in bases:
            ratio = Spread.of([row[index] / other for row, other in zip(rows, base, strict=True)])
            cells.append(f"{ratio.median:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.min:.3f} to {spread.max:.3f})"


def _serve_ours(root: Path) -> None:
    torch.set_num_threads(1)
    config = tiny_config(
        task=TinyTaskConfig(builder="checkpoint:build"), averaging={"method": "none"}, batch_size=2, precision="fp32"
    )
    _, context = tiny_stage(root, config, keep_checkpoints=2)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, config, data=load_data(manifest)) as session:
        take_a_step(session.learner.model, session.learner.optimizer)
        step = training_step()
        with Saver(session) as saver:

            def save() -> None:
                tracker = session.tracker
                tracker.update(
                    global_step=tracker.global_step + 1,
                    epoch=0,
                    chunk_id=0,
                    offset=1,
                    samples_in_batch=1,
                    chunk_size=7,
                )
                saver.save(is_final=False)

            def measured() -> tuple[float, float, float]:
                blocked, lost = measure(step, save=save, is_over=lambda: not saver.is_writing)
                saver.finish()
                return blocked, lost, saver.write_seconds

            serve({OURS: measured})
        assert len(session.store.checkpoints()) == 2
        assert all(digest_bytes(data) for data in session.store.checkpoints()[-1].read().values())


if __name__ == "__main__":
    sys.modules["checkpoint"] = sys.modules["__main__"]  # as which the settings name the task
    if sys.argv[1:2] == ["--ours"]:
        _serve_ours(Path(sys.argv[2]))
    else:
        main()
