"""Where a data set lies and which chunks it consists of: pure functions of its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import identity
from pipeline.fingerprint import digest_json
from stages.chunks.manifest import ChunkPlan
from stages.data_generation.config import DataGenerationConfig

SIZES = {"train": "dataset_size", "validation": "validation_size", "test": "test_size"}
# Each split has a range of ids of its own, a hundred times as long as the largest split may be: they never meet.
FIRST_IDS = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
_PREFIXES = {"train": "consolidated", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class DataSetPlan:
    """A data set as its settings determine it.

    Attributes:
        folder: holds the chunks; shared by all sizes of the same data, so that growing only adds chunks.
        view: the folder in it that holds the manifest and the annotations of this size.
    """

    folder: Path
    view: Path
    chunks: tuple[ChunkPlan, ...]

    @property
    def manifest(self) -> Path:
        """Where the manifest lies."""
        return self.view / "manifest.json"

    @property
    def annotations(self) -> Path:
        """Where the COCO annotations lie."""
        return self.view / "annotations.json"

    def missing(self) -> tuple[ChunkPlan, ...]:
        """Return the chunks of which there is no file."""
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        return tuple(chunk for chunk in self.chunks if chunk.file not in there)


def plan_data_set(config: DataGenerationConfig, *, version: int, datasets: Path) -> DataSetPlan:
    """Return the plan of the data set in the folder `datasets`; `version` is that of the drawing."""
    settings = {name: value for name, value in identity(config).items() if name not in SIZES.values()}
    origin = digest_json({"version": version, "config": settings})
    folder = datasets / f"{config.name}-{origin[:8]}"
    sizes = {split: int(getattr(config, field)) for split, field in SIZES.items()}
    chunks = [
        chunk
        for split, size in sizes.items()
        for chunk in _plan_split(split, size=size, chunk_size=config.chunk_size, origin=origin)
    ]
    return DataSetPlan(folder, folder / "-".join(map(str, sizes.values())), tuple(chunks))


def _plan_split(split: str, *, size: int, chunk_size: int, origin: str) -> list[ChunkPlan]:
    chunks = []
    for chunk_id, start in enumerate(range(0, size, chunk_size)):
        count = min(chunk_size, size - start)
        # A chunk that is not full tells its count, or a larger data set would take it for the full one.
        short = "" if count == chunk_size else f"_{count}"
        file = f"{_PREFIXES[split]}_{chunk_id:05d}{short}.safetensors"
        first = FIRST_IDS[split] + start
        chunks.append(
            ChunkPlan(chunk_id=chunk_id, split=split, file=file, first_sample_id=first, count=count, origin=origin)
        )
    return chunks
