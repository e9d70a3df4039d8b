"""Part 3 of the GPU check: torchvision's RetinaNet and FCOS beside ours, on the same images, batch and precision.

Their loop is that of torchvision's reference training: lists of images and targets, SGD with momentum 0.9 and weight
decay 1e-4, a linear warm-up, steps down at 16/26 and 22/26 of the epochs, and the loss read at each step, to stop if it
is not finite. The learning rate is its 0.01 for 16 images, in proportion to the batch. Images have their size already,
so training does not resize them (evaluation does, to the same pixels). They come from the device's memory, augmented as
ours are, so that nobody waits for a loader. They need not repeat bit for bit, so cuDNN chooses their algorithms by
speed. As with ours only the network computes in bf16; anchors, boxes and losses are float32, and so is evaluation.
"""

from __future__ import annotations

import io
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
from gpu_check_whole import training_seconds
from side_by_side import ratios
from torch import Tensor, nn

from pipeline import files
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
_STEPS_AT_ONCE = 10  # between looks at the clock
_STEPS_PER_SAVE = 100
_EVALUATION_SECONDS = 60


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
            weights=None, weights_backbone=None, num_classes=len(meta["classes"]) + 1, min_size=side, max_size=side,
            _skip_resize=True,
        ).to(device=setting.device, memory_format=torch.channels_last)  # fmt: skip
        _keep_boxes_exact(self.model)
        self.model.train()
        self._task = _task(setting, meta)
        precision = resolve_precision(config.precision, setting.device)
        self._batches = DeviceBatches(self._task, setting.device, precision=precision, seed=config.seed)
        self._reader = ChunkReader(
            chunks, batch_size=config.batch_size, seed=config.seed, on_damage=_give_up,
            pool=self._batches.new_pool(config.batch_size),
        )  # fmt: skip
        self._num_objects = _num_objects(manifest)
        self._rate = _RATE_OF_16 * config.batch_size / 16
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=self._rate, momentum=0.9, weight_decay=1e-4)
        self._num_steps = num_steps
        self._position = Position(epoch=0)
        self.step = 0  # how many are done
        self.num_images = 0
        self.seconds = 0.0  # of training, where the caller keeps time

    def warm_up(self) -> None:
        """Gather an epoch without training on it, so that the device has all chunks that it can keep."""
        for _ in self._reader:
            pass
        self._reader.reset(self._position)

    def save(self, path: Path) -> None:
        """Keep all that another process needs to go on."""
        place = [self._position.epoch, self._position.chunk_id, self._position.offset]
        counts = {"step": self.step, "num_images": self.num_images, "seconds": self.seconds, "place": place}
        buffer = io.BytesIO()
        state = {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict(), **counts}
        torch.save(state, buffer)
        files.write_bytes(path, buffer.getbuffer())

    def load(self, path: Path) -> None:
        """Go on from where `save` was called."""
        state = torch.load(path, map_location=self._device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.num_images, self.seconds = state["step"], state["num_images"], state["seconds"]
        self._position = Position(*state["place"])
        self._reader.reset(self._position)

    def steps(self, num_steps: int) -> int:
        """Take steps, and return of how many images."""
        with numerics(is_deterministic=False):
            return sum(self._take_one() for _ in range(num_steps))

    def _take_one(self) -> int:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * _rate_factor(self.step, num_steps=self._num_steps)
        images, targets = self._prepared(self._next())
        with self._batches.autocast():
            terms = self.model(images, targets)
            loss = torch.stack(list(terms.values())).sum()
        if not math.isfinite(float(loss.detach())):
            raise RuntimeError("the loss is not finite")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self.step += 1
        self.num_images += len(images)
        return len(images)

    @torch.inference_mode()
    def figures(self, manifest: Path) -> dict[str, float | None]:
        """Return the COCO figures on the held-out scenes."""
        self.model.eval()
        return _figures(self._found, manifest, self._batches, classes=tuple(_meta(manifest)["classes"]))

    def _found(self, images: Tensor) -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = self.model(list(images.expand(-1, 3, -1, -1)))
        return found

    def _next(self) -> Batch:
        while (batch := next(self._reader, None)) is None:
            self._position = Position(self._position.epoch + 1)
            self._reader.reset(self._position)
        self._position = batch.position
        return batch

    def _prepared(self, batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        prepared = self._batches.prepare(batch, epoch=batch.epoch)
        corners, labels = corners_of(prepared["boxes"]), prepared["labels"] + 1
        counts = self._num_objects[batch.sample_ids]
        targets = [
            {"boxes": corners[row, :count], "labels": labels[row, :count]} for row, count in enumerate(counts.tolist())
        ]
        return list(prepared["image"].expand(-1, 3, -1, -1)), targets


def _keep_boxes_exact(model: nn.Module) -> None:
    """Let a torchvision detector compute anchors, boxes and losses in float32 under autocast, as ours does.

    It takes the type of anchors from that of the features, and the type of boxes from that of the head's output: with
    8 bits, a place between 256 and 416 is a multiple of 2 pixels.
    """
    anchor_generator, head = model.get_submodule("anchor_generator"), model.get_submodule("head")

    def as_float32(_: nn.Module, inputs: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
        # Only their shapes, type and device are asked for, so nothing is copied.
        images, features = inputs
        return images, [part.new_empty((), dtype=torch.float32).expand(part.shape) for part in features]

    def to_float32(_: nn.Module, __: Any, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: part.float() for name, part in outputs.items()}

    anchor_generator.register_forward_pre_hook(as_float32)
    head.register_forward_hook(to_float32)


def side_by_side(setting: Setting) -> dict[str, Any]:
    """Return images a second of ours and of the peers, measured in turns, and by how much ours is faster."""
    manifest, num_steps = setting.manifest(), setting.pick(30, tiny=1)
    rates: dict[str, list[float]] = {"ours": [], **{name: [] for name in PEERS}}
    with opened(setting, setting.training_config(), manifest) as (session, _):
        peers = {name: _Peer(name, setting, manifest, num_steps=1000) for name in PEERS}
        # An epoch of ours, and one of theirs that is only gathered: from here on nobody opens or sends a new chunk.
        num_samples = sum(entry.count for entry in load_manifest(manifest).split("train"))
        take(session, setting.pick(-(-num_samples // session.config.batch_size), tiny=1))
        for peer in peers.values():
            peer.warm_up()
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


def accuracy(setting: Setting, name: str) -> dict[str, Any] | None:
    """Train a peer for the budget of samples, and return its figures on the held-out scenes; None as `our_accuracy`."""
    manifest = setting.manifest()
    batch_size, num_samples = setting.training_config().batch_size, budget(setting)
    peer = _Peer(name, setting, manifest, num_steps=num_samples // batch_size)
    path = setting.workspace / f"{name}.pt"
    if path.exists():
        peer.load(path)
    while peer.num_images < num_samples:
        if setting.seconds_left() < 0:
            peer.save(path)
            return None
        started = time.perf_counter()
        peer.steps(min(_STEPS_AT_ONCE, -(-(num_samples - peer.num_images) // batch_size)))
        peer.seconds += time.perf_counter() - started
        if peer.step % _STEPS_PER_SAVE == 0:
            peer.save(path)
    if setting.seconds_left() < setting.pick(_EVALUATION_SECONDS, tiny=0):
        peer.save(path)
        return None
    figures = {"samples": peer.num_images, "training_seconds": peer.seconds, **peer.figures(manifest)}
    files.remove(path)
    return figures


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
        "training_seconds": training_seconds(setting.workspace / "budget"),
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
