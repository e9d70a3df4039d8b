"""What a command is about: one pipeline with its settings in one workspace."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.complaints import nearest
from pipeline.definition import PipelineDefinition, load_definition
from pipeline.errors import PipelineError, UsageError
from pipeline.events import Reporter, Reporters
from pipeline.graph import up_to
from pipeline.interrupts import StopFlag
from pipeline.options import PlaceOptions, RunOptions, SettingsOptions
from pipeline.orchestrator import Orchestrator
from pipeline.profiles import (
    BUILT_IN_PIPELINE,
    Settings,
    SettingsFile,
    find_settings_file,
    parse_value,
    read_settings_file,
    resolve,
)
from pipeline.workspace import Workspace

ALL = "all"
_DATA = "data"  # the short name of the stage that makes the data set
_FLAGS = ("dataset_size", "epochs", "batch_size", "device")


@dataclass(frozen=True)
class Session:
    """A pipeline, its settings, and where it works.

    Attributes:
        pipeline: the name of the pipeline, "module:attribute".
        file: what the settings file says; empty where there is none.
    """

    definition: PipelineDefinition
    settings: Settings
    workspace: Workspace
    pipeline: str = BUILT_IN_PIPELINE
    file: SettingsFile = field(default_factory=SettingsFile)

    def orchestrator(
        self,
        *,
        reporter: Reporter | None = None,
        stop: StopFlag | None = None,
        reruns_on_code_change: bool = False,
        command: Sequence[str] = (),
    ) -> Orchestrator:
        """Build the stages and return what runs them; `command` is told with the start of a run."""
        return Orchestrator(
            self.definition.build(self.settings.configs),
            workspace=self.workspace,
            profile=self.settings.profile,
            runtime=self.settings.runtime,
            reporter=reporter or Reporters(),
            stop=stop or StopFlag(),
            reruns_on_code_change=reruns_on_code_change,
            command=command,
        )

    def stage(self, word: str) -> str:
        """Return the stage that `word` names, in full or in short; raises UsageError with the nearest one."""
        words = {**{name: name for name in self.definition.configs}, **self.definition.short_names}
        if word not in words:
            raise UsageError(
                f"there is no stage {word!r}{nearest(word, words)}", code="E0202", hint=f"stages: {', '.join(words)}"
            )
        return words[word]

    def stages(self, word: str) -> tuple[str, ...]:
        """Return the stages that `word` names; "all" names each."""
        return tuple(self.definition.configs) if word == ALL else (self.stage(word),)

    def until(self, options: RunOptions) -> str | None:
        """Return the stage that --until names, or that makes the data with --dataset-only, if one was given."""
        if not options.dataset_only:
            return None if options.until is None else self.stage(options.until)
        if options.until is not None:
            raise UsageError("--dataset-only and --until contradict each other", code="E0203", hint="give one of them")
        if _DATA not in self.definition.short_names:
            raise UsageError(
                "this pipeline has no stage for --dataset-only",
                code="E0204",
                hint="--until STAGE ends with a stage of your choice",
            )
        return self.definition.short_names[_DATA]

    def forced(self, options: RunOptions) -> frozenset[str]:
        """Return the stages that the --force options name; --force-all names each, whatever the run reaches.

        Raises:
            UsageError: the pipeline has no such stage, or the run does not reach it.
        """
        reached = self._reached(options)
        words = {"data": options.force_data, "train": options.force_train, "eval": options.force_eval}
        names: set[str] = set(self.stages(ALL)) if options.force_all else set()
        for word in (word for word, is_forced in words.items() if is_forced):
            if word not in self.definition.short_names:
                raise UsageError(
                    f"this pipeline has no stage for --force-{word}",
                    code="E0204",
                    hint="--force-all does everything from zero",
                )
            name = self.definition.short_names[word]
            if name not in reached:
                ending = "--dataset-only" if options.dataset_only else f"--until {options.until}"
                raise UsageError(
                    f"{ending} and --force-{word} contradict each other: the run does not reach {name}",
                    code="E0203",
                    hint="leave one of them out",
                )
            names.add(name)
        return frozenset(names)

    def _reached(self, options: RunOptions) -> frozenset[str]:
        """Return the stages that a run does, or finds done."""
        until = self.until(options)
        if until is None:
            return frozenset(self.definition.configs)
        return frozenset(stage.name for stage in up_to(self.definition.build(self.settings.configs), until))


def open_session(
    options: SettingsOptions, run: RunOptions | None = None, *, environment: Mapping[str, str] = os.environ
) -> Session:
    """Find the pipeline and resolve its settings, those that the options `run` stand for among them.

    Raises:
        UsageError: the pipeline cannot be loaded, or a setting cannot be used.
    """
    workspace, config_file = _places(options, environment)
    file = read_settings_file(config_file)
    pipeline = _pipeline_name(file, environment)
    definition = _definition(pipeline)
    settings = resolve(
        definition,
        profile=_profile(options),
        file=file,
        environment=environment,
        assignments=options.assignments or (),
        flags=_flags(options, definition) | (run.assignments if run else {}),
    )
    if not gc.isenabled():
        gc.freeze()  # what was imported stays: no collection need look at it, not even the one at the end
        gc.enable()
    return Session(definition, settings, workspace, pipeline, file)


def find_workspace(options: SettingsOptions | PlaceOptions, *, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that is the workspace, or would be."""
    return Workspace.at(options.workspace or Path(environment.get("PIPELINE_WORKSPACE") or ".")).root


