"""When a checkpoint is due, and making one."""

from __future__ import annotations

from stages.training.checkpoints import TrainingFacts
from stages.training.meter import TOTAL
from stages.training.session import Session

# Of the longest save so far. All that runs on a machine gets its SIGTERM together and then saves together, on a disk
# that was free before. More would give away saves that fit; one that does not fit harms nothing, for it is atomic, but
# the run then ends without a word.
_SAVE_MARGIN = 1.5


class Saver:
    """Saves a session; twice at the same point only if something happened in between."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._saved = self._point()
        self._longest_seconds = 0.0  # of a save; 0: not known yet, and then it is tried

    def is_due(self) -> bool:
        """Whether a checkpoint between two mini-epochs was asked for, by steps or by seconds, and is due."""
        session = self._session
        every_steps = session.context.runtime.checkpoint_interval_steps
        every_seconds = session.context.runtime.checkpoint_interval_seconds
        is_step = every_steps > 0 and session.tracker.global_step % every_steps == 0
        return is_step or (every_seconds > 0 and session.telemetry.seconds_since_save >= every_seconds)

    def save(self, *, is_final: bool) -> None:
        """Write a checkpoint, unless the newest is of this very point or SIGKILL would come before the end.

        Raises:
            BadStepError: what would be saved is not finite.
            IntegrityError: what would be saved was trained on data that were altered meanwhile.
        """
        session = self._session
        # A stop right after a mini-epoch finds its checkpoint already made.
        if self._point() == self._saved or not self._is_time_left():
            return
        clock = session.context.stop.clock
        started = clock()
        # A gradient can be finite and its step still overflow: both are looked at before good state is followed.
        session.guard.settle()
        session.guard.check_state(session.state)
        session.feed.require_unaltered()
        session.store.save(session.state.files(), self._facts(is_final=is_final))
        session.telemetry.after_save()
        self._saved = self._point()
        self._longest_seconds = max(self._longest_seconds, clock() - started)

    @property
    def lost_steps(self) -> str:
        """Tell how many steps a process that ends now has taken since its last checkpoint; empty for none."""
        num_steps = self._session.tracker.global_step - self._saved[0]
        if not num_steps:
            return ""
        last = f"the checkpoint of step {self._saved[0]}" if self._saved[0] else "the start"
        return f"; it goes on from {last}, and {num_steps} step{'s' * (num_steps > 1)} will be done again"

    def _is_time_left(self) -> bool:
        context = self._session.context
        grace = context.runtime.grace_seconds
        left = context.stop.seconds_left(grace)
        if not self._longest_seconds or self._longest_seconds * _SAVE_MARGIN <= left:
            return True
        context.warn(
            f"not saved: {max(left, 0.0):.1f} s are left of the {grace:g} s between SIGTERM and SIGKILL "
            f"(runtime.grace_seconds), and a save has taken {self._longest_seconds:.1f} s"
        )
        return False

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
