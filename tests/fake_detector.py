"""A detector without training: it finds the one dark bar in an image, off by what its only weight says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.fingerprint import digest_file
from pipeline.records import Artifact, StageRecord
from stages.chunks.manifest import ChunkPlan, Manifest, save_manifest
from stages.chunks.writer import write_chunk
from stages.task import Metrics, Task, Tensors

CLASSES = ("Lying", "standing")
SIDE = 32


class _Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))


class BarTask:
    """Predicts the extent of the ink as a lying or standing bar."""

    def build_model(self) -> nn.Module:
        """Return a model whose weight moves every box to the right by so many pixels."""
        return _Shift()

    def prepare(self, arrays: Tensors, sample_ids: Tensor, *, epoch: int | None, seed: int) -> Tensors:
        """Return the arrays as they are."""
        assert epoch is None, "evaluation does not augment"
        return {**arrays, "sample_ids": sample_ids + seed}

    def losses(self, model: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Evaluation asks for no losses."""
        raise NotImplementedError

    def predict(self, model: nn.Module, batch: Tensors) -> Tensors:
        """Return one box for each image that has ink, padded to two."""
        assert not model.training, "a detector is evaluated in eval mode"
        assert isinstance(model, _Shift)
        boxes = torch.zeros(len(batch["image"]), 2, 4)
        labels = torch.full((len(batch["image"]), 2), -1)
        for index, image in enumerate(batch["image"].cpu()):
            rows, columns = (image[0] < 128).nonzero(as_tuple=True)
            if len(rows):
                width, height = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
                boxes[index, 0] = torch.tensor([columns.min() + model.shift.item(), rows.min(), width, height])
                labels[index, 0] = int(height > width)
        return {"boxes": boxes, "labels": labels, "scores": torch.where(labels >= 0, 0.9, 0.0)}

    def new_metrics(self) -> Metrics:
        """Evaluation asks for no metrics."""
        raise NotImplementedError


def build(_config: Mapping[str, Any], meta: Mapping[str, Any]) -> Task:
    """Make the task, as `fake_detector:build` in settings."""
    assert tuple(meta["classes"]) == CLASSES
    return BarTask()


def bar_image(box: tuple[int, int, int, int], *, side: int = SIDE) -> np.ndarray:
    """Return a white image [side, side] with a black bar."""
    x, y, width, height = box
    image = np.full((side, side), 255, np.uint8)
    image[y : y + height, x : x + width] = 0
    return image


def make_scenes(folder: Path, *, count: int = 10, first_sample_id: int = 1000) -> Path:
    """Write a data set of `count` test scenes with one bar each, in chunks of four, and return its manifest."""
    entries = []
    for chunk_id, start in enumerate(range(0, count, 4)):
        numbers = range(start, min(start + 4, count))
        bars = [(2 + number, 3, 12, 5) if number % 2 else (3, 2 + number, 5, 12) for number in numbers]
        arrays = {
            "image": np.stack([bar_image(bar) for bar in bars])[:, None],
            "boxes": np.array([[bar, (0, 0, 0, 0)] for bar in bars], np.float32),
            "labels": np.array([[1 - number % 2, -1] for number in numbers], np.int64),
        }
        plan = ChunkPlan(
            chunk_id=chunk_id,
            split="test",
            file=f"test_{chunk_id:05}.safetensors",
            first_sample_id=first_sample_id + start,
            count=len(numbers),
            origin="bars",
        )
        entries.append(plan.entry(write_chunk(folder, plan, arrays)))
    meta = {"image_size": SIDE, "channels": 1, "classes": list(CLASSES)}
    save_manifest(folder / "manifest.json", Manifest(meta=meta, chunks=tuple(entries)))
    return folder / "manifest.json"


def make_upstream(root: Path, *, shift: float = 0.0) -> dict[str, StageRecord]:
    """Leave scenes and weights in the workspace `root`, and return the records of the stages that made them."""
    manifest = make_scenes(root / "datasets" / "bars")
    weights = root / "results" / "test-00000000" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    save_file({"shift": torch.tensor([shift])}, weights)
    chunks = sorted(manifest.parent.glob("test_*.safetensors"))
    return {
        "data_generation": _record("data_generation", root, {"manifest": [manifest], "test": chunks}, config={}),
        "training": _record(
            "training", root, {"weights": [weights]}, config={"task": {"builder": "fake_detector:build"}}
        ),
    }


def _record(stage: str, root: Path, kinds: Mapping[str, list[Path]], *, config: dict[str, Any]) -> StageRecord:
    return StageRecord(
        stage=stage,
        stage_version=1,
        run="test-00000000",
        config_hash=f"{stage}-hash",
        config=config,
        inputs_digest="",
        inputs={},
        artifacts=tuple(
            Artifact(
                kind=kind, path=path.relative_to(root).as_posix(), size=path.stat().st_size, xxh3=digest_file(path)
            )
            for kind, paths in kinds.items()
            for path in paths
        ),
        metrics={},
        code={},
        runtime={},
        environment={},
        started_at="2000-01-01T00:00:00+0000",
        finished_at="2000-01-01T00:00:01+0000",
        duration_seconds=1.0,
    )