def find_definition(
    options: SettingsOptions | PlaceOptions, *, environment: Mapping[str, str] = os.environ
) -> PipelineDefinition:
    """Return the pipeline alone, whatever its settings are."""
    _, config_file = _places(options, environment)
    return _definition(_pipeline_name(read_settings_file(config_file), environment))


def find_explanations_of(place: PlaceOptions) -> dict[str, Path]:
    """Return the files that explain error codes: of this program, of the pipeline in `place`, of the built-in one."""
    from pipeline.explanation import OWN_FOLDER, find_explanations

    folders = [OWN_FOLDER]
    # Other pipelines may have stages of the built-in one.
    for definition in (partial(find_definition, place), partial(load_definition, BUILT_IN_PIPELINE)):
        with suppress(PipelineError):  # it may be the very error that is to be explained
            if folder := definition().explanations:
                folders.append(folder)
    return find_explanations(folders)


def _places(options: SettingsOptions | PlaceOptions, environment: Mapping[str, str]) -> tuple[Workspace, Path | None]:
    workspace = Workspace.at(find_workspace(options, environment=environment))
    nearest_there = next(path for path in (workspace.root, *workspace.root.parents) if path.exists())
    if not nearest_there.is_dir():
        raise UsageError(f"{nearest_there} is not a folder", code="E0219", hint="give another one with --workspace")
    return workspace, find_settings_file(options.config, workspace=workspace.root, environment=environment)


def _pipeline_name(file: SettingsFile, environment: Mapping[str, str]) -> str:
    return environment.get("PIPELINE_PIPELINE") or file.pipeline or BUILT_IN_PIPELINE


def _definition(name: str) -> PipelineDefinition:
    if name != BUILT_IN_PIPELINE and (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)  # a user's own pipeline lies beside its settings; nothing else is looked for there
    return load_definition(name)


def _profile(options: SettingsOptions) -> str | None:
    if not options.professional:
        return options.profile
    if options.profile not in (None, "professional"):
        raise UsageError(
            f"--professional and --profile {options.profile} contradict each other", code="E0203", hint="give one"
        )
    return "professional"


def _flags(options: SettingsOptions, definition: PipelineDefinition) -> dict[str, tuple[str, Any]]:
    keys = {name.replace("-", "_"): key for name, key in definition.flags.items()}
    keys.setdefault("device", "runtime.device")
    flags = {}
    for name in _FLAGS:
        text = getattr(options, name)
        flag = f"--{name.replace('_', '-')}"
        if text is not None and name not in keys:
            raise UsageError(
                f"this pipeline has no setting for {flag}",
                code="E0205",
                hint="`pipeline config show` lists what it has",
            )
        if text is not None:
            flags[keys[name]] = (flag, parse_value(text))
    return flags
