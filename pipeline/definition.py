"""What a pipeline is to the command line: its settings, its stages, its profiles and their short names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import RuntimeOptions, StageConfig
from pipeline.errors import UsageError
from pipeline.stage import Stage

if TYPE_CHECKING:
    from pipeline.doctor.finding import Finding


@dataclass(frozen=True, kw_only=True)
class PipelineDefinition:
    """A pipeline as the settings name it (`pipeline = "module:attribute"`).

    Attributes:
        configs: the config model of each stage, under the stage's name; also the sections of the settings.
        build: makes the stages from their configs.
        profiles: folder with one TOML file for each profile.
        default_profile: the one that is taken where none is named.
        short_names: words that `reset` and `--force-…` accept for a stage, e.g. "data" for "data_generation".
        flags: settings that have a flag of their own, e.g. "epochs" -> "training.epochs".
        runtime: the model of the settings that change no result, with those of the stages.
        explanations: folder with one Markdown file for each error code that the stages raise, which `pipeline explain`
            shows; those of this program, `pipeline/explanations/E0101.md` say, are examples of their form.
        examine: looks at what the stages need besides, a device say, for `pipeline doctor`; imports it only then.
    """

    configs: Mapping[str, type[StageConfig]]
    build: Callable[[Mapping[str, StageConfig]], tuple[Stage, ...]]
    profiles: Path
    default_profile: str
    short_names: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    runtime: type[RuntimeOptions] = RuntimeOptions
    explanations: Path | None = None
    examine: Callable[[RuntimeOptions], Iterable[Finding]] | None = None


def load_definition(name: str) -> PipelineDefinition:
    """Import the definition that `name` ("module:attribute") points to; raises UsageError when it cannot be used."""
    module_name, _, attribute = name.partition(":")
    hint = 'write `pipeline = "module:attribute"`; the module must be importable from the current folder'
    try:
        found = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise UsageError(f"the pipeline {name!r} cannot be loaded: {error}", code="E0220", hint=hint) from error
    if not isinstance(found, PipelineDefinition):
        raise UsageError(f"{name!r} is a {type(found).__name__}, not a PipelineDefinition", code="E0220", hint=hint)
    return found
