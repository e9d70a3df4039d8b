"""One training in this process: everything that the loop works with, started or continued by the same path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch

from pipeline.errors import IntegrityError, UsageError
from pipeline.stage import StageContext
from stages.chunks.reader import ChunkReader, Chunks
from stages.device import choose_device
from stages.training.checkpoints import Checkpoint, CheckpointStore, open_store
from stages.training.chunk_log import ChunkLog
from stages.training.compiling import Wish
from stages.training.config import TrainingConfig
from stages.training.data import TrainingData
from stages.training.device import DeviceBatches
from stages.training.environment import Environments, describe_environment, environment_changes
from stages.training.feed import Feed
from stages.training.ground import Ground, require_ground
from stages.training.guard import Guard
from stages.training.history import History
from stages.training.learner import Learner, build_learner
from stages.training.meter import LossMeter
from stages.training.micro_batches import MicroBatches
from stages.training.mini_epochs import MiniEpochs
from stages.training.optimizer import OptimizerState
from stages.training.precision import has_bf16, resolve_precision
from stages.training.progress import PROGRESS_NAME, TrainingProgressTracker
from stages.training.rng import RngState
from stages.training.skipped import SkippedSamples
from stages.training.state import Stateful, TrainState, require_finite
from stages.training.telemetry import Telemetry
from stages.training.validation import Validator

_LATER_PARTS = frozenset({"micro_batches", "environments", "ground"})  # checkpoints of the first format do without
_GUARD_WINDOW_CUDA = 16  # steps whose finiteness is asked for together


@dataclass(frozen=True, kw_only=True)
class Session:
    """A training in progress."""

    context: StageContext
    config: TrainingConfig
    data: TrainingData
    learner: Learner
    rng: RngState
    tracker: TrainingProgressTracker
    history: History
    meter: LossMeter
    chunk_log: ChunkLog
    guard: Guard
    micro_batches: MicroBatches
    skipped: Mapping[str, SkippedSamples]
    feed: Feed
    validator: Validator | None
    mini_epochs: MiniEpochs
    store: CheckpointStore
    telemetry: Telemetry
    environment: Mapping[str, Any]
    environments: Environments
    total_steps: int

    @cached_property
    def state(self) -> TrainState:
        """All that the next step reads; its parts are these same objects."""
        learner, averaging = self.learner, self.config.averaging.method
        parts: dict[str, Stateful] = {
            "model": learner.model,
            "optimizer": OptimizerState(learner.optimizer),
            "schedule": learner.schedule,
            **({} if averaging == "none" else {averaging: learner.average}),
            "scaler": learner.scaler,
            "progress": self.tracker,
            "history": self.history,
            "losses": self.meter,
            "guard": self.guard,
            "micro_batches": self.micro_batches,
            "environments": self.environments,
            "skipped": self.skipped["train"],
            "skipped_validation": self.skipped["validation"],
            "ground": Ground(self.data, self.tracker, self.history),
            "rng": self.rng,  # last: nothing may draw between this and the first step
        }
        return TrainState(parts, documents={"progress": PROGRESS_NAME}, later=_LATER_PARTS)


@contextmanager
def open_session(context: StageContext, config: TrainingConfig, *, data: TrainingData) -> Iterator[Session]:
    """Build a training from its seed, and continue from the newest checkpoint that verifies, where there is one.

    Raises:
        UsageError: there is nothing to train on, or no such device.
        IntegrityError: the checkpoint or the data are not those of this training; or, with `strict_env`, the
            checkpoint was made in another environment.
    """
    # The checkpoint comes first, because it decides the precision, and that decides what is built.
    store = open_store(context)
    device = choose_device(context.runtime.device)
    if context.runtime.strict_env and (preferred := store.preferred()):
        _require_same_environment(preferred, device)  # before what does not verify is set aside: nothing is touched
    found = store.newest(check=partial(_require_usable, data=data))
    if context.runtime.strict_env and found:
        _require_same_environment(found[0], device)
    precision = _precision(context, config, device, found[0] if found else None)
    wish = _compile_wish(config, found[0] if found else None)
    session = _build(context, config, data, store=store, device=device, precision=precision, compile_wish=wish)
    if found:
        _continue(session, *found)
        del found  # the bytes of a whole checkpoint, which would otherwise stay in memory to the end of the training
    if session.validator is None:
        context.warn("the data set has no validation split: no figures, no best checkpoint, no early stopping")
    # After the state is restored: files go on at its step.
    session.telemetry.start()
    try:
        yield session
    finally:
        session.telemetry.close()


def _build(
    context: StageContext,
    config: TrainingConfig,
    data: TrainingData,
    *,
    store: CheckpointStore,
    device: torch.device,
    precision: str,
    compile_wish: Wish,
) -> Session:
    """Return a training that is at its start; nothing but the seed decides its first weights."""
    chunks = {"train": data.train, "validation": data.validation}
    total_steps = _total_steps(config, data)
    # Before anything draws; also when a checkpoint then replaces the weights, so that there is one path.
    rng = RngState()
    rng.seed(config.seed)
    learner = build_learner(
        config,
        data.meta,
        device,
        precision=precision,
        total_steps=total_steps,
        compile_wish=compile_wish,
        warn=context.warn,
    )
    tracker = TrainingProgressTracker(context.state_folder / PROGRESS_NAME, seed=config.seed)
    meter = LossMeter(device)
    mini_epochs = MiniEpochs(data.train.counts, seed=config.seed, num_chunks=config.mini_epoch_chunks)
    skipped = {split: _skipped(context, config, chunks[split]) for split in chunks}
    readers = {split: _opening(config, split, chunks[split], skipped[split], learner.batches) for split in chunks}
    validator = Validator(learner.task, readers["validation"], learner.batches, metric=config.validation.metric)
    telemetry = _telemetry(
        context, config, data, tracker=tracker, mini_epochs=mini_epochs, device=device, total_steps=total_steps
    )
    environment = {**describe_environment(device, precision=precision), "compiled": learner.compiled is not None}
    environments = Environments()
    environments.begin(environment)
    return Session(
        context=context,
        config=config,
        data=data,
        learner=learner,
        rng=rng,
        tracker=tracker,
        history=History(config.validation, config.early_stopping),
        meter=meter,
        chunk_log=ChunkLog(context, tracker=tracker, meter=meter, mini_epochs=mini_epochs, device=device),
        guard=_guard(context, config, learner, device),
        micro_batches=MicroBatches(learner, config, rng, warn=context.warn),
        skipped=skipped,
        feed=Feed(readers["train"], rng),
        validator=validator if data.validation.counts else None,
        mini_epochs=mini_epochs,
        store=store,
        telemetry=telemetry,
        environment=environment,
        environments=environments,
        total_steps=total_steps,
    )


def _total_steps(config: TrainingConfig, data: TrainingData) -> int:
    counts = data.train.counts
    if not counts:
        raise UsageError(
            f"{data.train} has no chunks of the split 'train'", code="E0253", hint="nothing can be trained on it"
        )
    return config.epochs * -(-sum(counts) // config.batch_size)


def _telemetry(
    context: StageContext,
    config: TrainingConfig,
    data: TrainingData,
    *,
    tracker: TrainingProgressTracker,
    mini_epochs: MiniEpochs,
    device: torch.device,
    total_steps: int,
) -> Telemetry:
    return Telemetry(
        context,
        tracker,
        mini_epochs,
        device=device,
        total_steps=total_steps,
        num_epochs=config.epochs,
        validation_batches=-(-sum(data.validation.counts) // config.batch_size),
    )


def _guard(context: StageContext, config: TrainingConfig, learner: Learner, device: torch.device) -> Guard:
    window = 1 if device.type == "cpu" else _GUARD_WINDOW_CUDA
    return Guard(config.guard, window=window, scaler=learner.scaler, warn=context.warn)


def _require_usable(contents: Mapping[str, bytes], *, data: TrainingData) -> None:
    require_finite(contents)
    require_ground(contents, data)


def _continue(session: Session, checkpoint: Checkpoint, contents: Mapping[str, bytes]) -> None:
    if session.context.runtime.strict_env:
        _require_same(checkpoint, session.environment)  # whether there is a compiler is known only now
    # For a checkpoint that does not tell of all environments, the one in which it was made stands for them.
    session.environments.begin(checkpoint.metadata.environment)
    session.state.load(contents, without=frozenset() if checkpoint.has_optimizer else frozenset({"optimizer"}))
    if not checkpoint.metadata.is_final:
        session.environments.enter(session.environment, after_step=session.tracker.global_step)
    if session.history.entries:
        session.telemetry.recall_validation(session.history.entries[-1].figures)
    session.context.info(f"training continues from {checkpoint.path.name}")
    if changes := environment_changes(checkpoint.metadata.environment, session.environment):
        session.context.warn(
            "the checkpoint was made in another environment, so the result may differ in its last bits from that of "
            f"an uninterrupted run: {'; '.join(changes)}"
        )


def _require_same_environment(checkpoint: Checkpoint, device: torch.device) -> None:
    precision = str(checkpoint.metadata.environment.get("precision"))
    _require_same(checkpoint, describe_environment(device, precision=precision))


def _require_same(checkpoint: Checkpoint, environment: Mapping[str, Any]) -> None:
    if changes := environment_changes(checkpoint.metadata.environment, environment):
        raise IntegrityError(
            f"{checkpoint.path} was made in another environment: {'; '.join(changes)}",
            code="E0469",
            hint="go on in the environment in which it was made (OMP_NUM_THREADS sets the number of threads); or "
            "without --strict-env, where the result may differ in its last bits; or from zero with --force-train",
        )


def _precision(context: StageContext, config: TrainingConfig, device: torch.device, found: Checkpoint | None) -> str:
    """Return the precision of the run that is continued, else the one that the settings ask for."""
    # Kept from the checkpoint, even where this hardware would choose otherwise: half a run in another format has
    # the bits of neither.
    stored = found.metadata.environment.get("precision") if found else None
    precision = str(stored or resolve_precision(config.precision, device))
    if precision == "bf16" and not has_bf16(device):
        context.warn("this hardware does not compute in bf16 but emulates it: the run is slow here")
    return precision


def _compile_wish(config: TrainingConfig, found: Checkpoint | None) -> Wish:
    """Return whether to compile: as the run that is continued did, for the same reason as its precision is kept."""
    stored = found.metadata.environment.get("compiled") if found else None
    return config.compile if stored is None else "on" if stored else "off"


def _skipped(context: StageContext, config: TrainingConfig, chunks: Chunks) -> SkippedSamples:
    return SkippedSamples(
        num_samples=sum(chunks.counts),
        max_fraction=config.max_skipped_fraction,
        root=context.workspace.root,
        warn=context.warn,
    )


def _opening(
    config: TrainingConfig, split: str, chunks: Chunks, skipped: SkippedSamples, batches: DeviceBatches
) -> Callable[[], ChunkReader]:
    """Return what makes the reader of a split, once all state is restored."""
    return lambda: ChunkReader(
        chunks,
        batch_size=config.batch_size,
        seed=config.seed,
        is_shuffled=split == "train",
        skipped=skipped.sample_ids,
        on_damage=skipped.on_damage,
        pool=batches.new_pool(config.batch_size),
    )
