"""The last stage: measures the trained detector on held-out scenes and real images, and judges it by the targets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.memory import telling_of_memory
from pipeline.records import StageRecord, Target
from pipeline.stage import KeptWork, Output, StageContext, StageResult
from pipeline.workload import Workload
from pipeline.workspace import Workspace
from stages.evaluation.config import SYNTHETIC, EvaluationConfig
from stages.evaluation.targets import aims, judge
from stages.foreseen import Foreseen

if TYPE_CHECKING:
    from stages.evaluation.sources import DataSet  # NumPy

_TOLD = ("ap", "ap50", "agnostic_ap50")  # in the line for those who watch; the results document has them all
_MEMORY_HINT = "free memory, or lower evaluation.batch_size, and run it again"
_NUM_NAMED = 3  # images that a warning names; the results document has the count of all


class EvaluationStage:
    """Reads the `test` chunks, the final weights and real images; leaves predictions and the results document."""

    name = "evaluation"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {"data_generation": ("test",), "training": ("weights",)}
    reruns_on_code_change = True

    def __init__(self, config: EvaluationConfig, *, foreseen: Foreseen | None = None) -> None:
        self.config = config
        self._foreseen = foreseen  # of the held-out scenes, for estimates

    def external_files(self) -> Mapping[str, tuple[Path, ...]]:
        """Return the files of each real data set; raises UsageError where one cannot be read."""
        if not self.config.real_data:
            return {}
        from stages.evaluation.real_folder import open_folder  # NumPy, Pillow

        return {f"real data {real.name}": open_folder(real).files for real in self.config.real_data}

    def aims(self) -> tuple[Target, ...]:
        """Return the targets that the figures will be judged by."""
        return aims(self.config.targets, real=[real.name for real in self.config.real_data])

    def leavings(self, workspace: Workspace, kept: KeptWork) -> Iterable[Path]:
        """Return the results documents that no record refers to."""
        from stages.evaluation.leavings import find_leavings

        recorded = {workspace.absolute(artifact.path) for record in kept.records for artifact in record.artifacts}
        return find_leavings(workspace.results, recorded=recorded)

    def workload(self, context: StageContext | None) -> Workload | None:  # noqa: ARG002
        """Return the held-out scenes."""
        num_scenes = self._foreseen.num_test if self._foreseen else 0
        return Workload(amount=num_scenes, unit="scenes", stored=num_scenes) if num_scenes else None

    def workload_of(self, record: StageRecord, before: Mapping[str, StageRecord]) -> Workload | None:
        """Return the held-out scenes of `record`, if it measured the same kind of images with the same settings."""
        known, own = self._foreseen, self.config.model_dump(mode="json")
        num_scenes = record.metrics[SYNTHETIC]["num_images"]
        is_alike = (
            known is not None
            and known.has_data_like(before.get("data_generation"))
            and known.has_model_like(before.get("training"))
            and all(record.config.get(name) == own[name] for name in ("batch_size", "real_data"))
            # Real images take their part of the time, however many scenes there are.
            and (num_scenes == known.num_test or not self.config.real_data)
        )
        return Workload(amount=num_scenes, unit="scenes", stored=num_scenes) if is_alike else None

    def execute(self, context: StageContext) -> StageResult:
        """Measure on each data set; a stopped evaluation starts over, which costs seconds.

        Raises:
            Interrupted: a stop was asked for.
            UsageError: a real data set or the device is not there.
            IntegrityError: the held-out scenes or the weights are not what was recorded.
            ResourceExhausted: out of memory.
        """
        from stages.determinism import numerics  # torch
        from stages.evaluation.detector import load_detector
        from stages.evaluation.measure import measure
        from stages.evaluation.report import save_report_part
        from stages.evaluation.results import save_measurement, save_results
        from stages.evaluation.sources import open_data_sets

        started = time.monotonic()
        (manifest,) = context.input_paths("data_generation", "manifest")
        data_sets = open_data_sets(manifest, self.config.real_data)
        detector = telling_of_memory(hint=_MEMORY_HINT)(load_detector)(context, manifest)
        detect = telling_of_memory(hint=_MEMORY_HINT)(numerics(is_deterministic=True)(detector.detect))
        metrics: dict[str, dict[str, Any]] = {}
        outputs: list[Output] = []
        warnings: list[str] = []
        for data_set in data_sets:
            measurement = measure(
                data_set,
                detect,
                batch_size=self.config.batch_size,
                on_progress=partial(_report, context, data_set.name, data_set.num_images),
            )
            metrics[data_set.name] = measurement.figures
            outputs += save_measurement(context, data_set.name, measurement)
            outputs.append(save_report_part(context, data_set, measurement.view))
            warnings += _warnings_of(data_set)
            context.info(_figures_of(data_set.name, measurement.figures))
        for text in warnings:
            context.warn(text)
        targets = judge(self.config.targets, metrics)
        results = save_results(
            context,
            metrics=metrics,
            targets=targets,
            warnings=warnings,
            seconds=time.monotonic() - started,
            cuda_peak_bytes=detector.cuda_peak_bytes(),
        )
        return StageResult(
            outputs=[*outputs, Output("results", results)], metrics=metrics, targets=targets, warnings=warnings
        )


def _report(context: StageContext, data_set: str, total: int, done: int) -> None:
    context.progress(done, total, "images", data_set=data_set)
    context.stop.check(where=f"image {done} of {total} of {data_set}")


def _figures_of(data_set: str, figures: Mapping[str, Any]) -> str:
    told = [f"{name} {figures[name]:.3f}" for name in _TOLD if figures[name] is not None]
    return f"{data_set}: {', '.join(told) or 'nothing measured'} over {figures['num_images']} images"


def _warnings_of(data_set: DataSet) -> list[str]:
    return [
        f"{data_set.name}: left out {len(names)} of {data_set.num_images} images ({reason}): "
        f"{', '.join(names[:_NUM_NAMED])}{', …' if len(names) > _NUM_NAMED else ''}"
        for reason, names in data_set.skipped.items()
    ]
