"""The command-line options that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How a command answers; `main` also looks for both among the words of a line that cannot be understood."""

    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False


def _folder(text: str) -> Path:
    """Return the folder that a word names; none is named by "", which as a path would be the current folder."""
    if not text:
        raise UsageError(
            "--workspace is empty, as with a variable that is not set",
            code="E0229",
            hint="give the variable a value; for the current folder write --workspace . or leave the option out",
        )
    if "\0" in text:
        raise ValueError("no path has a NUL in it")
    return Path(text)


_ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file instead of pipeline.toml.")
]
WorkspaceFolder = Annotated[
    Path | None,
    typer.Option("--workspace", metavar="DIR", parser=_folder, help="Where all files are; else the current folder."),
]


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where to look for the settings file and the workspace, for commands to which no setting of a run matters."""

    config: _ConfigFile = None
    workspace: WorkspaceFolder = None


@dataclass(frozen=True, kw_only=True)
class SettingsOptions:
    """Which run is meant."""

    profile: Annotated[str | None, typer.Option("--profile", metavar="NAME", help="Profile of settings.")] = None
    professional: Annotated[bool, typer.Option("--professional", help="The same as --profile professional.")] = False
    config: _ConfigFile = None
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=VALUE", help="Set one value; may be repeated.")
    ] = None
    dataset_size: Annotated[
        str | None, typer.Option("--dataset-size", metavar="N", help="How many samples to train on.")
    ] = None
    epochs: Annotated[str | None, typer.Option("--epochs", metavar="N", help="Passes over the training data.")] = None
    batch_size: Annotated[str | None, typer.Option("--batch-size", metavar="N", help="Samples in a step.")] = None
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="auto, cpu or cuda.")] = None
    workspace: WorkspaceFolder = None

    @property
    def names_a_run(self) -> bool:
        """Whether the command line says which run is meant; the workspace alone says only where."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "workspace")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `run` and `plan` may do."""

    force_data: Annotated[bool, typer.Option("--force-data", help="Generate the data from zero.")] = False
    force_train: Annotated[bool, typer.Option("--force-train", help="Train from zero.")] = False
    force_eval: Annotated[bool, typer.Option("--force-eval", help="Evaluate from zero.")] = False
    force_all: Annotated[bool, typer.Option("--force-all", help="Do everything from zero.")] = False
    until: Annotated[
        str | None, typer.Option("--until", metavar="STAGE", help="Do this stage and what it needs, no more.")
    ] = None
    dataset_only: Annotated[bool, typer.Option("--dataset-only", help="Build the data set and stop.")] = False
    no_incremental: Annotated[
        bool, typer.Option("--no-incremental", help="Begin to train only when the data set is complete.")
    ] = False
    strict_env: Annotated[
        bool, typer.Option("--strict-env", help="Refuse to continue a training in another environment than it ran in.")
    ] = False
    on_code_change: Annotated[
        Literal["warn", "rerun"], typer.Option("--on-code-change", help="What to do when a stage's code changed.")
    ] = "warn"

    @property
    def assignments(self) -> dict[str, tuple[str, Any]]:
        """The settings that options stand for, each with the option's name and its value."""
        return {
            **({"runtime.strict_env": ("--strict-env", True)} if self.strict_env else {}),
            **({"runtime.incremental": ("--no-incremental", False)} if self.no_incremental else {}),
        }


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let Typer see each field of the dataclasses that `command` takes as an option; OutputOptions come with each."""
    hints = get_type_hints(command, include_extras=True)
    arguments = inspect.signature(command).parameters
    groups = {name: hints[name] for name in arguments if is_dataclass(hints[name])}
    parameters = [parameter for group in groups.values() for parameter in _fields_as_parameters(group)]
    parameters += [
        _keyword(name, annotation=hints[name], default=argument.default)
        for name, argument in arguments.items()
        if name not in groups
    ]
    if OutputOptions not in groups.values():
        parameters += _fields_as_parameters(OutputOptions)

    @functools.wraps(command)
    def called_by_typer(**values: Any) -> Any:
        output = _taken_from(values, OutputOptions)
        taken = {
            name: output if group is OutputOptions else _taken_from(values, group) for name, group in groups.items()
        }
        return command(**values, **taken)

    called_by_typer.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called_by_typer.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del called_by_typer.__wrapped__  # otherwise the annotations of `command` itself would be read
    return called_by_typer


def _taken_from(values: dict[str, Any], group: type) -> Any:
    return group(**{field.name: values.pop(field.name) for field in fields(group)})


@functools.cache  # reading the annotations of a group once for each command would double the time of `--help`
def _fields_as_parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_keyword(field.name, annotation=hints[field.name], default=field.default) for field in fields(group)]


def _keyword(name: str, *, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
