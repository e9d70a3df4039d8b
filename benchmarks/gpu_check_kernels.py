"""Part 1 of the GPU check: every operation of training on the device against float64 on the CPU, on random inputs.

Floating point is compared by norm: ||out - reference|| / ||reference||. Inputs are drawn anew in each call.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gpu_check_reference as reference
import numpy as np
import torch
from gpu_check_setting import Setting
from torch import Tensor, nn

from stages.chunks.buffers import BufferPool, Part
from stages.detection.augment import draws, reoriented
from stages.detection.boxes import corners_of
from stages.detection.config import DetectionConfig
from stages.detection.decode import detections
from stages.detection.grid import grid_of
from stages.detection.loss import detection_losses
from stages.detection.model import Detector, Output
from stages.detection.targets import assigned
from stages.training.compiling import compiled
from stages.training.device_pool import DevicePool

_NUM_CLASSES = 10
_LEVELS = 3
# A network of many layers adds up the rounding of its number format. How much is measured on the CPU in the same call,
# with the same weights and images; the device may be this many times as far from float64. In fp32 more, because cuDNN's
# algorithms (Winograd's) round otherwise; that is still far from what TF32 would give.
_TIMES_CPU_ERROR = {"fp32": 10.0, "bf16": 2.0}
_LEAST_LIMIT = 1e-5


def kernels(setting: Setting, *, seed: int | None = None) -> dict[str, Any]:
    """Return for each check what was measured, what it may be, and whether it is; without a `seed`, of any."""
    seed = time.time_ns() % 2**32 if seed is None else seed
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    checks: list[dict[str, Any]] = []
    with _exact_float32():
        for check in (_gather, _augment, _assignment, _losses, _decode, _optimizer, _network):
            checks += [
                {"name": name, "value": value, "limit": limit, "is_met": bool(value <= limit)}  # NaN never is
                for name, value, limit in check(setting, random)
            ]
    return {"seed": seed, "checks": checks, "is_met": all(check["is_met"] for check in checks)}


Checks = Iterator[tuple[str, float, float]]


def _gather(setting: Setting, random: np.random.Generator) -> Checks:
    chunks = [
        {"image": random.integers(0, 256, (20, 1, 32, 32), np.uint8), "boxes": random.random((20, 6, 4), np.float32)}
        for _ in range(3)
    ]
    size = sum(array.nbytes for array in chunks[0].values())
    for name, max_bytes in {"kept": 10 * size, "in part": 2 * size, "sent": 0}.items():
        pool, plain, num_wrong = DevicePool(setting.device, max_bytes=max_bytes), BufferPool(24), 0
        for _ in range(20):
            rows = [np.sort(random.permutation(20)[:8]) for _ in chunks]
            parts = [Part(number, chunk, row) for number, (chunk, row) in enumerate(zip(chunks, rows, strict=True))]
            found, expected = pool.gather(parts), plain.gather(parts)
            num_wrong += sum(int((found[key].cpu().numpy() != expected[key]).sum()) for key in expected)
        yield f"gather, chunks {name}: values that differ", num_wrong, 0


def _augment(setting: Setting, random: np.random.Generator) -> Checks:
    image = random.integers(0, 256, (64, 1, 48, 48), np.uint8)
    sizes = random.integers(0, 24, (64, 6, 4)).astype(np.float32)
    ids = torch.from_numpy(random.integers(0, 2**40, 64))
    bits = draws(ids.to(setting.device), seed=7, epoch=3)
    yield "augment: random bits that differ", float((bits.cpu() != draws(ids, seed=7, epoch=3)).sum()), 0
    found = reoriented(torch.from_numpy(image).to(setting.device), torch.from_numpy(sizes).to(setting.device), bits)
    num_wrong = 0
    for row, number in enumerate(bits.tolist()):
        expected = reference.reoriented(image[row], sizes[row], number)
        num_wrong += sum(int((f[row].cpu().numpy() != e).sum()) for f, e in zip(found, expected, strict=True))
    yield "augment: pixels and boxes that differ", num_wrong, 0


def _scenes(side: int, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes xywh [count, 6, 4] and labels [count, 6] of one to six objects, padded."""
    extent = random.uniform(0.1, 0.5, (count, 6, 2)) * side
    sizes = np.concatenate([random.uniform(0, 1, (count, 6, 2)) * (side - extent), extent], axis=-1)
    labels = random.integers(0, _NUM_CLASSES, (count, 6))
    labels[np.arange(6) >= random.integers(1, 7, count)[:, None]] = -1
    return sizes.astype(np.float32), labels


