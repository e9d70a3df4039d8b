"""Takes over a `.pt` checkpoint of another program: weights, optimizer and step, as a checkpoint to continue from.

The file is only ever read with torch's `weights_only`, which builds tensors and plain values and calls nothing else.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import IntegrityError, UsageError
from pipeline.stage import StageContext
from stages.chunks.order import EpochOrder
from stages.determinism import numerics
from stages.training.checkpoints import TrainingFacts
from stages.training.config import TrainingConfig
from stages.training.data import TrainingData
from stages.training.optimizer import OptimizerState
from stages.training.progress import ChunkProgress
from stages.training.session import Session, open_session

_MODEL_KEYS = ("model", "model_state_dict", "state_dict")
_OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict")
_SCHEDULER_KEYS = ("scheduler", "scheduler_state_dict", "lr_scheduler")
_STEP_KEYS = ("step", "global_step", "steps")
_PARALLEL_PREFIX = "module."  # torch's DataParallel and DistributedDataParallel put it before every name
# What each optimizer keeps for a parameter, as torch names it.
_MOMENTS = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "sgd": {"momentum_buffer"}}
_MAX_PICKLE_BYTES = 64 << 20  # names and shapes of the tensors, about 300 bytes each; their contents lie beside it
# What reading a malformed pickle may raise, besides UnpicklingError: it is a program, if one without calls.
_UNREADABLE = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, OverflowError, AssertionError, OSError,
    MemoryError,
)  # fmt: skip

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Imported:
    """What a file holds that can be taken over; `left` names the rest."""

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any] | None
    step: int
    step_key: str
    left: tuple[str, ...]


def import_checkpoint(context: StageContext, config: TrainingConfig, path: Path, *, data: TrainingData) -> str:
    """Make a checkpoint of the run of `context` from the file `path` and tell what was taken over.

    Raises:
        UsageError: there is no such file, or its step lies behind the end of this training.
        IntegrityError: the file holds more than tensors and plain values, is not readable, or does not fit the model.
    """
    found = _understand(read_checkpoint(path), path=path)
    # What a run leaves in logs/ is not wanted of an import.
    quiet = context.runtime.model_copy(update={"sample_log": False})
    opened = open_session(replace(context, runtime=quiet), config, data=data)
    with numerics(is_deterministic=config.deterministic), opened as session:
        _take_over(session, found, path=path)
        session.store.save(session.state.files().items(), _facts(session))
        session.tracker.save()
        return _told(session, found, path=path)


def read_checkpoint(path: Path) -> Any:
    """Return what a file of `torch.save` holds, read without running anything; raises as `import_checkpoint` does."""
    _require_whole_zip(path)
    hint = "nothing of it was run; save it again with tensors, numbers and texts alone (state_dicts), then import that"
    try:
        # Mapped: it need not fit into memory twice, and whatever sizes the pickle states, no read leaves the file.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        what = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
        raise IntegrityError(
            f"{path} wants to run code: {what.partition('. ')[0].strip()}", code="E0480", hint=hint
        ) from error
    except _UNREADABLE as error:
        raise IntegrityError(
            f"{path} is not readable as a checkpoint of torch: {error}", code="E0481", hint=hint
        ) from error


def _require_whole_zip(path: Path) -> None:
    """Refuse what is no zip as torch writes it: nothing is compressed, so it cannot grow, and checksums are right."""
    if not path.is_file():
        raise UsageError(
            f"{path} is not there, or is no file", code="E0280", hint="give a file that torch.save has written"
        )
    again = "load it with the program that wrote it and save it again: torch.save writes zip files since torch 1.6"
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        if not is_zip:
            raise zipfile.BadZipFile("it is a pickle of the old form, or something else")
        with zipfile.ZipFile(path) as archive:
            _require_plain(archive.infolist(), size=path.stat().st_size)
            if (name := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{name} was altered after it was written")
    except (zipfile.BadZipFile, *_UNREADABLE) as error:
        raise IntegrityError(
            f"{path} is no zip file as torch.save writes it: {error}", code="E0481", hint=again
        ) from error


def _require_plain(entries: Sequence[zipfile.ZipInfo], *, size: int) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or unpacked > size:
        raise zipfile.BadZipFile(f"it has {size} bytes and would unpack to {unpacked}, but torch packs nothing")
    if any(entry.filename.endswith(".pkl") and entry.file_size > _MAX_PICKLE_BYTES for entry in entries):
        raise zipfile.BadZipFile(f"it holds a pickle of more than {_MAX_PICKLE_BYTES} bytes")


def _understand(document: Any, *, path: Path) -> Imported:
    if not isinstance(document, Mapping) or not all(isinstance(key, str) for key in document):
        raise IntegrityError(
            f"{path} holds no state by names", code="E0482", hint="save a dict of state_dicts, or a state_dict"
        )
    model_key = _first(document, _MODEL_KEYS, Mapping)
    if model_key is None:
        tensors = {key: value for key, value in document.items() if isinstance(value, torch.Tensor)}
        if not tensors or len(tensors) < len(document):
            names = ", ".join(sorted(document)[:10])
            raise IntegrityError(
                f"{path} holds no model: it has {names or 'nothing'}",
                code="E0482",
                hint=f"name it {' or '.join(_MODEL_KEYS)}",
            )
        return Imported(_without_prefix(document), None, 0, "", ())
    optimizer_key = _first(document, _OPTIMIZER_KEYS, Mapping)
    scheduler_key = _first(document, _SCHEDULER_KEYS, Mapping)
    step_key = _first(document, _STEP_KEYS, int | float | torch.Tensor)
    scheduler = document[scheduler_key] if scheduler_key else {}
    if step_key is not None:
        step, told = _as_step(document[step_key], path=path), step_key
    elif "last_epoch" in scheduler:
        step, told = _as_step(scheduler["last_epoch"], path=path), f"{scheduler_key}.last_epoch"
    else:
        step, told = 0, ""
    taken = {model_key, optimizer_key, step_key, scheduler_key}
    return Imported(
        model=_without_prefix(document[model_key]),
        optimizer=document[optimizer_key] if optimizer_key else None,
        step=step,
        step_key=told,
        left=tuple(sorted(key for key in document if key not in taken)),
    )


def _first(document: Mapping[str, Any], keys: tuple[str, ...], kind: Any) -> str | None:
    return next((key for key in keys if isinstance(document.get(key), kind)), None)


def _as_step(value: Any, *, path: Path) -> int:
    step = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
    if isinstance(step, bool) or not isinstance(step, int | float) or step < 0 or step != int(step):
        raise IntegrityError(
            f"{path} tells no number of steps: {value!r}", code="E0483", hint="save the step as a whole number"
        )
    return int(step)


def _without_prefix(state: Mapping[str, Any]) -> Mapping[str, Any]:
    is_parallel = state and all(isinstance(name, str) and name.startswith(_PARALLEL_PREFIX) for name in state)
    return {name.removeprefix(_PARALLEL_PREFIX): value for name, value in state.items()} if is_parallel else state


def _take_over(session: Session, found: Imported, *, path: Path) -> None:
    if found.step > session.total_steps:
        raise UsageError(
            f"{path} is at step {found.step}, and this training ends at step {session.total_steps}",
            code="E0281",
            hint="raise --epochs, or import it into the settings that it was trained with",
        )
    own = session.learner.model.state_dict()
    for name in sorted(own.keys() | found.model.keys(), key=str):
        _require_like(own.get(name), found.model.get(name), name=str(name), path=path)
    session.learner.model.load_state_dict(dict(found.model))
    if found.optimizer is not None:
        moments = _moments(session, found.optimizer, path=path)
        groups = session.learner.optimizer.state_dict()["param_groups"]
        OptimizerState(session.learner.optimizer).load_state_dict({"state": moments, "groups": groups})
    session.learner.schedule.load_state_dict({"step": found.step})
    _move_to(session, found.step)


def _require_like(own: Any, given: Any, *, name: str, path: Path) -> None:
    """Refuse what is not a finite tensor of the same shape and kind as the model's own."""
    # Also what weights_only lets through besides: sparse, quantized and meta tensors.
    if type(given) not in (torch.Tensor, nn.Parameter) or given.layout != torch.strided or given.is_quantized:
        given = None
    problem = ""
    if own is None:
        problem = "is not in this model"
    elif given is None or given.device.type != "cpu":
        problem = "is missing, or is no plain tensor"
    elif given.shape != own.shape:
        problem = f"has the shape {list(given.shape)} instead of {list(own.shape)}"
    elif given.is_floating_point() != own.is_floating_point() or given.is_complex():
        problem = f"is of the type {given.dtype} instead of {own.dtype}"
    elif not bool(torch.isfinite(given).all()):
        problem = "holds NaN or infinite values"
    if problem:
        raise IntegrityError(
            f"{path} does not fit this training: {name} {problem}",
            code="E0484",
            hint="give the settings of the model that it was trained with",
        )


