"""Making sure of chunks: those that are there and prove themselves are kept, the others are drawn and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.environment import usable_cores
from pipeline.interrupts import StopFlag
from stages.chunks.manifest import ChunkEntry, ChunkPlan
from stages.chunks.writer import find_chunk, write_chunk
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.processes import map_in_processes
from stages.data_generation.render import render_samples

# Starting workers takes about a second: work that takes less is done here. Measured on one core, writing included.
_SECONDS_PER_SCENE = 0.4e-3
_SECONDS_PER_PIXEL = 2e-9


@dataclass(frozen=True)
class MadeChunk:
    """A chunk that is there now; `complaint` tells what was wrong with a file that was found in its place."""

    entry: ChunkEntry
    is_new: bool
    complaint: str = ""


def make_chunks(
    plans: Sequence[ChunkPlan],
    *,
    config: DataGenerationConfig,
    folder: Path,
    num_missing: int,
    num_workers: int,
    worker_timeout_seconds: float,
    grace_seconds: float,
    stop: StopFlag,
    warn: Callable[[str], None],
) -> Iterator[MadeChunk]:
    """Make sure of all chunks, in any order; ends early, with nothing half-done, once a stop is asked for.

    `num_workers` 0 means one for each usable core; the chunks are the same bytes for any number.
    """
    task = partial(_make_sure, config=config, folder=folder)
    num_workers = num_workers or usable_cores()
    if num_workers == 1 or _estimated_seconds(config, num_missing) < 1:
        for plan in plans:
            if stop.is_set:
                return
            yield task(plan)
    else:
        yield from map_in_processes(
            task,
            plans,
            num_workers=num_workers,
            stop=stop,
            timeout_seconds=worker_timeout_seconds,
            grace_seconds=grace_seconds,
            warn=warn,
            name=lambda plan: plan.file,
        )


def _make_sure(plan: ChunkPlan, *, config: DataGenerationConfig, folder: Path) -> MadeChunk:
    data, complaint = find_chunk(folder, plan)
    is_new = data is None
    if data is None:
        arrays = render_samples(config, first_sample_id=plan.first_sample_id, count=plan.count)
        data = write_chunk(folder, plan, arrays)
    # The manifest lies one folder further down, with those of the other sizes of the same data.
    return MadeChunk(plan.entry(data, folder="../"), is_new, complaint)


def _estimated_seconds(config: DataGenerationConfig, num_scenes: int) -> float:
    return num_scenes * (_SECONDS_PER_SCENE + _SECONDS_PER_PIXEL * config.image_size**2)
