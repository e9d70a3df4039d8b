"""Where each setting comes from: defaults < profile < file < environment < --set < flags."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline import secrets
from pipeline.complaints import complain, nearest, unknown_setting
from pipeline.config import RuntimeOptions, StageConfig
from pipeline.definition import PipelineDefinition
from pipeline.errors import IntegrityError, UsageError
from pipeline.leaves import leaves
from pipeline.reading import read_regular

FILE_NAME = "pipeline.toml"
BUILT_IN_PIPELINE = "stages.catalog:PIPELINE"
ENVIRONMENT_PREFIX = "PIPELINE_"
RUNTIME = "runtime"
# Variables that name no setting of a stage but say where to look for settings.
ENVIRONMENT_NAMES = ("PIPELINE_PIPELINE", "PIPELINE_PROFILE", "PIPELINE_CONFIG", "PIPELINE_WORKSPACE")
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAX_SETTINGS_BYTES = 16 << 20
_FILE_KEYS = ("pipeline", "profile", "profiles")

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Settings:
    """The settings of one run.

    Attributes:
        origins: where each value comes from, by dotted key: "default", "profile standard", "pipeline.toml",
            "PIPELINE_TRAINING__EPOCHS", "--set", "--epochs".
    """

    profile: str
    configs: Mapping[str, StageConfig]
    runtime: RuntimeOptions
    origins: Mapping[str, str]

    def values(self) -> dict[str, Any]:
        """Return every value that is no table, by dotted key, in the order of the models."""
        sections = {**self.configs, RUNTIME: self.runtime}
        return dict(leaves({name: section.model_dump(mode="json") for name, section in sections.items()}))


@dataclass(frozen=True, kw_only=True)
class SettingsFile:
    """What a `pipeline.toml` says: the pipeline and profile to use, sections of settings, and own profiles."""

    name: str = FILE_NAME
    pipeline: str = ""
    profile: str = ""
    sections: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Layer:
    origin: str
    values: Mapping[str, Any]


def resolve(
    definition: PipelineDefinition,
    *,
    profile: str | None,
    file: SettingsFile,
    environment: Mapping[str, str],
    assignments: Sequence[str],
    flags: Mapping[str, tuple[str, Any]],
) -> Settings:
    """Lay all sources of settings over each other and check the result.

    `assignments` are texts like "training.optimizer.lr=0.01"; `flags` tells for a dotted key which flag set it and to
    what: {"training.epochs": ("--epochs", 5)}.

    Raises:
        UsageError: a key is unknown, or a value of the wrong type or out of bounds; all of them are named.
    """
    name = profile or environment.get("PIPELINE_PROFILE") or file.profile or definition.default_profile
    layers = [
        *_profile_layers(name, definition=definition, file=file),
        _Layer(file.name, file.sections),
        *_environment_layers(environment),
        *(_Layer("--set", _parse_assignment(text)) for text in assignments),
        *(_Layer(flag, _nested(key.split("."), value)) for key, (flag, value) in flags.items()),
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        _lay_over(values, layer.values, origin=layer.origin, origins=origins, prefix="")
    secrets.keep(_secret_names(values), environment)
    return _checked(definition, profile=name, values=values, origins=origins)


def read_settings_file(path: Path | None) -> SettingsFile:
    """Read the TOML file at `path`; None gives empty settings. Raises UsageError with line and column."""
    if path is None:
        return SettingsFile()
    document = _read_toml(path)
    texts = {key: document.pop(key, "") for key in ("pipeline", "profile")}
    profiles = document.pop("profiles", {})
    for key, text in texts.items():
        if not isinstance(text, str):
            raise UsageError(f"{path}: {key} = {text!r} must be text", code="E0214")
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(
            f"{path}: profiles must be tables", code="E0214", hint='write "[profiles.mine.training]" above its settings'
        )
    return SettingsFile(name=str(path), **texts, sections=document, profiles=profiles)


def find_settings_file(config: Path | None, *, workspace: Path, environment: Mapping[str, str]) -> Path | None:
    """Return the file that --config or PIPELINE_CONFIG names, else the workspace's, else the current folder's.

    What bears its name and is no file, as a link to nothing, is returned all the same: reading it says what is wrong.
    """
    named = config or (Path(text) if (text := environment.get("PIPELINE_CONFIG")) else None)
    if named:
        return named
    return next((path for path in (workspace / FILE_NAME, Path(FILE_NAME)) if os.path.lexists(path)), None)


def parse_value(text: str) -> Any:
    """Read `text` as a TOML value or as null, which TOML lacks; what is neither is taken as the text it is."""
    if text == "null":
        return None
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if document.keys() == {"value"} else text


def _checked(
    definition: PipelineDefinition, *, profile: str, values: dict[str, Any], origins: Mapping[str, str]
) -> Settings:
    models: dict[str, type[BaseModel]] = {**definition.configs, RUNTIME: definition.runtime}
    complaints = [
        unknown_setting(key, models=models, origins=origins, others=_FILE_KEYS) for key in values if key not in models
    ]
    sections: dict[str, Any] = {}
    for name, model in models.items():
        try:
            sections[name] = _validate(model, values.get(name, {}))
        except ValidationError as error:
            complaints += complain(error, section=name, models=models, values=values, origins=origins)
    if complaints:
        head = "a setting cannot be used" if len(complaints) == 1 else f"{len(complaints)} settings cannot be used"
        raise UsageError(
            "\n  ".join([f"{head}:", *complaints]),
            code="E0210",
            hint="`pipeline config show` lists every setting, `pipeline config schema` what it may be",
        )
    runtime = sections.pop(RUNTIME)
    settings = Settings(profile, sections, runtime, {})
    known = {key: origins.get(key, "default") for key in settings.values()}
    return Settings(profile, sections, runtime, known)


def _validate(model: type[Model], values: Any) -> Model:
    # As JSON, because only there lists may stand for tuples and texts for paths while all else stays strict.
    return model.model_validate_json(json.dumps(values, default=str), strict=True)


def _secret_names(values: Mapping[str, Any]) -> list[str]:
    """Return the secrets that unchecked settings name: complaints about other settings must not show them."""
    runtime = values.get(RUNTIME)
    names = runtime.get("secrets") if isinstance(runtime, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def profile_names(definition: PipelineDefinition) -> list[str]:
    """Return the names of the profiles that a pipeline brings along."""
    return sorted(path.stem for path in definition.profiles.glob("*.toml"))


def _profile_layers(name: str, *, definition: PipelineDefinition, file: SettingsFile) -> list[_Layer]:
    """Return the layers of a profile, those it extends first."""
    built_in = profile_names(definition)
    own = dict(file.profiles)
    layers: list[_Layer] = []
    while name:
        if name in own:
            # Taken out, so that an own profile may extend the built-in one of its name, and no circle is endless.
            table = dict(own.pop(name))
            base = table.pop("extends", name if name in built_in else "")
        elif name in built_in:
            built_in.remove(name)
            table = _read_toml(definition.profiles / f"{name}.toml")
            base = table.pop("extends", "")
        else:
            raise _no_profile(name, known=sorted({*profile_names(definition), *file.profiles}))
        if not _PROFILE_NAME.fullmatch(name):
            raise UsageError(
                f"profile name {name!r} cannot be used",
                code="E0216",
                hint="use letters, digits, - and _: it names files",
            )
        layers.insert(0, _Layer(f"profile {name}", table))
        if not isinstance(base, str):
            raise UsageError(f"profile {name!r}: extends = {base!r} must be the name of a profile", code="E0217")
        name = base
    return layers


def _no_profile(name: str, *, known: Sequence[str]) -> UsageError:
    if name in known:
        return UsageError(f"profile {name!r} extends itself in a circle", code="E0217", hint="take one `extends` away")
    return UsageError(
        f"there is no profile {name!r}{nearest(name, known)}", code="E0215", hint=f"profiles: {', '.join(known)}"
    )


def _environment_layers(environment: Mapping[str, str]) -> Iterator[_Layer]:
    for name in sorted(environment):
        # An empty variable counts as not set: that is how a shell or a CI job takes one back.
        if name.startswith(ENVIRONMENT_PREFIX) and name not in ENVIRONMENT_NAMES and environment[name]:
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            yield _Layer(name, _nested(keys, parse_value(environment[name])))


def _parse_assignment(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise UsageError(f"--set {text!r} is no assignment", code="E0211", hint="write --set training.epochs=5")
    return _nested(keys, parse_value(value.strip()))


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _lay_over(
    values: dict[str, Any], upper: Mapping[str, Any], *, origin: str, origins: dict[str, str], prefix: str
) -> None:
    """Put `upper` over `values` in place: tables are merged, all else replaces what is there."""
    for name, value in upper.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and isinstance(values.get(name, {}), dict):
            _lay_over(values.setdefault(name, {}), value, origin=origin, origins=origins, prefix=f"{key}.")
            continue
        for replaced in [known for known in origins if f"{known}.".startswith(f"{key}.")]:
            del origins[replaced]
        values[name] = value
        origins.update(dict.fromkeys((path for path, _ in leaves({key: value})), origin))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_regular(path, max_bytes=_MAX_SETTINGS_BYTES).decode())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", code="E0212", hint="give another file with --config"
        ) from error
    except IntegrityError as error:
        raise UsageError(error.message, code="E0212", hint="give another file with --config") from error
    except ValueError as error:  # TOMLDecodeError says line and column; UnicodeDecodeError the byte
        raise UsageError(
            f"{path} is not TOML: {error}", code="E0213", hint="correct the file; strings need quotes"
        ) from error
