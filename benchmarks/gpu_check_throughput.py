"""Part 2 of the GPU check: images a second, the share of the matrix peak, and the wait for data.

The peak is measured with each of them, so that both have the same clock rates and the same temperature.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from gpu_check_setting import Setting
from gpu_check_steps import opened, take
from torch.utils.flop_counter import FlopCounterMode

from stages.chunks.manifest import load_manifest
from stages.training.config import TrainingConfig

_ROUNDS = 3


def throughput(
    setting: Setting, *, compile_wish: str, is_kept: bool, is_deterministic: bool, batch_size: int
) -> dict[str, Any]:
    """Return how fast steps of the professional training are; its first epoch is left out of the figures."""
    size = batch_size if not setting.is_tiny else 8
    config = setting.training_config(compile=compile_wish, deterministic=is_deterministic, batch_size=size)
    manifest = setting.manifest()
    peak = {"bf16_flops": _bf16_flops(setting), "image_flops": _image_flops(setting)}
    started = time.perf_counter()
    with opened(setting, config, manifest) as (session, warnings):
        if not is_kept:
            session.learner.batches.share_for_chunks = 0.0
        first = take(session, _steps_per_epoch(config, manifest, setting))
        first_epoch_seconds = time.perf_counter() - started
        rounds = [take(session, setting.pick(100, tiny=2)) for _ in range(_ROUNDS)]
        return {
            **peak,
            "batch_size": size,
            "images_per_second": [steps.images_per_second for steps in rounds],
            "waiting_share": sum(steps.waiting_seconds for steps in rounds) / sum(steps.seconds for steps in rounds),
            "first_epoch_seconds": first_epoch_seconds,
            "first_epoch_waiting_share": first.waiting_seconds / first.seconds,
            "peak_bytes": torch.cuda.max_memory_allocated() if setting.device.type == "cuda" else 0,
            "is_compiled": session.learner.compiled is not None,
            "precision": str(session.environment["precision"]),
            "warnings": warnings,
        }


def _steps_per_epoch(config: TrainingConfig, manifest: Path, setting: Setting) -> int:
    num_samples = sum(entry.count for entry in load_manifest(manifest).split("train"))
    return -(-num_samples // config.batch_size) if not setting.is_tiny else 1


def _bf16_flops(setting: Setting) -> float:
    """Return the bf16 matrix rate of the device in FLOP/s, on random numbers."""
    size = setting.pick(8192, tiny=256)
    first, second = (torch.randn(size, size, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    times = [_seconds(setting, lambda: first @ second) for _ in range(setting.pick(30, tiny=3))]
    return float(2 * size**3 / statistics.median(times))


def _image_flops(setting: Setting) -> float:
    """Count the FLOPs of forward and backward pass: a multiplication and an addition are two."""
    config = setting.training_config(compile="off")  # what is compiled cannot be counted
    with opened(setting, config, setting.manifest()) as (session, _):
        batch = session.feed.next(session.tracker.get_resume_position())
        assert batch is not None
        with FlopCounterMode(display=False) as counter:
            session.micro_batches.backward(batch, step=1)
        return float(counter.get_total_flops()) / len(batch.sample_ids)


def _seconds(setting: Setting, work: Any) -> float:
    if setting.device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
