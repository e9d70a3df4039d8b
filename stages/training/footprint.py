"""How many bytes the checkpoints of a training take, known before the first is made."""

from __future__ import annotations

from pipeline.space import require_space
from stages.training.config import OptimizerConfig, TrainingConfig
from stages.training.learner import Learner
from stages.training.session import Session

# Of a checkpoint: generators (15 KiB), JSON and file headers, together 22 KiB for the smallest model.
_BYTES_BESIDE_TENSORS = 1 << 16


def require_room(session: Session) -> None:
    """Raise ResourceExhausted where all checkpoints that there will be, and one in the making, do not fit on the disk.

    What those take that are there is given back as newer ones come; a training that is over makes none.
    """
    newest = session.store.preferred()
    if newest is not None and newest.metadata.is_final:
        return
    size = checkpoint_bytes(session.learner, session.config)
    num_most = session.context.runtime.keep_checkpoints + 1  # with the best
    there = sum(
        stored.size for checkpoint in session.store.checkpoints() for stored in checkpoint.metadata.files.values()
    )
    require_space(
        session.store.folder,
        num_bytes=max((num_most + 1) * size - there, size),
        what=f"training keeps {num_most} checkpoints of {size} bytes, and writes another beside them; it",
        hint="lower runtime.keep_checkpoints",
    )


def checkpoint_bytes(learner: Learner, config: TrainingConfig) -> int:
    """Return the bytes of a checkpoint when the optimizer has begun, and the average too."""
    tensors = sum(int(tensor.nbytes) for tensor in learner.model.state_dict().values())
    moments = _num_moments(config.optimizer) * sum(int(parameter.nbytes) for parameter in learner.parameters)
    averages = 0 if config.averaging.method == "none" else tensors
    return tensors + averages + moments + _BYTES_BESIDE_TENSORS


def _num_moments(config: OptimizerConfig) -> int:
    """Return how many numbers the optimizer keeps for each weight."""
    if config.name == "adamw":
        return 2
    return 1 if config.momentum else 0
