"""The training stage, as the orchestrator knows it; torch is imported only when it really trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.errors import IntegrityError, UsageError
from pipeline.records import StageRecord
from pipeline.stage import KeptWork, ProgressReport, ProgressRow, StageContext, StageResult
from pipeline.workload import Workload
from pipeline.workspace import Workspace
from stages.foreseen import Foreseen
from stages.training.config import TrainingConfig

if TYPE_CHECKING:  # a run that finds everything done looks at no checkpoint
    from stages.training.checkpoints import Checkpoint
    from stages.training.progress import ResumePosition, TrainingProgressTracker

_DECIDE_TIME = ("task", "batch_size", "precision", "deterministic", "compile")  # how long one sample takes


class TrainingStage:
    """Trains the task of its settings on the chunks of another stage; its output of kind `weights` is the model.

    Args:
        data_stage: the stage whose outputs of the kinds `train` and `validation` are the chunks, and whose `manifest`
            lists them.
        foreseen: what is known of these chunks before they are there, for estimates.
    """

    name = "training"
    version = 1
    reruns_on_code_change = False

    def __init__(
        self, config: TrainingConfig, *, data_stage: str = "data_generation", foreseen: Foreseen | None = None
    ) -> None:
        self.config = config
        self._data_stage = data_stage
        self._foreseen = foreseen

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """What of the data stage determines the result; the manifest only repeats what the chunks say."""
        return {self._data_stage: ("train", "validation")}

    @property
    def begins_early_on(self) -> tuple[str, ...]:
        """Return the data stage: chunks are trained on as they come."""
        return (self._data_stage,)

    def execute(self, context: StageContext) -> StageResult:
        """Train from the newest checkpoint, or from the start, to the end."""
        from stages.training.data import open_data
        from stages.training.work import run_training

        return run_training(context, self.config, data=open_data(context, stage=self._data_stage))

    def partial_work(self, context: StageContext) -> str:
        """Describe the newest checkpoint that has all its files, from its metadata alone."""
        from stages.training.progress import ResumePosition

        checkpoint = _newest(context)
        if checkpoint is None:
            return ""
        facts = checkpoint.metadata
        position = ResumePosition(facts.epoch, facts.chunk_id, facts.offset)
        return position.describe(global_step=facts.global_step, total_steps=facts.total_steps)

    def discard_partial_work(self, context: StageContext) -> None:
        """Remove the checkpoints and the live progress."""
        from stages.training.checkpoints import open_store
        from stages.training.progress import PROGRESS_NAME

        # By name, not the whole folder: what somebody else put there stays.
        files.remove(context.state_folder / PROGRESS_NAME)
        open_store(context).discard()

    def import_checkpoint(self, context: StageContext, path: Path) -> str:
        """Make a checkpoint to continue from of a file that torch.save wrote; raises UsageError or IntegrityError."""
        from stages.training.data import open_data
        from stages.training.importing import import_checkpoint

        return import_checkpoint(context, self.config, path, data=open_data(context, stage=self._data_stage))

    def progress_report(self, context: StageContext) -> ProgressReport | None:
        """Tell how far each epoch is trained, and each chunk of the current one."""
        from stages.training.progress import PROGRESS_NAME, TrainingProgressTracker

        tracker = TrainingProgressTracker(context.state_folder / PROGRESS_NAME, seed=self.config.seed)
        try:
            if not tracker.load():
                return None
        except IntegrityError:
            return None  # a live copy for people: the checkpoints hold what counts
        checkpoint = _newest(context)
        counts = self._chunk_counts(context)
        total_steps = self.config.epochs * -(-sum(counts) // self.config.batch_size)
        position = tracker.get_resume_position()
        return ProgressReport(
            title=position.describe(global_step=tracker.global_step, total_steps=total_steps),
            summary={
                **tracker.get_statistics(),
                "epochs": self.config.epochs,
                "total_steps": total_steps,
                "checkpoint_step": checkpoint.metadata.global_step if checkpoint else 0,
            },
            rows=(
                *_epoch_rows(tracker, position, num_epochs=self.config.epochs, num_samples=sum(counts)),
                *_chunk_rows(tracker, position, counts=counts, seed=self.config.seed),
            ),
            document=tracker.state_dict(),
        )

    def leavings(self, workspace: Workspace, kept: KeptWork) -> Iterable[Path]:
        """Return the checkpoints of finished trainings that would not serve to make their weights again."""
        from stages.training.leavings import find_leavings

        return find_leavings([workspace.records.path_of(record).with_suffix("") for record in kept.records])

    def workload(self, context: StageContext | None) -> Workload | None:
        """Return the samples that are still to be trained on, an early stop aside."""
        if self._foreseen is None:
            return None
        checkpoint = _newest(context) if context else None
        facts = checkpoint.metadata if checkpoint else None
        left = 1 - facts.global_step / facts.total_steps if facts else 1.0
        num_samples = left * self.config.epochs * self._foreseen.num_train
        return Workload(amount=num_samples, unit="samples", is_saved=True)

    def workload_of(self, record: StageRecord, before: Mapping[str, StageRecord]) -> Workload | None:
        """Return the samples that `record` was trained on, if a sample took as long as it would now."""
        if self._foreseen is None or not self._foreseen.has_data_like(before.get(self._data_stage)):
            return None
        own = self.config.model_dump(mode="json")
        is_alike = all(record.config.get(name) == own[name] for name in _DECIDE_TIME)
        if not is_alike:
            return None
        return Workload(amount=record.metrics["samples"], unit="samples", is_saved=True)

    def _chunk_counts(self, context: StageContext) -> list[int]:
        """Return the sizes of the chunks, as far as the data stage has a record; else nothing."""
        from stages.training.data import open_data

        try:
            return list(open_data(context, stage=self._data_stage).train.counts)
        except (KeyError, FileNotFoundError, IntegrityError, UsageError):
            return []


def _epoch_rows(
    tracker: TrainingProgressTracker, position: ResumePosition, *, num_epochs: int, num_samples: int
) -> Iterator[ProgressRow]:
    this_epoch = tracker.get_statistics()["samples_this_epoch"]
    for epoch in range(num_epochs):
        done = num_samples if epoch < position.epoch else this_epoch if epoch == position.epoch else 0
        yield ProgressRow(name=f"epoch {epoch}", done=done, total=num_samples)


def _chunk_rows(
    tracker: TrainingProgressTracker, position: ResumePosition, *, counts: list[int], seed: int
) -> Iterator[ProgressRow]:
    from stages.chunks.order import EpochOrder  # NumPy: not loaded by commands that only judge the stage

    order = EpochOrder(counts=counts, seed=seed, epoch=position.epoch, is_shuffled=True)
    for chunk_id in order.chunks.tolist():
        is_current = chunk_id == position.chunk_id and not tracker.should_skip_chunk(chunk_id)
        yield ProgressRow(
            name=f"chunk {chunk_id}",
            done=tracker.get_chunk_offset(chunk_id),
            total=counts[chunk_id],
            note="in progress" if is_current else "",
        )


def _newest(context: StageContext) -> Checkpoint | None:
    from stages.training.checkpoints import open_store

    found = (item for item in reversed(open_store(context).checkpoints()) if item.is_complete)
    return next(found, None)
