"""The results document of a run: what was asked for, what came out, and on what it stands."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.environment import describe_environment
from pipeline.fingerprint import digest_bytes
from pipeline.records import StageRecord, Target
from pipeline.sealed import save_sealed
from pipeline.stage import Output, StageContext
from pipeline.workspace import now
from stages.evaluation.config import file_suffix
from stages.evaluation.measure import Measurement

SCHEMA_VERSION = 1


def save_results(
    context: StageContext,
    *,
    metrics: Mapping[str, Any],
    targets: Sequence[Target],
    warnings: Sequence[str],
    seconds: float,
    cuda_peak_bytes: int,
) -> Path:
    """Write the results document of this run under a name of its own and return its path.

    `seconds` is how long evaluation took, `cuda_peak_bytes` the most memory held on an accelerator (0: there is none).
    """
    weights = next(artifact for artifact in context.inputs["training"].artifacts if artifact.kind == "weights")
    evaluation = {"config_hash": context.config_hash, "inputs_digest": context.inputs_digest}
    document = {
        "schema_version": SCHEMA_VERSION,
        "timestamp": now(),
        "run": context.run,
        "profile": context.profile,
        "targets": [target.model_dump() | {"is_met": target.is_met} for target in targets],
        "metrics": dict(metrics),
        "model": weights.model_dump(exclude={"kind"}),
        "config": dict(context.settings),
        "stages": {name: _stage(record) for name, record in context.inputs.items()}
        | {context.stage: evaluation | {"duration_seconds": seconds, "warnings": list(warnings)}},
        "input_digests": dict(context.input_digests),
        "peak_memory_bytes": {"process": _process_peak_bytes(), "cuda": cuda_peak_bytes},
        "environment": describe_environment(),
    }
    path = _free_path(context.workspace.results, f"{context.profile}_training_results_{time.strftime('%Y%m%d_%H%M%S')}")
    save_sealed(path, document)
    return path


def save_measurement(context: StageContext, data_set: str, measurement: Measurement) -> list[Output]:
    """Write what was found and what is really there as COCO documents, those of other data sets by their name."""
    suffix = file_suffix(data_set)
    documents = {"predictions": measurement.predictions, "annotations": measurement.truth}
    outputs = []
    for kind, document in documents.items():
        path = context.results_folder / f"{kind}{suffix}.json"
        data = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        files.write_bytes(path, data)
        outputs.append(Output(kind, path, digest_bytes(data)))
    return outputs


def _stage(record: StageRecord) -> dict[str, Any]:
    told = ("config_hash", "inputs_digest", "started_at", "finished_at", "duration_seconds", "metrics", "warnings")
    return {name: getattr(record, name) for name in told}


def _process_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux tells kibibytes


def _free_path(folder: Path, name: str) -> Path:
    """Return a path that is not taken: results of earlier runs, even in the same second, are kept."""
    path = folder / f"{name}.json"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.json"
    return path
