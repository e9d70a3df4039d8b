"""What a stage is to the orchestrator: a few names, a config, and one method that does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipeline.config import RuntimeOptions, StageConfig
from pipeline.events import Event, Kind, Reporter
from pipeline.fingerprint import digest_json
from pipeline.interrupts import StopFlag
from pipeline.records import Artifact, StageRecord, Target, run_key
from pipeline.stream import Stream
from pipeline.workspace import Workspace


def _nobody_waits(_name: str, _facts: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """All that a stage is given to work with.

    Attributes:
        run: name of the whole run, `<profile>-<hash8>`; its results go to `results_folder`.
        settings: the settings of all stages, for results that must tell them; never read to decide what to compute.
        inputs: the records of the upstream stages, by name.
        input_digests: the digest of each input, upstream stages and external files alike; of an upstream stage that
            is still at work it is that of its promise.
        promised_digest: what `inputs_digest` was, or would have been, while they were still being made; empty where
            the stage begins only when they are there.
        streams: what upstream stages that are still at work have made so far, by name; such a stage is not in `inputs`.
        release: tells those who wait for it that an output is there, by a name that `promise` makes known, with facts
            about it, a JSON object; see `ReleasesEarly`.
    """

    stage: str
    run: str
    profile: str
    workspace: Workspace
    config_hash: str
    input_digests: Mapping[str, str]
    inputs: Mapping[str, StageRecord]
    settings: Mapping[str, Any]
    runtime: RuntimeOptions
    reporter: Reporter
    stop: StopFlag
    promised_digest: str = ""
    streams: Mapping[str, Stream] = field(default_factory=dict)
    release: Callable[[str, Mapping[str, Any]], None] = _nobody_waits

    @property
    def inputs_digest(self) -> str:
        """The digest of all inputs together; empty for a stage that has none."""
        return digest_json(dict(self.input_digests)) if self.input_digests else ""

    @property
    def results_folder(self) -> Path:
        """Where this run leaves what its user wants."""
        return self.workspace.results / self.run

    @property
    def work_digest(self) -> str:
        """The inputs digest under which half-done work is kept: until it is done it stays where it began."""
        promised = self._work_folder(self.promised_digest)
        is_promised = self.promised_digest and promised.is_dir() and not self._work_folder(self.inputs_digest).is_dir()
        return self.promised_digest if is_promised else self.inputs_digest

    @property
    def state_folder(self) -> Path:
        """Where the stage may keep state to continue from: `checkpoints/<stage>/<run key>/`."""
        return self._work_folder(self.work_digest)

    @property
    def record_path(self) -> Path:
        """Where the record of what the stage did with these inputs is, once it is done."""
        return self.workspace.records.path(self.stage, config_hash=self.config_hash, inputs_digest=self.inputs_digest)

    def _work_folder(self, inputs_digest: str) -> Path:
        return self.workspace.checkpoints / self.stage / run_key(self.config_hash, inputs_digest)

    def input_paths(self, stage: str, kind: str) -> tuple[Path, ...]:
        """Return the files of one kind that the upstream stage `stage` left."""
        artifacts = self.inputs[stage].artifacts
        return tuple(self.workspace.resolve(artifact.path) for artifact in artifacts if artifact.kind == kind)

    def progress(self, done: int, total: int, unit: str, **figures: Any) -> None:
        """Tell how far the stage is: `done` of `total` `unit`s, with figures to show beside it."""
        self._emit(Kind.PROGRESS, done=done, total=total, unit=unit, figures=figures)

    def metrics(self, step: int, **values: float) -> None:
        """Tell measured values at a training step, for curves."""
        self._emit(Kind.METRICS, step=step, **values)

    def chunk(
        self, *, epoch: int, chunk: int, done: int, total: int, samples: int, skipped: int, loss: float | None
    ) -> None:
        """Tell that a chunk of an epoch was trained to its end.

        Args:
            epoch: counts from 0.
            chunk: its number.
            done: how many chunks of this epoch are behind, this one included, of `total`.
            total: how many chunks an epoch has.
            samples: how many of its samples were trained.
            skipped: how many were left out.
            loss: the mean over the steps that began in it; None where there was none.
        """
        self._emit(
            Kind.CHUNK,
            epoch=epoch,
            chunk=chunk,
            done=done,
            total=total,
            samples=samples,
            skipped=skipped,
            loss=loss,
        )

    def checkpoint(self, *, step: int, num_bytes: int, seconds: float) -> None:
        """Tell that a training checkpoint is durable, `seconds` after the state of that step was copied for it."""
        self._emit(Kind.CHECKPOINT, step=step, num_bytes=num_bytes, seconds=seconds)

    def wait(self, text: str, *, is_over: bool) -> None:
        """Tell that the stage waits for what another one makes, or goes on after that; people are told once."""
        self._emit(Kind.WAIT, text=text, is_over=is_over)

    def info(self, text: str) -> None:
        """Tell something worth a line."""
        self._emit(Kind.INFO, text=text)

    def warn(self, text: str) -> None:
        """Tell something that the user should look at."""
        self._emit(Kind.WARNING, text=text)

    def _emit(self, kind: Kind, **data: Any) -> None:
        self.reporter.emit(Event(kind, self.stage, data))


@dataclass(frozen=True)
class Output:
    """A file that the stage made, and what it is for.

    Attributes:
        xxh3: digest of the bytes that were to be written, where the stage has it: what is on disk must have the same.
    """

    kind: str
    path: Path
    xxh3: str = ""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a finished stage reports; the orchestrator digests the outputs and writes the record.

    Attributes:
        tolerated_damage: workspace-relative paths of inputs that were found damaged, left out and warned of; an input
            that changed while the stage ran and is not among them makes it fail.
    """

    outputs: Sequence[Output]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    targets: Sequence[Target] = ()
    warnings: Sequence[str] = ()
    tolerated_damage: Sequence[str] = ()


