"""What training is done on: the chunks of a data set that is finished, or that is still being made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from pipeline.stage import StageContext
from pipeline.stream import Stream
from stages.chunks.awaited import AwaitedChunks
from stages.chunks.listed import ListedChunks
from stages.chunks.manifest import load_manifest

if TYPE_CHECKING:
    from stages.chunks.reader import Chunks  # NumPy


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The chunks of the two splits, and what readers must know about the samples (`meta`)."""

    meta: Mapping[str, Any]
    train: Chunks
    validation: Chunks


def open_data(context: StageContext, *, stage: str) -> TrainingData:
    """Return the data that the upstream stage `stage` has made, or is about to make.

    Raises:
        UsageError: it left no manifest, or more than one.
        IntegrityError: the manifest is not what was written.
    """
    if stage in context.streams:
        return _awaited(context, context.streams[stage])
    paths = context.input_paths(stage, "manifest")
    if len(paths) != 1:
        raise UsageError(
            f"{stage} left {len(paths)} manifests; training needs exactly one",
            code="E0254",
            hint="let the stage return one output of the kind 'manifest'",
        )
    return load_data(paths[0])


def load_data(manifest_path: Path) -> TrainingData:
    """Return the data of a manifest; raises FileNotFoundError or IntegrityError."""
    manifest = load_manifest(manifest_path)
    return TrainingData(
        meta=manifest.meta,
        train=ListedChunks(manifest, path=manifest_path, split="train"),
        validation=ListedChunks(manifest, path=manifest_path, split="validation"),
    )


def _awaited(context: StageContext, stream: Stream) -> TrainingData:
    def awaited(split: str) -> AwaitedChunks:
        def tell(chunk_id: int, *, is_over: bool) -> None:
            chunk = f"{split} chunk {chunk_id}"
            context.wait(
                f"goes on with {chunk}" if is_over else f"waits for {chunk} of {stream.stage}", is_over=is_over
            )

        return AwaitedChunks(stream, root=context.workspace.root, split=split, on_wait=tell)

    return TrainingData(meta=stream.promise["meta"], train=awaited("train"), validation=awaited("validation"))
