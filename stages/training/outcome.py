"""What a finished training delivers: final weights and the figures of its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes
from pipeline.stage import Output, StageResult
from stages.tensors import load_tensors, unshared
from stages.training.history import Entry
from stages.training.session import Session

WEIGHTS_KIND = "weights"
_AVERAGED_PREFIX = "module."  # torch's AveragedModel keeps the weights under this name, beside its counter


def deliver(session: Session) -> StageResult:
    """Write the final weights to the results folder and return them with the figures.

    The final weights are those at the end, averaged if the settings ask for an average. After an early stop, and with
    `final_weights = "best"`, they are those of the best validation, read from its checkpoint, which is never removed.
    """
    best = session.history.best
    is_best_wanted = session.config.final_weights == "best" or session.history.is_stopping
    if is_best_wanted and best is not None and best.global_step != session.tracker.global_step:
        weights, step = _weights_of(session, best), best.global_step
    else:
        weights, step = session.learner.average.model.state_dict(), session.tracker.global_step
    # Into results/, so that pruning checkpoints can never break a finished run.
    path = session.context.results_folder / "model.safetensors"
    data = safetensors.torch.save(unshared(weights))
    files.write_bytes(path, data)
    return StageResult(
        outputs=(Output(WEIGHTS_KIND, path, digest_bytes(data)),),
        metrics=_figures(session, best, weights_step=step),
        warnings=(
            *(line for skipped in session.skipped.values() for line in skipped.warnings()),
            *session.micro_batches.warnings(),
            *session.environments.warnings(),
        ),
        tolerated_damage=tuple(file for skipped in session.skipped.values() for file in skipped.files),
    )


def _weights_of(session: Session, entry: Entry) -> dict[str, torch.Tensor]:
    """Return the weights that were validated for `entry`, from the checkpoint made just after."""
    step = entry.global_step
    found = [
        item for item in session.store.checkpoints() if item.metadata.is_best and item.metadata.global_step == step
    ]
    if not found:
        raise IntegrityError(
            f"the checkpoint of the best validation (step {step}) is no longer in {session.store.folder}",
            code="E0468",
            hint="train again with `pipeline run --force-train`, or set training.final_weights=last",
        )
    contents = found[-1].read()
    averaged = contents.get(f"{session.config.averaging.method}.safetensors")
    if averaged is None:
        return load_tensors(contents["model.safetensors"], name="model.safetensors")
    tensors = load_tensors(averaged, name=f"{session.config.averaging.method}.safetensors")
    return {
        name.removeprefix(_AVERAGED_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(_AVERAGED_PREFIX)
    }


def _figures(session: Session, best: Entry | None, *, weights_step: int) -> Mapping[str, Any]:
    """Return figures that are the same however often the run was interrupted: no times, no counts of restarts."""
    entries = [entry.model_dump() for entry in session.history.entries]
    return {
        "steps": session.tracker.global_step,
        "mini_epochs": session.history.mini_epoch,
        "epochs": session.history.mini_epoch / session.mini_epochs.per_epoch,
        "samples": session.tracker.get_statistics()["total_samples_trained"],
        "skipped_samples": len(session.skipped["train"].sample_ids),
        "precision": session.environment["precision"],
        "is_stopped_early": session.history.is_stopping,
        "weights_step": weights_step,
        "final": entries[-1],
        "best": best.model_dump() if best is not None else None,
        "history": entries,
    }