def _side(setting: Setting) -> int:
    return setting.pick(416, tiny=64)


def _assignment(setting: Setting, random: np.random.Generator) -> Checks:
    side = _side(setting)
    sizes, labels = _scenes(side, 8, random)
    corners = corners_of(torch.from_numpy(sizes)).numpy()
    grid = grid_of(side, side, num_levels=_LEVELS, device=setting.device)
    found = assigned(_on(setting, corners), _on(setting, labels), grid=grid, centre_radius=1.5)
    num_wrong = 0
    for row in range(len(sizes)):
        chosen = reference.assigned(
            corners[row].astype(np.float64), labels[row], side=side, num_levels=_LEVELS, radius=1.5
        )
        is_positive = found.is_positive[row].cpu().numpy()
        is_same = (found.corners[row].cpu().numpy() == corners[row][chosen]).all(-1)
        num_wrong += int(((is_positive != (chosen >= 0)) | (is_positive & ~is_same)).sum())
    share = num_wrong / found.is_positive.numel()
    # A cell whose centre lies on an edge, as far as float32 can tell, may go either way.
    yield "assignment: share of cells that differ", share, 1e-4


def _losses(setting: Setting, random: np.random.Generator) -> Checks:
    side, config = _side(setting), DetectionConfig(num_levels=_LEVELS)
    sizes, labels = _scenes(side, 8, random)
    corners = corners_of(torch.from_numpy(sizes)).numpy()
    grid = grid_of(side, side, num_levels=_LEVELS, device=setting.device)
    num_cells = len(grid.strides)
    output = [
        random.normal(0, 2, (8, num_cells, _NUM_CLASSES)).astype(np.float32),
        random.normal(-2, 2, (8, num_cells)).astype(np.float32),
        random.normal(1, 1, (8, num_cells, 4)).astype(np.float32),
    ]
    terms = detection_losses(
        Output(*(_on(setting, array) for array in output)),
        _on(setting, corners),
        _on(setting, labels),
        grid=grid,
        config=config,
    )
    classes, quality, boxes = (array.astype(np.float64) for array in output)
    expected = reference.losses(
        (classes, quality, boxes), corners.astype(np.float64), labels, side=side, num_levels=_LEVELS, radius=1.5,
        focus=config.focus,
    )  # fmt: skip
    weights = {"class": config.class_weight, "quality": config.quality_weight, "box": config.box_weight}
    for name, value in expected.items():
        yield f"loss term {name}: relative error", abs(float(terms[name]) / (weights[name] * value) - 1), 1e-4


