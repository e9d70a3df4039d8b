"""What options and arguments may be, for completion: stages, profiles, settings, runs, error codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from pipeline.complaints import known_settings
from pipeline.explanation import load_explanation
from pipeline.options import PlaceOptions
from pipeline.profiles import RUNTIME, find_settings_file, profile_names, read_settings_file
from pipeline.session import ALL, find_definition, find_explanations_of, find_workspace
from pipeline.workspace import Workspace

Found = Iterator[tuple[str, str]]  # words, and what each means


def place_in(words: Sequence[str]) -> PlaceOptions:
    """Return where `words` say that the settings and the workspace are."""
    return PlaceOptions(config=_path(words, "--config"), workspace=_path(words, "--workspace"))


def stages(place: PlaceOptions) -> Found:
    """Yield the stages, in full and in short."""
    definition = find_definition(place)
    yield from ((name, "a stage") for name in definition.configs)
    yield from ((word, f"short for {name}") for word, name in definition.short_names.items())


def stages_or_all(place: PlaceOptions) -> Found:
    """Yield the stages, and the word for all of them."""
    yield from stages(place)
    yield ALL, "all stages"


def profiles(place: PlaceOptions) -> Found:
    """Yield the profiles of the pipeline and those of the settings file."""
    for name in profile_names(find_definition(place)):
        yield name, "a profile of the pipeline"
    file = find_settings_file(place.config, workspace=find_workspace(place), environment=os.environ)
    for name in read_settings_file(file).profiles:
        yield name, f"a profile of {file}"


def settings(place: PlaceOptions) -> Found:
    """Yield each setting, ready for its value."""
    definition = find_definition(place)
    models: Mapping[str, type[BaseModel]] = {**definition.configs, RUNTIME: definition.runtime}
    known = dict(known_settings(models))
    for name, description in known.items():
        if not any(other.startswith(f"{name}.") for other in known):
            yield f"{name}=", description


def runs(place: PlaceOptions) -> Found:
    """Yield the runs that have results in the workspace."""
    folder = Workspace.at(find_workspace(place)).results
    yield from ((path.name, "a run of this workspace") for path in sorted(folder.glob("*")) if path.is_dir())


def codes(place: PlaceOptions) -> Found:
    """Yield the error codes."""
    for code, path in find_explanations_of(place).items():
        yield code, load_explanation(path).title


def devices(_place: PlaceOptions) -> Found:
    """Yield the devices."""
    yield "auto", "a GPU where there is one"
    yield "cpu", "the processor"
    yield "cuda", "the GPU"


# By the name of a parameter, or by the word that stands for it in the help.
SOURCES: Mapping[str, Callable[[PlaceOptions], Found]] = {
    "profile": profiles,
    "assignments": settings,
    "device": devices,
    "what": stages_or_all,
    "STAGE": stages,
    "RUN": runs,
    "CODE": codes,
}


def _path(words: Sequence[str], option: str) -> Path | None:
    """Return the path that follows `option`, or stands behind its equals sign."""
    for number, word in enumerate(words):
        if word == option and number + 1 < len(words):
            return Path(words[number + 1]).expanduser()
        if word.startswith(f"{option}="):
            return Path(word.partition("=")[2]).expanduser()
    return None