def _moments(session: Session, state: Mapping[str, Any], *, path: Path) -> dict[str, dict[str, Any]]:
    """Return the optimizer's state of each parameter; raises IntegrityError where it is not of this optimizer."""
    groups, moments = state.get("param_groups"), state.get("state")
    parameters = session.learner.parameters
    numbers = list(range(len(parameters)))
    if not isinstance(groups, list) or not isinstance(moments, Mapping) or len(groups) != 1:
        problem = "has other groups of parameters"
    elif not isinstance(groups[0], Mapping) or groups[0].get("params") != numbers or not set(moments) <= set(numbers):
        problem = f"is not of {len(numbers)} parameters"
    else:
        return {str(key): _moments_of(session, key, values, path=path) for key, values in moments.items()}
    raise IntegrityError(
        f"{path} does not fit this training: its optimizer {problem}",
        code="E0485",
        hint="save it again without the optimizer, which then starts anew",
    )


def _moments_of(session: Session, number: int, values: Any, *, path: Path) -> dict[str, Any]:
    kind = session.config.optimizer.name
    given = {name: value for name, value in values.items() if value is not None} if isinstance(values, Mapping) else {}
    if not given.keys() <= _MOMENTS[kind] or (given and kind == "adamw" and given.keys() < _MOMENTS[kind]):
        raise IntegrityError(
            f"{path} does not fit this training: its optimizer is not {kind}",
            code="E0485",
            hint="set training.optimizer.name, or save it again without the optimizer, which then starts anew",
        )
    if "step" in given:  # a plain number before torch 1.12
        step = _as_step(given["step"], path=path)
        given["step"] = torch.tensor(float(step), device=session.learner.parameters[number].device)
    for name in given.keys() - {"step"}:
        own = session.learner.parameters[number].detach()
        _require_like(own, given[name], name=f"{name} of parameter {number} in its optimizer", path=path)
    return given