def _decode(setting: Setting, random: np.random.Generator) -> Checks:
    side = _side(setting)
    config = DetectionConfig(num_levels=_LEVELS, max_detections=100)
    grid = grid_of(side, side, num_levels=_LEVELS, device=setting.device)
    num_cells = len(grid.strides)
    classes = random.normal(0, 3, (2, num_cells, _NUM_CLASSES)).astype(np.float32)
    quality = random.normal(-1, 2, (2, num_cells)).astype(np.float32)
    sides = random.normal(0.5, 0.5, (2, num_cells, 4)).astype(np.float32)
    output = Output(*(_on(setting, array) for array in (classes, quality, sides)))
    found = detections(output, grid=grid, height=side, width=side, config=config)
    errors = []
    for row in range(2):
        boxes = reference.boxes_of(sides[row].astype(np.float64), side=side, num_levels=_LEVELS).clip(0, side)
        shares = np.exp(classes[row].astype(np.float64))
        scores = shares / shares.sum(1, keepdims=True) / (1 + np.exp(-quality[row].astype(np.float64)))[:, None]
        order = np.argsort(-scores.ravel(), kind="stable")[:1000]
        order = order[scores.ravel()[order] > config.score_threshold]
        candidates, labels = boxes[order // _NUM_CLASSES], order % _NUM_CLASSES
        kept = reference.suppressed(candidates, scores.ravel()[order], labels, iou_limit=config.nms_iou)[:100]
        expected = np.zeros(config.max_detections)
        expected[: len(kept)] = scores.ravel()[order][kept]
        errors.append(_error(found.scores[row], torch.from_numpy(expected)))
    yield "decode and suppress: scores of what is found, relative error", max(errors), 1e-4


def _optimizer(setting: Setting, random: np.random.Generator) -> Checks:
    weights, gradient = (torch.from_numpy(random.normal(size=10_000)) for _ in range(2))
    results = []
    for dtype, device in ((torch.float64, "cpu"), (torch.float32, setting.device)):
        parameter = nn.Parameter(weights.to(device=device, dtype=dtype, copy=True))
        optimizer = torch.optim.AdamW([parameter], lr=1e-2, fused=dtype == torch.float32)
        for step in range(5):
            parameter.grad = (gradient * (step + 1)).to(device=device, dtype=dtype)
            optimizer.step()
        results.append(parameter.detach().cpu().double() - weights)
    yield "fused AdamW, five steps: change of the weights, relative error", _error(results[1], results[0]), 1e-5


def _network(setting: Setting, random: np.random.Generator) -> Checks:
    task = setting.training_config().task
    assert isinstance(task, DetectionConfig)
    side = _side(setting)
    image = torch.from_numpy(random.random((4, 1, side, side)))
    model = Detector(task, num_classes=_NUM_CLASSES)
    with torch.no_grad():  # the last layers begin near 0, where nothing could be seen
        for name, weight in model.named_parameters():
            if name.startswith("heads") and weight.shape[-2:] == (1, 1):
                nn.init.normal_(weight, std=0.1)
    weights = [torch.randn(shape) for shape in _output_shapes(model, side)]
    expected = _passes(copy.deepcopy(model).double(), image, weights, precision="fp64")
    forms: dict[str, Callable[[nn.Module], nn.Module | None]] = {"eager": lambda module: module}
    if setting.device.type == "cuda":
        forms["compiled"] = lambda module: compiled(module, "on", setting.device, is_deterministic=True, warn=print)
    for precision in ("fp32", "bf16"):
        on_cpu = _passes(copy.deepcopy(model), image.float(), weights, precision=precision)
        for form, make in forms.items():
            on_device = copy.deepcopy(model).to(device=setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if (module := make(on_device)) is None:
                continue
            results = _passes(module, image.float().to(setting.device), weights, precision=precision)
            for name, result in results.items():
                limit = max(_LEAST_LIMIT, _TIMES_CPU_ERROR[precision] * _error(on_cpu[name], expected[name]))
                yield f"network, {form}, {precision}: {name}, relative error", _error(result, expected[name]), limit


def _output_shapes(model: nn.Module, side: int) -> list[torch.Size]:
    with torch.no_grad():
        return [part.shape for part in copy.deepcopy(model)(torch.zeros(4, 1, side, side))]


def _passes(model: nn.Module, image: Tensor, weights: Sequence[Tensor], *, precision: str) -> dict[str, Tensor]:
    """Return what the model says, and the gradient of a fixed weighting of it."""
    with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = model(image)
    parts = [
        (part.to(image.dtype) * weight.to(part.device, image.dtype)).sum()
        for part, weight in zip(output, weights, strict=True)
    ]
    torch.autograd.backward(torch.stack(parts).sum())
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    results = {**output._asdict(), "gradient": gradient}
    return {name: value.detach().double().cpu() for name, value in results.items()}


def _on(setting: Setting, array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).to(setting.device)


def _error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double().cpu(), expected.double()
    return float((found - expected).norm() / expected.norm())


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Switch off TF32, which rounds the factors of convolutions to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
