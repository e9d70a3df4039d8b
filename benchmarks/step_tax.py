"""What the whole training loop adds to each step of a small model, beside its peers: `make bench-step-tax`.

Each row is a training of its own in a process of its own, on one thread, in turns; measured is the mean time of a step
after the first 300. Every loop does the same: forward, backward, clipping, AdamW (fused), OneCycle, an average of the
weights. The *tax* is what a step takes beyond that of the bare loop of the same round that takes its batches from the
same place: ours from real chunks, by our reader; the peers from a DataLoader over batches that are ready. Ours is the
training stage as the command line runs it: position, events, log files, progress lines, checks of each step, live copy,
curves. The progress tracker alone is measured as well.
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
from functools import partial
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_PROJECT / "tests"), str(_PROJECT)]

import torch
from bare_loop import BATCH, CLIP_NORM, EMA_DECAY, FEATURES, LR, Batch, Watch, build, random_data, train_bare
from fakes import make_context
from side_by_side import Spread, in_turns, machine, python_of, ratios, write_section
from tiny_task import TinyTaskConfig, data_record
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
from stages.training.config import TrainingConfig
from stages.training.progress import TrainingProgressTracker
from stages.training.stage import TrainingStage

ROUNDS = 5
CHUNK = 4096
SMALL, LARGE = FEATURES, 1100  # widths; the second takes about 5 ms a step on one core
STEPS = {SMALL: 6000, LARGE: 700}
_NUM_UPDATES = 100_000


class SmallTask:
    """The small model through the public protocol of tasks."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._width = int(config["nan_ids"][0])  # the tiny task's settings have a place for numbers
        SmallTask.watch = Watch(STEPS[self._width])

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


def ours(folder: Path, width: int) -> float:
    """Train by the training stage, in a workspace of its own, and return the microseconds of a step."""
    manifest = _write_data(folder / "datasets" / "small", STEPS[width])
    config = TrainingConfig.model_validate(
        {
            "epochs": 1,
            "batch_size": BATCH,
            "task": TinyTaskConfig(builder="step_tax:build_task", nan_ids=(width,)),
            "optimizer": {"lr": LR},
            "averaging": {"method": "ema", "ema_decay": EMA_DECAY},
            "gradient_clip_norm": CLIP_NORM,
            "precision": "fp32",
        }
    )
    stop, logs = StopFlag(), folder / "logs"
    reporter = Reporters(
        LineConsole(io.StringIO(), interval=5.0, stop=stop),
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


def bare(folder: Path, width: int) -> float:
    """Train by the bare loop on the same chunks."""
    manifest = _write_data(folder / "data", STEPS[width])
    reader = ChunkReader(load_chunks(manifest, split="train"), batch_size=BATCH, seed=0, on_damage=print)

    def batches() -> Iterator[Batch]:
        for batch in reader:
            yield torch.from_numpy(batch.arrays["features"]), torch.from_numpy(batch.arrays["label"])

    return train_bare(batches(), width=width, num_steps=STEPS[width])


def tracker(folder: Path, width: int) -> float:
    """Return the microseconds of committing a step to the progress tracker."""
    del width
    progress = TrainingProgressTracker(folder / "progress.json", seed=0)
    started = time.perf_counter()
    for step in range(_NUM_UPDATES):
        progress.update(
            global_step=step, epoch=0, chunk_id=step // 128, offset=step % 128, samples_in_batch=32, chunk_size=4096
        )
        progress.get_resume_position()
    return 1e6 * (time.perf_counter() - started) / _NUM_UPDATES


OURS: dict[str, Callable[[Path, int], float]] = {"ours": ours, "bare": bare, "tracker": tracker}


def main() -> None:
    """Measure and write the table."""
    lines = []
    for width, title in ((SMALL, "64-64-10, the smallest that means anything"), (LARGE, f"64-{LARGE}-{LARGE}-10")):
        found = in_turns(
            {name: partial(_measure, *command) for name, command in _commands(width).items()}, rounds=ROUNDS
        )
        lines += [f"### {title}, {STEPS[width]:,} steps of {BATCH}\n", *_rows(found), ""]
    commits = [_measure(sys.executable, __file__, "--child", "tracker", str(SMALL)) for _ in range(ROUNDS)]
    lines.append(f"The progress tracker alone: {Spread.of(commits).median:.1f} us a step.")
    head = f"{machine()}, torch {torch.__version__}, one thread; median of {ROUNDS} rounds in turns.\n"
    write_section("Step tax of the training loop (`make bench-step-tax`)", "\n".join([head, *lines]))


def _commands(width: int) -> dict[str, list[str]]:
    own = [sys.executable, __file__, "--child"]
    peers = Path(__file__).parent / "peers"
    by_accelerate = [str(python_of("accelerate")), str(peers / "accelerate" / "step_tax.py")]
    by_lightning = [str(python_of("lightning")), str(peers / "lightning" / "step_tax.py")]
    size = [str(width), str(STEPS[width])]
    ours_alone = {
        "bare loop on our chunks": [*own, "bare", str(width)],
        "**ours**, whole": [*own, "ours", str(width)],
    }
    if width == LARGE:  # what a loop adds does not depend on the model
        return ours_alone
    return {
        **ours_alone,
        "bare loop on a DataLoader": [*by_accelerate, "bare", *size],
        "Accelerate": [*by_accelerate, "accelerate", *size],
        "Lightning, everything off": [*by_lightning, "lean", *size],
        "Lightning as it comes, one value logged": [*by_lightning, "default", *size],
    }


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
            print(json.dumps(OURS[sys.argv[2]](Path(temporary), int(sys.argv[3]))))
    else:
        main()
