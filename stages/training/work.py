"""The work of the training stage in this process: sessions until one comes to its end."""

from __future__ import annotations

from pathlib import Path

from pipeline.stage import StageContext, StageResult
from stages.determinism import numerics
from stages.training.config import TrainingConfig
from stages.training.guard import BadStepError, Rollbacks
from stages.training.loop import train
from stages.training.outcome import deliver
from stages.training.session import open_session


def run_training(context: StageContext, config: TrainingConfig, *, manifest_path: Path) -> StageResult:
    """Train to the end and deliver; start, continuation and return to the last good checkpoint are one path.

    Raises:
        Interrupted: a stop was asked for; the state is saved.
        StageFailed: a step is not finite, however often it is taken from the last good checkpoint.
        IntegrityError: too many samples are lost.
    """
    # Outside of the session, which goes back with everything in it: this count must not.
    rollbacks = Rollbacks(config.guard.max_rollbacks)
    with numerics(is_deterministic=config.deterministic):
        while True:
            try:
                with open_session(context, config, manifest_path=manifest_path) as session:
                    train(session)
                    return deliver(session)
            except BadStepError as bad:
                context.warn(rollbacks.note(bad))