def _move_to(session: Session, step: int) -> None:
    """Put the position behind the samples of `step` steps: that many batches, in the order of their epochs."""
    counts = session.data.train.counts
    size, num_samples = session.config.batch_size, sum(counts)
    epoch, steps = divmod(step, -(-num_samples // size))
    order = EpochOrder(counts=counts, seed=session.config.seed, epoch=epoch, is_shuffled=True)
    chunks: dict[str, ChunkProgress] = {}
    place, num_left = -1, steps * size
    for chunk_id in order.chunks.tolist():
        if not num_left:
            break
        taken = min(num_left, counts[chunk_id])
        place, num_left = chunk_id, num_left - taken
        chunks[str(chunk_id)] = ChunkProgress(
            chunk_id=chunk_id, samples_trained=taken, last_offset=taken, completed=taken == counts[chunk_id]
        )
    position = {
        "global_step": step,
        "epoch": epoch,
        "current_chunk_id": place,
        "current_offset": chunks[str(place)].last_offset if chunks else 0,
        "chunk_progress": {key: chunk.model_dump() for key, chunk in chunks.items()},
        "total_samples_trained": epoch * num_samples + steps * size,
    }
    session.tracker.load_state_dict({**session.tracker.state_dict(), **position})


def _facts(session: Session) -> TrainingFacts:
    epoch, chunk_id, offset = session.tracker.get_resume_position()
    return TrainingFacts(
        global_step=session.tracker.global_step,
        total_steps=session.total_steps,
        epoch=epoch,
        chunk_id=chunk_id,
        offset=offset,
        loss=0.0,
        is_best=False,
        is_final=False,
        config=session.config.model_dump(mode="json"),
        environment=dict(session.environment),
    )


def _told(session: Session, found: Imported, *, path: Path) -> str:
    step = f"step {found.step} (its {found.step_key})" if found.step_key else "step 0, as it tells none"
    optimizer = "the state of the optimizer" if found.optimizer is not None else "no optimizer, which starts anew"
    position = session.tracker.get_resume_position()
    where = position.describe(global_step=session.tracker.global_step, total_steps=session.total_steps)
    lines = [
        f"took over from {path}: {len(found.model)} tensors of the model, {optimizer}, {step}",
        f"not taken over: {', '.join(found.left) or 'nothing was left'}; learning rates follow from the settings",
        f"`pipeline run` with the same options continues at {where}",
    ]
    return "\n".join(lines)
