"""The training loop: validate, save, stop?, done?, one step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch.nn.utils import get_total_norm

from pipeline.stream import Withheld
from stages.chunks.reader import Batch
from stages.task import Tensors
from stages.training.clipping import clip_gradients
from stages.training.history import Entry
from stages.training.meter import TOTAL
from stages.training.saving import Saver
from stages.training.session import Session


def train(session: Session) -> None:
    """Train until the epochs are over, or early stopping ends it; the final state is then saved.

    Whether a validation is still to be done follows from the position and the history, so it is done exactly once
    wherever a kill falls: before it, the position is restored without its entry; after it, with it.

    Raises:
        Interrupted: a stop was asked for; the state is saved, if there was time.
        BadStepError: a step was not finite; nothing of it is saved.
        ResourceExhausted, IntegrityError, OSError: a save in flight has met it.
    """
    with Saver(session) as saver:
        while True:
            # Both come before the look at the stop flag: whoever stops here finds all that was done in a checkpoint, as
            # long as SIGKILL leaves the time for it.
            is_validated = _is_validation_pending(session) and _finish_mini_epoch(session)
            is_stopping, is_done = session.context.stop.is_set, _is_done(session)
            if is_validated or is_stopping or saver.is_due():
                saver.save(is_final=is_done)
            if is_stopping or is_done:
                saver.finish()
                session.context.stop.check(where=f"{_where(session)}{saver.lost_steps}")
            if is_done:
                return
            try:
                batch = session.feed.next(session.tracker.get_resume_position())
            except Withheld:  # its chunk is not there yet, and a stop was asked for, which is met at the top
                continue
            if batch is None:
                # Not an optimizer step, so no step is counted; back to the top, where the epoch's end may be a
                # boundary that no batch has shown yet, because the chunks at the end of the epoch are missing.
                _commit_epoch(session)
                continue
            saver.before_step()
            _step(session, batch)
            saver.after_step()


def _is_validation_pending(session: Session) -> bool:
    return _mini_epochs(session) > session.history.mini_epoch


def _is_done(session: Session) -> bool:
    # What changes only at the end of a mini-epoch comes first: this is asked before each step.
    num_mini_epochs = session.config.epochs * session.mini_epochs.per_epoch
    is_over = session.history.mini_epoch >= num_mini_epochs or session.history.is_stopping
    return is_over and not _is_validation_pending(session)


def _finish_mini_epoch(session: Session) -> bool:
    """Validate and enter the mini-epoch into the history; return False if a stop was asked for meanwhile."""
    session.guard.settle()
    figures: dict[str, float | None] | None = {}
    if session.validator is not None:
        session.telemetry.begin_validation()
        figures = session.validator.run(
            session.learner.average.model,
            rng=session.rng,
            stop=session.context.stop,
            on_batch=session.telemetry.after_validation_batch,
        )
        session.telemetry.end_validation()
    if figures is None:
        return False
    # From here to the save nothing can fail half-way: history, mean and weights of this mini-epoch go together.
    session.meter.restart()
    position = session.tracker.get_resume_position()
    entry = Entry(
        mini_epoch=_mini_epochs(session),
        epoch=position.epoch,
        global_step=session.tracker.global_step,
        lr=session.learner.schedule.lr,
        losses=session.meter.means(),
        figures=figures,
    )
    session.history.add(entry)
    _tell(session, entry)
    return True


def _step(session: Session, batch: Batch) -> None:
    """Take one optimizer step, and commit the position after it."""
    learner = session.learner
    step = session.tracker.global_step + 1
    terms, loss = session.micro_batches.backward(batch, step=step)
    # From here on nothing is begun again for want of memory: it would be a step taken in part.
    learner.scaler.unscale_(learner.optimizer)
    norm = get_total_norm([parameter.grad for parameter in learner.parameters if parameter.grad is not None])
    # Before clipping, which would turn one infinite gradient into NaN everywhere, and before the optimizer.
    known = session.guard.observe(loss=loss, norm=norm, step=step, sample_ids=batch.sample_ids.tolist())
    clip_gradients(learner.parameters, session.config.gradient_clip_norm, norm=norm, known=known)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.schedule.step()
    learner.average.after_step()
    session.meter.add(terms, total=loss)
    # Last, when weights, schedule, averages and sums have all moved: the position never runs ahead of them.
    _commit_step(session, batch, step=step, loss=loss)
    session.telemetry.after_step(batch, step=step, figures=partial(_figures, session, terms, loss))


def _commit_step(session: Session, batch: Batch, *, step: int, loss: torch.Tensor) -> None:
    """Make the samples of a batch trained ones: from here on the position lies behind them."""
    before = _mini_epochs(session)
    for segment, num_samples in zip(batch.segments, _samples_of_segments(session, batch), strict=True):
        session.tracker.update(
            global_step=step,
            epoch=batch.epoch,
            chunk_id=segment.chunk_id,
            offset=segment.offset + segment.span,
            samples_in_batch=num_samples,
            chunk_size=segment.chunk_size,
        )
        if segment.offset + segment.span >= segment.chunk_size:
            session.chunk_log.end_chunk(segment.chunk_id, loss=loss)
    _after_mini_epoch(session, before=before)


def _commit_epoch(session: Session) -> None:
    before = _mini_epochs(session)
    session.chunk_log.end_epoch()
    session.tracker.mark_epoch_complete()
    _after_mini_epoch(session, before=before)


def _after_mini_epoch(session: Session, *, before: int) -> None:
    # Part of the commit, not of the validation, which may be broken off and repeated: averaged exactly once.
    if _mini_epochs(session) > before:
        session.learner.average.after_mini_epoch(global_step=session.tracker.global_step)


def _mini_epochs(session: Session) -> int:
    return session.mini_epochs.completed(session.tracker.get_resume_position())


def _samples_of_segments(session: Session, batch: Batch) -> Sequence[int]:
    """Return how many samples of each segment are in the batch: all positions but those of left-out samples."""
    spans = [segment.span for segment in batch.segments]
    # Nearly always; the other way costs a comparison for each sample.
    if sum(spans) == len(batch.sample_ids):
        return spans
    ranges = [session.data.train.sample_ids(segment.chunk_id) for segment in batch.segments]
    ids = batch.sample_ids
    return [int(np.count_nonzero((ids >= chunk.start) & (ids < chunk.stop))) for chunk in ranges]


def _figures(session: Session, terms: Tensors, loss: torch.Tensor) -> dict[str, float]:
    """Read the figures of a step; on CUDA this waits for the device."""
    session.chunk_log.flush()
    named = {f"loss_{name}": round(float(value.detach()), 6) for name, value in terms.items()} if len(terms) > 1 else {}
    return {
        "loss": round(float(loss.detach()), 6),
        **named,
        "lr": session.learner.schedule.lr,
        "gradient_norm": session.guard.norm,
    }


def _tell(session: Session, entry: Entry) -> None:
    figures = {name: value for name, value in entry.figures.items() if value is not None}
    session.telemetry.recall_validation(entry.figures)
    session.telemetry.point(entry.global_step, {f"validation_{name}": value for name, value in figures.items()})
    total = session.config.epochs * session.mini_epochs.per_epoch
    shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    session.context.info(
        f"mini-epoch {entry.mini_epoch} of {total} (epoch {entry.epoch}, step {entry.global_step} of "
        f"{session.total_steps}): loss {entry.losses.get(TOTAL, 0.0):.4f}, lr {entry.lr:.2e}"
        f"{f'; validation: {shown}' if shown else ''}{', the best so far' if session.history.is_newest_best else ''}"
    )


def _where(session: Session) -> str:
    position = session.tracker.get_resume_position()
    return position.describe(global_step=session.tracker.global_step, total_steps=session.total_steps)
