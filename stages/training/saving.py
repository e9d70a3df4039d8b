"""When a checkpoint is due, and making one while training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType

from pipeline.sealed import save_sealed
from stages.training.background import Background
from stages.training.cadence import Cadence
from stages.training.checkpoints import TrainingFacts
from stages.training.guard import BadStepError
from stages.training.meter import TOTAL
from stages.training.session import Session
from stages.training.snapshot import HostMemory, Snapshot

# Of the longest save so far. All that runs on a machine gets its SIGTERM together and then saves together, on a disk
# that was free before. More would give away saves that fit; one that does not fit harms nothing, for it is atomic, but
# the run then ends without a word.
_SAVE_MARGIN = 1.5
_LIVE_COPY_SECONDS = 1.0  # each copy costs an fsync, a few milliseconds on a disk that has nothing else to do


class Saver:
    """Saves a session; twice at the same point only if something happened in between.

    Training stops only for a copy of its state into memory that is used again. The copy is looked through and written
    in the background, one save at a time: the next waits for the one in flight. When the block is left, all that was
    begun is durable.

    Attributes:
        cadence: what saves cost, and when the next is due.
        write_seconds: from the beginning of the newest one until it was durable.
    """

    def __init__(self, session: Session) -> None:
        runtime = session.context.runtime
        self._session = session
        self._clock = session.context.stop.clock
        self._background = Background(is_inline=not runtime.background_saves)
        self._memory = HostMemory(session.learner.batches.device)
        self.cadence = Cadence(runtime)
        self._saved = self._point()
        self._is_prepared = False
        self._longest_seconds = self.write_seconds = 0.0  # of a save; 0: not known yet, and then it is tried
        self._copied_at = self._now = self._clock()  # when the live copy was made, and the last step ended

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for what is in flight; its error replaces one of the block, which came later."""
        self._background.close()

    def before_step(self) -> None:
        """Take note that the batch of the next step is there; while data are still being made, it was waited for."""
        if self._session.context.streams:
            self._now = self._clock()

    def after_step(self) -> None:
        """Take note of a step, and raise what a save in flight has met."""
        before, self._now = self._now, self._clock()
        self.cadence.after_step(self._now - before)
        if self.is_writing:
            return
        self.finish()
        if not self._is_prepared:
            # What there is to save is known after a first step. Memory that nobody has used takes ten times as long to
            # fill, so that is not left to the first save.
            self._in_background(self._session.state.memory_for(self._memory))
            self._is_prepared = True
        elif self._now - self._copied_at >= _LIVE_COPY_SECONDS:
            tracker = self._session.tracker
            self._in_background(partial(save_sealed, tracker.path, tracker.state_dict()))
            # The time after it: where the disk takes a second to sync, half the time still belongs to training.
            self._copied_at = self._now = self._clock()

    def is_due(self) -> bool:
        """Whether a checkpoint between two mini-epochs is due, by steps, by seconds, or by what saves cost."""
        return self.cadence.is_due(step=self._session.tracker.global_step, is_writing=self.is_writing)

    def save(self, *, is_final: bool) -> None:
        """Begin to write a checkpoint, unless the newest is of this very point or SIGKILL would come before the end.

        Raises:
            BadStepError: what was to be saved is not finite, now or at the save before.
            IntegrityError: what would be saved was trained on data that were altered meanwhile.
        """
        session = self._session
        # A stop right after a mini-epoch finds its checkpoint already made.
        if self._point() != self._saved:
            session.guard.settle()
            session.chunk_log.flush()  # a run that goes on from here does not tell of these chunks again
            started = self._clock()
            self.finish()
            if self._is_time_left():
                session.feed.require_unaltered()
                self._begin(started, is_final=is_final)
                self.cadence.begin_save(blocked_seconds=self._clock() - started)
                if not self.is_writing:
                    self.finish()
        # What was done since the last step, a validation for the most part, is no part of the next one.
        self._now = self._clock()

    @property
    def is_writing(self) -> bool:
        """Whether something is in flight."""
        return self._background.is_busy

    def finish(self) -> None:
        """Wait until what was begun is durable; raises what it has met."""
        self._background.wait()
        self.cadence.end_save(write_seconds=self.write_seconds)

    def _begin(self, started: float, *, is_final: bool) -> None:
        session = self._session
        snapshot = session.state.snapshot(self._memory)
        facts, progress = self._facts(is_final=is_final), session.tracker.state_dict()
        newest_step, sample_ids = session.guard.newest

        def write() -> None:
            contents = _finite_contents(snapshot, step=newest_step, sample_ids=sample_ids)
            saved = session.store.save(contents, facts).metadata
            # Brings all that others read to where the new checkpoint is.
            save_sealed(session.tracker.path, progress)
            self.write_seconds = self._clock() - started
            self._longest_seconds = max(self._longest_seconds, self.write_seconds)
            session.context.checkpoint(
                step=saved.global_step,
                num_bytes=sum(file.size for file in saved.files.values()),
                seconds=round(self.write_seconds, 3),
            )

        self._in_background(write)
        self._saved = self._point()
        self._copied_at = self._clock()
        session.telemetry.after_save()

    def _in_background(self, work: Callable[[], None]) -> None:
        stop = self._session.context.stop

        def work_and_tell() -> None:
            try:
                work()
            except BadStepError:
                raise  # training goes back to before it, and goes on
            except Exception as error:
                stop.fail(error)  # training may be waiting for data, and looks at nothing else meanwhile
                raise

        self._background.begin(work_and_tell)

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


def _finite_contents(
    snapshot: Snapshot, *, step: int, sample_ids: Sequence[int]
) -> Iterator[tuple[str, bytes | memoryview]]:
    """Yield names and bytes of the files; at the end, before the checkpoint is whole, raise BadStepError.

    That is where a gradient was finite and its step still overflowed: it follows no good state.
    """
    snapshot.settle()
    # Beside the writing, during which a disk works and no core.
    with ThreadPoolExecutor(1, thread_name_prefix="finite") as threads:
        name = threads.submit(snapshot.not_finite)
        yield from snapshot.contents()
        if name.result():
            raise BadStepError(f"{name.result()} is not finite", step=step, sample_ids=sample_ids)
