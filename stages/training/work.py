"""The work of the training stage in this process: sessions until one comes to its end."""

from __future__ import annotations

from pipeline.memory import telling_of_memory
from pipeline.stage import StageContext, StageResult
from stages.allocator import keeping_freed_memory
from stages.determinism import numerics
from stages.training.config import TrainingConfig
from stages.training.data import TrainingData
from stages.training.footprint import require_room
from stages.training.guard import BadStepError, Rollbacks
from stages.training.loop import train
from stages.training.outcome import deliver
from stages.training.session import open_session


def run_training(context: StageContext, config: TrainingConfig, *, data: TrainingData) -> StageResult:
    """Train to the end and deliver; start, continuation and return to the last good checkpoint are one path.

    Raises:
        Interrupted: a stop was asked for; the state is saved.
        StageFailed: a step is not finite, however often it is taken from the last good checkpoint.
        IntegrityError: too many samples are lost.
        ResourceExhausted: out of disk, or of memory of the host or the device; the last checkpoint stands.
    """
    # Outside of the session, which goes back with everything in it: this count must not.
    rollbacks = Rollbacks(config.guard.max_rollbacks)
    with (
        telling_of_memory(hint=_hint(config)),
        numerics(is_deterministic=config.deterministic),
        keeping_freed_memory(),
    ):
        while True:
            try:
                with open_session(context, config, data=data) as session:
                    require_room(session)
                    train(session)
                    return deliver(session)
            except BadStepError as bad:
                context.warn(rollbacks.note(bad))


def _hint(config: TrainingConfig) -> str:
    tried = "" if config.on_oom == "accumulate" else ", or take batches in parts with --set training.on_oom=accumulate"
    return (
        "the last checkpoint stands: free memory and run the same command again; or, as a training of its own, use a "
        f"smaller --batch-size{tried}"
    )
