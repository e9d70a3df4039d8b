"""A task that trains in milliseconds, its data, and a training stage on them; with dropout, so that the RNG matters."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fakes import make_context
from torch import nn

from pipeline.config import RuntimeOptions
from pipeline.events import Reporter
from pipeline.fingerprint import digest_bytes
from pipeline.interrupts import StopFlag
from pipeline.records import Artifact, StageRecord
from pipeline.stage import StageContext
from stages.chunks.chunk import encode_chunk
from stages.chunks.manifest import ChunkEntry, Manifest, save_manifest
from stages.task import Tensors
from stages.task_config import TaskConfig
from stages.training.config import TrainingConfig
from stages.training.stage import TrainingStage

TRAIN_COUNTS = (7, 5, 6)  # with batches of 4: five steps an epoch, four of which straddle chunks or end short
FIRST_VALIDATION_ID = 100_000


class TinyTaskConfig(TaskConfig):
    """Settings of the tiny task; a sample in `nan_ids` makes the loss NaN, one in `huge_ids` makes it overflow."""

    builder: str = "tiny_task:build"
    nan_ids: tuple[int, ...] = ()
    huge_ids: tuple[int, ...] = ()


class TinyTask:
    """Tells whether the left half of a picture is brighter than the right.

    Attributes:
        on_predict: called before each prediction, for tests that interrupt a validation.
        on_losses: called before the losses of each step with its sample ids.
    """

    on_predict: Callable[[], None] = staticmethod(lambda: None)
    on_losses: Callable[[list[int]], None] = staticmethod(lambda _: None)

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._nan_ids = torch.tensor(config["nan_ids"], dtype=torch.int64)
        self._huge_ids = torch.tensor(config["huge_ids"], dtype=torch.int64)

    def build_model(self) -> nn.Module:
        """Return a model with all that makes resuming hard: batch norm, dropout, channels_last weights."""
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(48, 2),
        )

    def prepare(self, arrays: Tensors, sample_ids: torch.Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Brighten each picture by a function of (seed, epoch, sample id)."""
        images = arrays["image"].float() / 255
        if epoch is not None:
            images = images + ((sample_ids * 7 + epoch * 3 + seed) % 11).view(-1, 1, 1, 1) / 100
        return {"image": images, "label": arrays["label"], "sample_id": sample_ids}

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, torch.Tensor]:
        """Draw from all global generators, as a task may; a weight of 1e-3 keeps that from mattering for quality."""
        TinyTask.on_losses(batch["sample_id"].tolist())
        noise = float(np.random.rand()) + random.random()  # noqa: NPY002, S311
        logits = model(batch["image"]).float()
        scale = torch.where(torch.isin(batch["sample_id"], self._huge_ids), 3e38, 1.0).max()
        nan = torch.where(torch.isin(batch["sample_id"], self._nan_ids), torch.nan, 0.0).sum()
        terms = {"class": nn.functional.cross_entropy(logits, batch["label"]) * scale + nan}
        return {**terms, "size": logits.square().mean() * 1e-3 * noise}

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return the probabilities of the classes, and draw a number, as careless code would."""
        TinyTask.on_predict()
        torch.rand(1)
        return {"probabilities": model(batch["image"]).float().softmax(-1)}

    def new_metrics(self) -> TinyMetrics:
        """Return empty metrics."""
        return TinyMetrics()


class TinyMetrics:
    """Mean probability of the right class; keeps what it is given until the end, as metrics do."""

    def __init__(self) -> None:
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(self, predictions: Tensors, batch: Tensors) -> None:
        """Take in a batch."""
        self._batches.append((predictions["probabilities"], batch["label"]))

    def compute(self) -> dict[str, float]:
        """Return the figure, and one that is not defined."""
        right = [probabilities.gather(1, labels[:, None]) for probabilities, labels in self._batches]
        return {"score": float(torch.cat(right).mean()), "undefined": float("nan")}


def build(config: Mapping[str, Any], meta: Mapping[str, Any]) -> TinyTask:
    """Make the task, as its settings name it."""
    assert meta["classes"] == ["left", "right"]
    return TinyTask(config)


def tiny_config(**changes: Any) -> TrainingConfig:
    """Return settings for three epochs of five steps, with the figures of the tiny task."""
    settings: dict[str, Any] = {
        "seed": 3,
        "epochs": 3,
        "batch_size": 4,
        "task": TinyTaskConfig(),
        "precision": "fp32",
        "validation": {"metric": "score", "goal": "max"},
    }
    return TrainingConfig.model_validate({**settings, **changes})


def write_data(folder: Path, *, train_counts: Sequence[int] = TRAIN_COUNTS) -> Path:
    """Write a training and a validation split and return the path of their manifest."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for split, counts, first_of_split in (("train", train_counts, 0), ("validation", (9, 8), FIRST_VALIDATION_ID)):
        for chunk_id, count in enumerate(counts):
            first = first_of_split + sum(counts[:chunk_id])
            images = generator.integers(0, 256, (count, 2, 6, 6), dtype=np.uint8)
            labels = (images[..., :3].mean((1, 2, 3)) < images[..., 3:].mean((1, 2, 3))).astype(np.int64)
            data = encode_chunk({"image": images, "label": labels}, first_sample_id=first, origin=f"{split}{chunk_id}")
            name = f"{split}_{chunk_id:05d}.safetensors"
            (folder / name).write_bytes(data)
            size, digest = len(data), digest_bytes(data)
            entries.append(
                ChunkEntry(
                    chunk_id=chunk_id,
                    split=split,
                    file=name,
                    first_sample_id=first,
                    count=count,
                    size=size,
                    xxh3=digest,
                )
            )
    save_manifest(folder / "manifest.json", Manifest(meta={"classes": ["left", "right"]}, chunks=tuple(entries)))
    return folder / "manifest.json"


def tiny_stage(
    root: Path,
    config: TrainingConfig | None = None,
    *,
    reporter: Reporter | None = None,
    stop: StopFlag | None = None,
    **runtime: Any,
) -> tuple[TrainingStage, StageContext]:
    """Return the stage and its context in the workspace `root`; the data are written where they are missing."""
    manifest = root / "datasets" / "tiny" / "manifest.json"
    if not manifest.exists():
        write_data(manifest.parent)
    stage = TrainingStage(config or tiny_config())
    # No budget: how often it saves depends on how fast the machine is.
    options = RuntimeOptions(**{"device": "cpu", "trackers": (), "checkpoint_budget": 0, **runtime})
    context = make_context(
        stage,
        root,
        reporter=reporter,
        stop=stop,
        runtime=options,
        inputs={"data_generation": data_record(root, manifest)},
    )
    return stage, context


def data_record(root: Path, manifest: Path) -> StageRecord:
    """Return the record of the data: the digest stands for the chunks."""
    path = manifest.relative_to(root).as_posix()
    artifacts = tuple(
        Artifact(kind=kind, path=path, size=1, xxh3="0" * 32) for kind in ("train", "validation", "manifest")
    )
    return StageRecord(
        stage="data_generation",
        stage_version=1,
        run="test",
        config_hash="0" * 32,
        config={},
        inputs_digest="",
        inputs={},
        artifacts=artifacts,
        metrics={},
        code={},
        runtime={},
        environment={},
        started_at="2000-01-01T00:00:00+0000",
        finished_at="2000-01-01T00:00:01+0000",
        duration_seconds=1.0,
    )
