"""When a checkpoint is due, and making one."""

from __future__ import annotations

from stages.training.checkpoints import TrainingFacts
from stages.training.meter import TOTAL
from stages.training.session import Session


class Saver:
    """Saves a session; twice at the same point only if something happened in between."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._saved = self._point()

    def is_due(self) -> bool:
        """Whether a checkpoint between two mini-epochs was asked for, by steps or by seconds, and is due."""
        session = self._session
        every_steps = session.context.runtime.checkpoint_interval_steps
        every_seconds = session.context.runtime.checkpoint_interval_seconds
        is_step = every_steps > 0 and session.tracker.global_step % every_steps == 0
        return is_step or (every_seconds > 0 and session.telemetry.seconds_since_save >= every_seconds)

    def save(self, *, is_final: bool) -> None:
        """Write a checkpoint, unless the newest is of this very point; raises BadStepError before one that is bad."""
        session = self._session
        # A stop right after a mini-epoch finds its checkpoint already made.
        if self._point() == self._saved:
            return
        # A gradient can be finite and its step still overflow: both are looked at before good state is followed.
        session.guard.settle()
        session.guard.check_weights(session.learner.model)
        session.store.save(session.state.files(), self._facts(is_final=is_final))
        session.telemetry.after_save()
        self._saved = self._point()

    def _point(self) -> tuple[int, int]:
        return self._session.tracker.global_step, len(self._session.history.entries)

    def _facts(self, *, is_final: bool) -> TrainingFacts:
        session = self._session
        epoch, chunk_id, offset = session.tracker.get_resume_position()
        newest_step = session.history.entries[-1].global_step if session.history.entries else -1
        return TrainingFacts(
            global_step=session.tracker.global_step,
            total_steps=session.total_steps,
            epoch=epoch,
            chunk_id=chunk_id,
            offset=offset,
            loss=session.meter.means().get(TOTAL, 0.0),
            is_best=session.history.is_newest_best and newest_step == session.tracker.global_step,
            is_final=is_final,
            config=session.config.model_dump(mode="json"),
            environment=dict(session.environment),
        )
