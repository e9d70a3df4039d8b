"""Part 3 of the GPU check: torchvision's RetinaNet and FCOS beside ours, on the same images, batch and precision.

Their loop is that of torchvision's reference training: lists of images and targets, SGD with momentum 0.9 and weight
decay 1e-4, a linear warm-up, steps down at 16/26 and 22/26 of the epochs, and the loss read at each step, to stop if it
is not finite. The learning rate is its 0.01 for 16 images, in proportion to the batch. Images are not resized, and come
from the device's memory, augmented as ours are, so that nobody waits for a loader. They need not repeat bit for bit, so
cuDNN chooses their algorithms by speed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_check_setting import Setting, finish
from gpu_check_steps import opened, take
from side_by_side import ratios
from torch import Tensor, nn

from stages.chunks.listed import load_chunks
from stages.chunks.manifest import load_manifest
from stages.chunks.reader import Batch, ChunkReader, Position
from stages.coco import coco_figures, detections_of, truth_of
from stages.detection.boxes import corners_of, sizes_of
from stages.determinism import numerics
from stages.task import Task, build_task
from stages.training.device import DeviceBatches
from stages.training.precision import resolve_precision

PEERS = ("retinanet_resnet50_fpn", "fcos_resnet50_fpn")
Find = Callable[[Tensor], list[dict[str, Tensor]]]
_ROUNDS = 3
_WARMUP_STEPS = 1000  # of the reference training
_RATE_OF_16 = 0.01


class _Peer:
    """A torchvision detector in training."""

    def __init__(self, name: str, setting: Setting, manifest: Path, *, num_steps: int) -> None:
        from torchvision.models import detection

        config = setting.training_config()
        chunks = load_chunks(manifest, split="train")
        torch.manual_seed(config.seed)
        meta = _meta(manifest)
        self._device = setting.device
        side = int(meta["image_size"])
        self.model: nn.Module = getattr(detection, name)(
            weights=None, weights_backbone=None, num_classes=len(meta["classes"]) + 1, min_size=side, max_size=side
        ).to(device=setting.device, memory_format=torch.channels_last)
        self.model.train()
        self._task = _task(setting, meta)
        precision = resolve_precision(config.precision, setting.device)
        self._batches = DeviceBatches(self._task, setting.device, precision=precision, seed=config.seed)
        self._reader = ChunkReader(
            chunks, batch_size=config.batch_size, seed=config.seed, on_damage=_give_up,
            pool=self._batches.new_pool(config.batch_size),
        )  # fmt: skip
        self._num_objects = _num_objects(manifest)
        rate = _RATE_OF_16 * config.batch_size / 16
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _rate_factor(step, num_steps=num_steps)
        )
        self._epoch = 0

    def steps(self, num_steps: int) -> int:
        """Take steps, and return of how many images."""
        with numerics(is_deterministic=False):
            return sum(self._step() for _ in range(num_steps))

    def _step(self) -> int:
        images, targets = self._prepared(self._next())
        with self._batches.autocast():
            terms = self.model(images, targets)
            loss = torch.stack(list(terms.values())).sum()
        if not math.isfinite(float(loss.detach())):
            raise RuntimeError("the loss is not finite")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._scheduler.step()
        return len(images)

    @torch.inference_mode()
    def figures(self, manifest: Path) -> dict[str, float | None]:
        """Return the COCO figures on the held-out scenes."""
        self.model.eval()
        return _figures(self._found, manifest, self._batches, classes=tuple(_meta(manifest)["classes"]))

    def _found(self, images: Tensor) -> list[dict[str, Tensor]]:
        with self._batches.autocast():
            found: list[dict[str, Tensor]] = self.model(list(images.expand(-1, 3, -1, -1)))
        return found

    def _next(self) -> Batch:
        while (batch := next(self._reader, None)) is None:
            self._epoch += 1
            self._reader.reset(Position(self._epoch))
        return batch

    def _prepared(self, batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        prepared = self._batches.prepare(batch, epoch=batch.epoch)
        corners, labels = corners_of(prepared["boxes"]), prepared["labels"] + 1
        counts = self._num_objects[batch.sample_ids]
        targets = [
            {"boxes": corners[row, :count], "labels": labels[row, :count]} for row, count in enumerate(counts.tolist())
        ]
        return list(prepared["image"].expand(-1, 3, -1, -1)), targets


def side_by_side(setting: Setting) -> dict[str, Any]:
    """Return images a second of ours and of the peers, measured in turns, and by how much ours is faster."""
    manifest, num_steps = setting.manifest(), setting.pick(30, tiny=1)
    rates: dict[str, list[float]] = {"ours": [], **{name: [] for name in PEERS}}
    with opened(setting, setting.training_config(), manifest) as (session, _):
        peers = {name: _Peer(name, setting, manifest, num_steps=1000) for name in PEERS}
        take(session, num_steps)  # compiles, and opens chunks
        for peer in peers.values():
            peer.steps(num_steps)
        for _ in range(_ROUNDS):
            rates["ours"].append(take(session, num_steps).images_per_second)
            for name, peer in peers.items():
                rates[name].append(_rate(setting, peer, num_steps))
        is_compiled = session.learner.compiled is not None
    return {
        "images_per_second": rates,
        "times_faster": {name: ratios(rates["ours"], rates[name]).median for name in PEERS},
        "is_compiled": is_compiled,
    }


def accuracy(setting: Setting, name: str) -> dict[str, Any]:
    """Train a peer for the budget of samples, and return its figures on the held-out scenes."""
    manifest = setting.manifest()
    batch_size, num_samples = setting.training_config().batch_size, budget(setting)
    peer = _Peer(name, setting, manifest, num_steps=num_samples // batch_size)
    started, num_images = time.perf_counter(), 0
    while num_images < num_samples:
        if setting.seconds_left() < 0:
            raise RuntimeError("time ran out: give the call more --seconds")
        num_images += peer.steps(1)
    seconds = time.perf_counter() - started
    return {"samples": num_images, "training_seconds": seconds, **peer.figures(manifest)}


def our_accuracy(setting: Setting) -> dict[str, Any] | None:
    """Train ours for the same budget by the pipeline itself; None where that goes on with the next call."""
    epochs = setting.pick(10, tiny=1)
    process = setting.start("budget", training__epochs=epochs)
    if not finish(process, until=lambda: setting.seconds_left() < 0):
        return None
    path = max((setting.workspace / "budget" / "results").glob("*_training_results_*.json"))
    document = json.loads(path.read_text())
    training, figures = document["stages"]["training"], document["metrics"]["synthetic"]
    return {
        "samples": training["metrics"]["samples"],
        "training_seconds": training["duration_seconds"],
        **{key: figures[key] for key in ("ap", "ap50")},
    }


def budget(setting: Setting) -> int:
    """Return how many samples each is trained on: ten epochs, where they differ and the peers take minutes."""
    return setting.pick(100_000, tiny=32)


def _rate_factor(step: int, *, num_steps: int) -> float:
    warmup = min(_WARMUP_STEPS, num_steps // 4)
    if step < warmup:
        return 1e-3 + (1 - 1e-3) * step / warmup
    return float(0.1 ** sum(step >= num_steps * epoch / 26 for epoch in (16, 22)))


def _rate(setting: Setting, peer: _Peer, num_steps: int) -> float:
    started = time.perf_counter()
    num_images = peer.steps(num_steps)
    if setting.device.type == "cuda":
        torch.cuda.synchronize()
    return num_images / (time.perf_counter() - started)


def _figures(
    find: Find, manifest: Path, batches: DeviceBatches, *, classes: tuple[str, ...]
) -> dict[str, float | None]:
    truth, rows, ids = [], [], []
    for batch in _held_out(manifest):
        prepared = batches.prepare(batch, epoch=None)
        padded = [_padded(image) for image in find(prepared["image"])]
        rows.append([np.stack(part) for part in zip(*padded, strict=True)])
        truth.append([prepared[key].cpu().numpy() for key in ("boxes", "labels")])
        ids.append(batch.sample_ids)
    image_ids = np.concatenate(ids)
    whole_truth, whole_rows = ([np.concatenate(part) for part in zip(*parts, strict=True)] for parts in (truth, rows))
    figures = coco_figures(
        truth_of(image_ids, *whole_truth), detections_of(image_ids, *whole_rows), image_ids=image_ids, classes=classes
    )
    return {"ap": figures.ap, "ap50": figures.ap50}


def _padded(image: dict[str, Tensor], *, limit: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes, labels, scores = (image[key][:limit].float().cpu() for key in ("boxes", "labels", "scores"))
    missing = limit - len(boxes)
    pad = nn.functional.pad
    sizes = pad(sizes_of(boxes), (0, 0, 0, missing)).numpy()
    return sizes, pad(labels - 1, (0, missing), value=-1).long().numpy(), pad(scores, (0, missing)).numpy()


def _held_out(manifest: Path) -> Iterator[Batch]:
    chunks = load_chunks(manifest, split="test")
    return ChunkReader(chunks, batch_size=16, seed=0, is_shuffled=False, on_damage=_give_up)


def _num_objects(manifest: Path) -> np.ndarray:
    """Return the number of objects of each training sample, by its id, so that nobody asks the device for it."""
    reader = ChunkReader(
        load_chunks(manifest, split="train"), batch_size=1024, seed=0, is_shuffled=False, on_damage=_give_up
    )
    counts = {
        sample_id: count
        for batch in reader
        for sample_id, count in zip(batch.sample_ids.tolist(), (batch.arrays["labels"] >= 0).sum(1), strict=True)
    }
    return np.array([counts.get(sample_id, 0) for sample_id in range(max(counts) + 1)])


def _meta(manifest: Path) -> dict[str, Any]:
    return load_manifest(manifest).meta


def _task(setting: Setting, meta: dict[str, Any]) -> Task:
    return build_task(setting.training_config().task.model_dump(mode="json"), meta)


def _give_up(damage: Any) -> None:
    raise RuntimeError(f"the data are damaged: {damage}")
