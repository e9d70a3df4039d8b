"""The first stage: draws scenes and leaves them as chunks with a manifest and COCO annotations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.records import Artifact, StageRecord
from pipeline.space import require_space
from pipeline.stage import KeptWork, Output, ProgressReport, ProgressRow, StageContext, StageResult
from pipeline.workload import Workload
from pipeline.workspace import Workspace
from stages.chunks.manifest import ChunkEntry, ChunkPlan, Manifest, chunk_path, save_manifest
from stages.data_generation.config import MAX_SHAPES, DataGenerationConfig
from stages.data_generation.plan import SIZES, DataSetPlan, plan_data_set

_BYTES_BESIDE_PIXELS = 1024  # of a scene, at most: its boxes and labels in the chunk, its lines in the annotations
_NO_MATTER = {"name", "seed", "chunk_size", *SIZES.values()}  # to how long one scene takes


class DataGenerationStage:
    """Makes sure of every chunk, then writes the annotations, and the manifest last; the same bytes on every path."""

    name = "data_generation"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {}
    reruns_on_code_change = False
    folders = (f"datasets/*-{'[0-9a-f]' * 8}",)

    def __init__(self, config: DataGenerationConfig) -> None:
        self.config = config

    def execute(self, context: StageContext) -> StageResult:
        """Draw the chunks that are not there; those that are there and prove themselves are kept.

        Raises:
            Interrupted: a stop was asked for; the chunks that were in flight are written.
            ResourceExhausted: the data set does not fit on the disk.
            StageFailed: three worker processes died or hung at the same chunk.
        """
        from stages.data_generation.annotations import save_annotations  # NumPy

        plan = self._plan(context)
        _require_space(plan, image_size=self.config.image_size)
        files.make_folder(plan.view)  # from now on there is work of this size to continue from
        entries, figures = self._make_chunks(plan, context)
        manifest = Manifest(meta=self._meta(), chunks=entries)
        figures["shapes"] = save_annotations(plan.annotations, manifest, manifest_path=plan.manifest)
        save_manifest(plan.manifest, manifest)
        chunks = [Output(entry.split, chunk_path(plan.manifest, entry), entry.xxh3) for entry in entries]
        outputs = [*chunks, Output("annotations", plan.annotations), Output("manifest", plan.manifest)]
        sizes = {split: getattr(self.config, field) for split, field in SIZES.items()}
        return StageResult(outputs=outputs, metrics={**sizes, **figures})

    def promise(self, context: StageContext) -> Mapping[str, Any]:
        """Return where the manifest will be, what it will say of the samples, and which chunks there will be."""
        plan = self._plan(context)
        chunks = [
            {
                "chunk_id": chunk.chunk_id,
                "split": chunk.split,
                "first_sample_id": chunk.first_sample_id,
                "count": chunk.count,
                "file": f"../{chunk.file}",
            }
            for chunk in plan.chunks
        ]
        return {"manifest": context.workspace.relative(plan.manifest), "meta": self._meta(), "chunks": chunks}

    def can_repair(self, damaged: Sequence[Artifact]) -> bool:
        """Return True: whatever it is, it can be made again without the rest."""
        return bool(damaged)

    def repair(self, context: StageContext, damaged: Sequence[Artifact]) -> StageResult:
        """Set the damaged files aside and make them again; raises as `execute` does."""
        for artifact in damaged:
            path = context.workspace.resolve(artifact.path)
            if path.exists():
                context.warn(f"{artifact.path} was altered; kept as {files.set_aside(path).name} and made again")
        return self.execute(context)

    def partial_work(self, context: StageContext) -> str:
        """Tell how many chunks are there, if a data set of this very size was begun."""
        plan = self._plan(context)
        num_there = len(plan.chunks) - len(plan.missing())
        # A smaller data set has left chunks that a larger one takes over, but that is not an interrupted run.
        return f"{num_there} of {len(plan.chunks)} chunks" if num_there and plan.view.is_dir() else ""

    def discard_partial_work(self, context: StageContext) -> None:
        """Remove the chunks of a data set of this size that was begun, those shared with other sizes too."""
        plan = self._plan(context)
        if plan.view.is_dir():
            files.remove(plan.view)
            for chunk in plan.chunks:
                files.remove(plan.folder / chunk.file)

    def progress_report(self, context: StageContext) -> ProgressReport | None:
        """Tell how many chunks of each split are there."""
        plan = self._plan(context)
        if not plan.view.is_dir():
            return None
        missing = {chunk.file for chunk in plan.missing()}
        rows = []
        for split in SIZES:
            counts = [(chunk.count, chunk.file not in missing) for chunk in plan.chunks if chunk.split == split]
            done = sum(count for count, is_there in counts if is_there)
            rows.append(ProgressRow(split, done, sum(count for count, _ in counts), f"{len(counts)} chunks"))
        done, total = sum(row.done for row in rows), sum(row.total for row in rows)
        document = {row.name: {"done": row.done, "total": row.total} for row in rows}
        return ProgressReport("scenes", {"done": done, "total": total}, tuple(rows), document)

    def leavings(self, workspace: Workspace, kept: KeptWork) -> Iterable[Path]:
        """Return chunks and folders of sizes that no data set needs, finished or not."""
        from stages.data_generation.leavings import find_leavings

        configs = (config for config in kept.begun if isinstance(config, DataGenerationConfig))
        plans = [plan_data_set(config, version=self.version, datasets=workspace.datasets) for config in configs]
        recorded = {workspace.absolute(artifact.path) for record in kept.records for artifact in record.artifacts}
        return find_leavings(workspace.datasets, recorded=recorded, begun=plans)

    def workload(self, context: StageContext | None) -> Workload:
        """Return the scenes whose chunks are not there yet."""
        sizes = sum(getattr(self.config, field) for field in SIZES.values())
        missing = sizes if context is None else sum(chunk.count for chunk in self._plan(context).missing())
        return Workload(amount=missing, unit="scenes", stored=missing)

    def workload_of(self, record: StageRecord, before: Mapping[str, StageRecord]) -> Workload | None:  # noqa: ARG002
        """Return the scenes that were drawn in the time of `record`, if they were drawn with the same settings."""
        own = self.config.model_dump(mode="json")
        if any(record.config.get(name) != value for name, value in own.items() if name not in _NO_MATTER):
            return None
        stored = sum(int(record.metrics.get(split, 0)) for split in SIZES)
        return Workload(amount=record.metrics.get("new_images", 0), unit="scenes", stored=stored)

    def _plan(self, context: StageContext) -> DataSetPlan:
        return plan_data_set(self.config, version=self.version, datasets=context.workspace.datasets)

    def _make_chunks(self, plan: DataSetPlan, context: StageContext) -> tuple[tuple[ChunkEntry, ...], dict[str, Any]]:
        from stages.data_generation.making import make_chunks  # NumPy, aggdraw

        started = time.monotonic()
        entries: dict[str, ChunkEntry] = {}
        num_new = num_drawn = 0
        made_chunks = make_chunks(
            _by_need(plan.chunks),
            config=self.config,
            folder=plan.folder,
            num_missing=sum(chunk.count for chunk in plan.missing()),
            num_workers=context.runtime.num_workers,
            worker_timeout_seconds=context.runtime.worker_timeout_seconds,
            grace_seconds=context.runtime.grace_seconds,
            stop=context.stop,
            warn=context.warn,
        )
        for made in made_chunks:
            if made.complaint:
                context.warn(made.complaint)
            entries[made.entry.file] = made.entry
            context.release(made.entry.file, made.entry.model_dump())
            num_new += made.is_new
            num_drawn += made.entry.count if made.is_new else 0
            rate = num_drawn / (time.monotonic() - started)
            context.progress(len(entries), len(plan.chunks), "chunks", images_per_second=round(rate, 1))
        files.sweep_temporaries(plan.folder)  # of workers that were killed; all workers are gone by now
        if len(entries) < len(plan.chunks):
            context.stop.check(where=f"{len(entries)} of {len(plan.chunks)} chunks")
        seconds = time.monotonic() - started
        figures = {"chunks": len(entries), "new_chunks": num_new, "new_images": num_drawn, "drawing_seconds": seconds}
        return tuple(entries[f"../{chunk.file}"] for chunk in plan.chunks), figures

    def _meta(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "image_size": self.config.image_size,
            "channels": 1,
            "classes": list(self.config.classes),
            "max_boxes": MAX_SHAPES,
        }


def _by_need(chunks: Sequence[ChunkPlan]) -> list[ChunkPlan]:
    """Put first what a training that begins early needs first: a chunk to train on, then all that it validates on."""
    ranks = {"train": 1, "validation": 0}
    return sorted(chunks, key=lambda chunk: -1 if chunk == chunks[0] else ranks.get(chunk.split, 2))


def _require_space(plan: DataSetPlan, *, image_size: int) -> None:
    """Raise ResourceExhausted where the chunks that are still to be drawn do not fit on the disk."""
    needed = sum(chunk.count for chunk in plan.missing()) * (image_size**2 + _BYTES_BESIDE_PIXELS)
    require_space(
        plan.folder,
        num_bytes=needed,
        what="the data set",
        hint="lower data_generation.dataset_size or data_generation.image_size",
    )