class Stage(Protocol):
    """A unit of work whose result is determined by its config and its inputs.

    Attributes:
        version: raised when the same config would give other bytes.
        inputs: for each upstream stage the kinds of its artifacts that are consumed; an empty tuple means all.
        reruns_on_code_change: whether an edit of its code makes it run again, rather than warn.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def config(self) -> StageConfig: ...  # noqa: D102
    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102
    @property
    def reruns_on_code_change(self) -> bool: ...  # noqa: D102

    def execute(self, context: StageContext) -> StageResult:
        """Do what is still to be done and return the result; start and continuation are one path.

        Raises:
            Interrupted: a stop was asked for; all that was done is saved.
            PipelineError: it cannot be done; all that was done is kept.
        """


@runtime_checkable
class Resumable(Protocol):
    """A stage whose half-done work is worth keeping."""

    def partial_work(self, context: StageContext) -> str:
        """Describe in a few words the valid work from which `execute` would continue; empty if there is none."""

    def discard_partial_work(self, context: StageContext) -> None:
        """Remove it, so that `execute` starts from zero."""


@runtime_checkable
class Repairable(Protocol):
    """A stage that can make some of its artifacts again without the rest."""

    def can_repair(self, damaged: Sequence[Artifact]) -> bool:
        """Return whether `repair` can mend exactly these."""

    def repair(self, context: StageContext, damaged: Sequence[Artifact]) -> StageResult:
        """Make the damaged artifacts again and return the result of the whole stage."""


@runtime_checkable
class ReleasesEarly(Protocol):
    """A stage whose outputs are worth having before the last of them is there.

    It may be executed in a process of its own, and is then pickled, with its config. Its outputs must be determined by
    its config and inputs, byte for byte: others begin to work with them while it can still be killed.
    """

    def promise(self, context: StageContext) -> Mapping[str, Any]:
        """Return what is known of the outputs before they are there, as JSON; the stages that wait for them read it."""


@runtime_checkable
class BeginsEarly(Protocol):
    """A stage that can begin while an upstream stage is at work, and takes its outputs from `StageContext.streams`.

    Its result must be the same as if it had waited. Work that was left half-done is found again by the promise alone:
    it must say which outputs it has seen, and not be continued where they are others now.
    """

    @property
    def begins_early_on(self) -> tuple[str, ...]:
        """The names of these upstream stages."""


@runtime_checkable
class ImportsCheckpoints(Protocol):
    """A stage that can take over a checkpoint that another program made."""

    def import_checkpoint(self, context: StageContext, path: Path) -> str:
        """Turn the file `path` into half-done work, as if this run had come so far, and tell what was taken over.

        Only called where there is no such work yet. Nothing in the file may be run; raises UsageError or
        IntegrityError, with nothing changed, where it cannot be used.
        """


@runtime_checkable
class AimsAtTargets(Protocol):
    """A stage that judges the run by figures to reach."""

    def aims(self) -> Sequence[Target]:
        """Return what the run will be judged by, with None for each value: nothing is measured yet."""


@runtime_checkable
class ReadsFiles(Protocol):
    """A stage that also reads files from outside the workspace; their contents count as inputs."""

    def external_files(self) -> Mapping[str, tuple[Path, ...]]:
        """Return for each name of an input the files it consists of; raises UsageError where they are missing."""


@runtime_checkable
class OwnsFolders(Protocol):
    """A stage that keeps work in the workspace outside `checkpoints/<stage>/`."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Patterns of folders that are this stage's alone, e.g. "datasets/mine-*"; `reset` takes them."""


@dataclass(frozen=True)
class KeptWork:
    """The work of a stage that stays: the records of what is done, and the configs of what is half-done."""

    records: Sequence[StageRecord]
    begun: Sequence[StageConfig]


@runtime_checkable
class KnowsLeavings(Protocol):
    """A stage that can tell which of the files that it has left nobody needs any more; `gc` takes them."""

    def leavings(self, workspace: Workspace, kept: KeptWork) -> Iterable[Path]:
        """Return files and whole folders that `kept` does not need, whatever of it lies in them.

        Only what bears a name that this stage gives: what somebody else put beside it stays.
        """


@dataclass(frozen=True)
class ProgressRow:
    """One part of a stage's work: how much of it is done, in units of the stage (samples, say)."""

    name: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True)
class ProgressReport:
    """How far a stage has come: a heading, figures, one row for each part, and all of it as a JSON document."""

    title: str
    summary: Mapping[str, Any]
    rows: tuple[ProgressRow, ...]
    document: Mapping[str, Any]


@runtime_checkable
class ReportsProgress(Protocol):
    """A stage that can tell how far it has come, also while another process runs it."""

    def progress_report(self, context: StageContext) -> ProgressReport | None:
        """Read what is on disk; None where nothing has begun."""
