"""What the whole training loop adds to each step of a small model, beside its peers: `make bench-step-tax`.

Each row is a training of its own in a process of its own, on one thread, in turns; measured is the mean time of a step
after the first 300. The second model is as wide as makes a bare step take 5 ms here, found by measuring it; its 20 MB
of weights, gradients, moments and averages drive everything else out of a core's cache, so that all that is done around
the step takes several times as long as beside the small one, ours and the peers'. Every loop does the same: forward,
backward, clipping, AdamW (fused), OneCycle, an average of the weights. The *tax* is what a step takes beyond that of
the bare loop of the same round that takes its batches from the same place: ours from real chunks, by our reader; the
peers from a DataLoader over batches that are ready. Ours is the training stage as the command line runs it: position,
events, log files, progress lines, checks of each step, live copy, curves. The progress tracker alone is measured too.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_PROJECT / "tests"), str(_PROJECT)]

import torch
from bare_loop import (
    BATCH,
    CLIP_NORM,
    EMA_DECAY,
    FEATURES,
    LR,
    NUM_WARM,
    Batch,
    Watch,
    build,
    random_data,
    ready_batches,
    train_bare,
)
from fakes import make_context
from side_by_side import Spread, machine, python_of, ratios, write_section
from tiny_task import data_record
from torch import nn

from pipeline.config import RuntimeOptions
from pipeline.console import LineConsole
from pipeline.events import Reporters
from pipeline.fingerprint import digest_bytes
from pipeline.interrupts import StopFlag
from pipeline.reporting import EventLog, LogFile
from stages.chunks.chunk import encode_chunk
from stages.chunks.listed import load_chunks
from stages.chunks.manifest import ChunkEntry, Manifest, save_manifest
from stages.chunks.reader import ChunkReader
from stages.task import Metrics, Tensors
from stages.task_config import TaskConfig
from stages.training.config import TrainingConfig
from stages.training.progress import TrainingProgressTracker
from stages.training.stage import TrainingStage

ROUNDS = 7  # of ours and its bare loop
PEER_ROUNDS = 3
CHUNK = 4096
SMALL = FEATURES  # the width of the small model
SMALL_STEPS, LARGE_STEPS = 3000, 1000
_GOAL = "Goals for ours: at most 50 us a step; at most 1 % at 5 ms a step; the progress tracker alone under 10 us."
_LARGE_MICROSECONDS = 5000.0
_FIRST_GUESS = 1000  # the width from which that of the large model is found
_CALIBRATION_STEPS = NUM_WARM + 100
_NUM_UPDATES = 100_000


class SmallTaskConfig(TaskConfig):
    """Settings of the small model: its width, and how many steps are taken."""

    builder: str = "step_tax:build_task"
    width: int
    num_steps: int


class SmallTask:
    """The small model through the public protocol of tasks."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._width = int(config["width"])
        SmallTask.watch = Watch(int(config["num_steps"]))

    watch: Watch

    def build_model(self) -> nn.Module:
        """Return the model."""
        return build(self._width)

    def prepare(self, arrays: Tensors, sample_ids: torch.Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Take the arrays as they are."""
        del sample_ids, epoch, seed
        return arrays

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, torch.Tensor]:
        """Return the one loss."""
        SmallTask.watch.step()
        return {"class": nn.functional.cross_entropy(model(batch["features"]), batch["label"])}

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Is not asked for: there is no validation split."""
        raise NotImplementedError

    def new_metrics(self) -> Metrics:
        """Is not asked for either."""
        raise NotImplementedError


def build_task(config: Mapping[str, Any], _meta: Mapping[str, Any]) -> SmallTask:
    """Make the task, as its settings name it."""
    return SmallTask(config)


def ours(folder: Path, width: int, num_steps: int) -> float:
    """Train by the training stage, in a workspace of its own, and return the microseconds of a step."""
    manifest = _write_data(folder / "datasets" / "small", num_steps)
    config = TrainingConfig.model_validate(
        {
            "epochs": 1,
            "batch_size": BATCH,
            "task": SmallTaskConfig(width=width, num_steps=num_steps),
            "optimizer": {"lr": LR},
            "averaging": {"method": "ema", "ema_decay": EMA_DECAY},
            "gradient_clip_norm": CLIP_NORM,
            "precision": "fp32",
        }
    )
    stop, logs = StopFlag(), folder / "logs"
    reporter = Reporters(
        LineConsole(io.StringIO(), stop=stop),
        EventLog(logs / "events.jsonl", tell=print),
        LogFile(logs / "run.log", interval=5.0, tell=print),
    )
    stage = TrainingStage(config)
    context = make_context(
        stage,
        folder,
        reporter=reporter,
        stop=stop,
        runtime=RuntimeOptions(device="cpu"),
        inputs={"data_generation": data_record(folder, manifest)},
    )
    stage.execute(context)
    return SmallTask.watch.microseconds


def bare(folder: Path, width: int, num_steps: int) -> float:
    """Train by the bare loop on the same chunks."""
    manifest = _write_data(folder / "data", num_steps)
    reader = ChunkReader(load_chunks(manifest, split="train"), batch_size=BATCH, seed=0, on_damage=print)

    def batches() -> Iterator[Batch]:
        for batch in reader:
            yield torch.from_numpy(batch.arrays["features"]), torch.from_numpy(batch.arrays["label"])

    return train_bare(batches(), width=width, num_steps=num_steps)


def tracker(folder: Path) -> float:
    """Return the microseconds of committing a step to the progress tracker."""
    progress = TrainingProgressTracker(folder / "progress.json", seed=0)
    started = time.perf_counter()
    for step in range(_NUM_UPDATES):
        progress.update(
            global_step=step, epoch=0, chunk_id=step // 128, offset=step % 128, samples_in_batch=32, chunk_size=4096
        )
        progress.get_resume_position()
    return 1e6 * (time.perf_counter() - started) / _NUM_UPDATES


OURS: dict[str, Callable[[Path, int, int], float]] = {"ours": ours, "bare": bare}


def main() -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    large = width_of(_LARGE_MICROSECONDS)
    small_title, large_title = "64-64-10, the smallest that means anything", f"64-{large}-{large}-10"
    lines = []
    for title, commands, num_steps in (
        (small_title, _ours(SMALL, SMALL_STEPS) | _peers(SMALL, SMALL_STEPS), SMALL_STEPS),
        (large_title, _ours(large, LARGE_STEPS) | _peers(large, LARGE_STEPS), LARGE_STEPS),
    ):
        lines += [f"### {title}, {num_steps:,} steps of {BATCH}\n", *_rows(_measured(commands)), ""]
    with tempfile.TemporaryDirectory() as folder:
        commits = Spread.of([tracker(Path(folder)) for _ in range(ROUNDS)])
    spread = f"{commits.median:.1f} ({commits.min:.1f} to {commits.max:.1f})"
    lines.append(f"The progress tracker alone: {spread} us a step.")
    head = (
        f"{machine()}, torch {torch.__version__}, one thread; median of {ROUNDS} rounds in turns, of the peers and "
        f"their bare loop {PEER_ROUNDS}. {_GOAL}\n"
    )
    write_section("Step tax of the training loop (`make bench-step-tax`)", "\n".join([head, *lines]))


def width_of(microseconds: float) -> int:
    """Return the width of the large model whose bare step takes about so long."""
    width = _FIRST_GUESS
    for _ in range(2):  # it grows nearly with the square, so that the second time is exact
        batches = iter(ready_batches(_CALIBRATION_STEPS))
        found = train_bare(batches, width=width, num_steps=_CALIBRATION_STEPS)
        width = max(FEATURES + 1, round(width * (microseconds / found) ** 0.5))
    return width


def _ours(width: int, num_steps: int) -> dict[str, list[str]]:
    own, size = [sys.executable, __file__, "--child"], [str(width), str(num_steps)]
    return {"bare loop on our chunks": [*own, "bare", *size], "**ours**, whole": [*own, "ours", *size]}


def _peers(width: int, num_steps: int) -> dict[str, list[str]]:
    peers = Path(__file__).parent / "peers"
    by_accelerate = [str(python_of("accelerate")), str(peers / "accelerate" / "step_tax.py")]
    by_lightning = [str(python_of("lightning")), str(peers / "lightning" / "step_tax.py")]
    size = [str(width), str(num_steps)]
    return {
        "bare loop on a DataLoader": [*by_accelerate, "bare", *size],
        f"Accelerate {_version('accelerate')}": [*by_accelerate, "accelerate", *size],
        f"Lightning {_version('lightning')}, everything off": [*by_lightning, "lean", *size],
        "Lightning as it comes, one value logged": [*by_lightning, "default", *size],
    }


def _version(peer: str) -> str:
    first, *_ = (Path(__file__).parent / "peers" / f"{peer}.txt").read_text().splitlines()
    return first.partition("==")[2]


def _measured(commands: Mapping[str, list[str]]) -> dict[str, list[float]]:
    """Run all in turns, the peers in the first rounds only, and return what each measured."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        for name, command in commands.items():
            if number < PEER_ROUNDS or "--child" in command:
                found[name].append(_measure(*command))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    return found


def _rows(found: Mapping[str, list[float]]) -> list[str]:
    lines = [
        "| loop | us a step: median | min | max | tax in us: median | min | max | tax in % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    base: list[float] = []
    for name, values in found.items():
        row = f"| {name} | {Spread.of(values).row()} |"
        if name.startswith("bare"):
            base = values
            lines.append(f"{row} | | | |")
            continue
        tax = Spread.of([value - other for value, other in zip(values, base, strict=True)])
        lines.append(f"{row} {tax.row()} | {100 * (ratios(values, base).median - 1):.1f} |")
    return lines


def _measure(*command: str) -> float:
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def _write_data(folder: Path, num_steps: int) -> Path:
    """Write the samples as chunks and return the path of their manifest."""
    folder.mkdir(parents=True)
    features, labels = random_data(num_steps)
    entries = []
    for chunk_id, first in enumerate(range(0, len(labels), CHUNK)):
        arrays = {"features": features[first : first + CHUNK].numpy(), "label": labels[first : first + CHUNK].numpy()}
        data = encode_chunk(arrays, first_sample_id=first, origin=str(chunk_id))
        name = f"train_{chunk_id:05d}.safetensors"
        (folder / name).write_bytes(data)
        entries.append(
            ChunkEntry(
                chunk_id=chunk_id,
                split="train",
                file=name,
                first_sample_id=first,
                count=len(arrays["label"]),
                size=len(data),
                xxh3=digest_bytes(data),
            )
        )
    save_manifest(folder / "manifest.json", Manifest(meta={}, chunks=tuple(entries)))
    return folder / "manifest.json"


if __name__ == "__main__":
    sys.modules["step_tax"] = sys.modules["__main__"]  # as which the settings name the task
    if sys.argv[1:2] == ["--child"]:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as temporary:
            print(json.dumps(OURS[sys.argv[2]](Path(temporary), *map(int, sys.argv[3:]))))
    else:
        main()
