"""What is done to a workspace between runs: told, checked, imported, discarded, removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.contexts import Contexts
from pipeline.errors import UsageError
from pipeline.execution import known_of
from pipeline.lock import RunLock
from pipeline.observe import find_damage
from pipeline.records import StageRecord
from pipeline.stage import ImportsCheckpoints, ProgressReport, ReportsProgress, Resumable, Stage, StageContext
from pipeline.survey import Survey
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.reset import Removal
    from pipeline.validation import Validation


class Upkeep:
    """Takes care of what the `stages` of one run have left; `locked` takes the run lock."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        workspace: Workspace,
        contexts: Contexts,
        survey: Survey,
        locked: Callable[[], RunLock],
    ) -> None:
        self._stages = stages
        self._workspace = workspace
        self._contexts = contexts
        self._cache = contexts.cache
        self._survey = survey
        self._locked = locked

    def progress(self) -> dict[str, ProgressReport]:
        """Return how far each stage has come that can tell it; reads only what is on disk."""
        reports: dict[str, ProgressReport] = {}
        for stage, context in self._survey.reachable(has_early=True):
            if isinstance(stage, ReportsProgress) and (report := stage.progress_report(context)):
                reports[stage.name] = report
        return reports

    def half_done(self) -> dict[str, str]:
        """Return for each stage that has begun and is not whole what there is of it, in words."""
        found = {}
        for stage, context in self._survey.reachable(has_early=True):
            if isinstance(stage, Resumable) and self._record_of(stage, context) is None:
                words = stage.partial_work(context)
                if not words and context.state_folder.is_dir() and any(context.state_folder.iterdir()):
                    words = "something that cannot be continued"
                if words:
                    found[stage.name] = words
        return found

    def discard_partial_work(self, name: str) -> None:
        """Remove the half-done work of a stage under the run lock, so that it starts from zero."""
        with self._locked():
            for stage, context in self._survey.reachable(has_early=True):
                if stage.name == name and isinstance(stage, Resumable):
                    stage.discard_partial_work(context)

    def import_checkpoint(self, path: Path) -> tuple[str, str]:
        """Let the stage that can do so take over `path` as half-done work of this run; return its name and its words.

        Raises:
            UsageError: no stage can, what it needs is not whole yet, or this run has already begun.
            IntegrityError: the file cannot be used; nothing was changed.
        """
        stage = next((stage for stage in self._stages if isinstance(stage, ImportsCheckpoints)), None)
        if stage is None:
            raise UsageError("no stage of this pipeline takes over checkpoints of other programs", code="E0230")
        with self._locked():
            reachable = {each.name: context for each, context in self._survey.reachable(has_early=False)}
            context = reachable.get(stage.name)
            if context is None or any(
                find_damage(record, workspace=self._workspace, cache=self._cache) for record in context.inputs.values()
            ):
                before = ", ".join(stage.inputs)
                raise UsageError(
                    f"{stage.name} continues on what {before} makes, and that is not whole yet",
                    code="E0231",
                    hint=f"first run it with the same options: pipeline run --until {list(stage.inputs)[-1]}",
                )
            if context.record_path.exists() or (context.state_folder.is_dir() and any(context.state_folder.iterdir())):
                raise UsageError(
                    f"this run of {stage.name} has already begun: {context.record_path.with_suffix('')}",
                    code="E0232",
                    hint="discard that with the same options first: `pipeline progress reset`, or, when it is done, "
                    f"`pipeline reset {stage.name}`",
                )
            told = stage.import_checkpoint(context, path)
            code, known = self._survey.code(stage), known_of(stage, context)
            self._workspace.records.begin(context.state_folder, code=code, **known)
        return stage.name, told

    def validate(self, *, is_deep: bool) -> tuple[Validation, ...]:
        """Compare what every record of every stage vouches for with the disk; deep: read every byte."""
        from pipeline.validation import distrust, validate_stage

        found = tuple(
            validate_stage(stage.name, workspace=self._workspace, cache=self._cache, is_deep=is_deep)
            for stage in self._stages
        )
        if any(each.problems for each in found):
            distrust(self._cache, self._locked)
        return found

    def removals(self, names: Collection[str], *, only_this_run: bool) -> tuple[Removal, ...]:
        """Return what a reset of the stages `names` takes away; with all stages named, old results too."""
        from pipeline.reset import configs_of, everything_of, report_of

        chosen = [stage for stage in self._stages if stage.name in names]
        if not only_this_run:
            return everything_of(chosen, workspace=self._workspace, has_all=len(chosen) == len(self._stages))
        found = configs_of(chosen, hashes=self._contexts.hashes, workspace=self._workspace)
        if len(chosen) < len(self._stages):
            return found
        return (*found, *report_of(self._contexts.run_name, workspace=self._workspace))

    def reset(self, removals: Sequence[Removal]) -> None:
        """Take away what `removals` listed, under the run lock; raises WorkspaceLocked."""
        with self._locked():
            for removal in removals:
                files.remove(removal.path)

    def _record_of(self, stage: Stage, context: StageContext) -> StageRecord | None:
        """Return the readable record of this run of `stage`, verified or not."""
        return self._survey.sight(stage, context).record
