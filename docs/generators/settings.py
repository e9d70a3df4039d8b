"""The reference of settings, drawn from the JSON Schema that `pipeline config schema` prints, and from the profiles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from generators.cells import row
from pipeline.definition import load_definition
from pipeline.profiles import BUILT_IN_PIPELINE, RUNTIME, SettingsFile, profile_names, resolve
from pipeline.settings_schema import settings_schema

_DEFINITION = load_definition(BUILT_IN_PIPELINE)
_SCHEMA = settings_schema(_DEFINITION)
_NO_VALUE: Any = object()
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "in steps of {}",
    "minItems": "{} or more items",
    "minLength": "{} or more letters",
    "maxLength": "at most {} letters",
    "pattern": "like `{}`",
}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`", "null": "null"}


def settings() -> str:
    """Return a section for each stage and for the running, with a table of its settings."""
    profiles = {name: _values_of(name) for name in profile_names(_DEFINITION)}
    return "\n\n".join(_section(name, profiles) for name in (*_DEFINITION.configs, RUNTIME))


def all_settings() -> list[str]:
    """Return every setting by its dotted key; those of the items of a list follow `[]`."""
    return [key for name in (*_DEFINITION.configs, RUNTIME) for key, _, _ in _leaves(name, _SCHEMA["properties"][name])]


def _values_of(profile: str) -> dict[str, Any]:
    found = resolve(_DEFINITION, profile=profile, file=SettingsFile(), environment={}, assignments=(), flags={})
    return {key: value for key, value in found.values().items() if found.origins[key] != "default"}


def _section(name: str, profiles: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [row("setting", "what it is", "may be", "default")]
    rows.append("| --- | --- | --- | --- |")
    for key, schema, default in _leaves(name, _SCHEMA["properties"][name]):
        told = {profile: values[key] for profile, values in profiles.items() if key in values}
        shown = [] if default is _NO_VALUE else [_shown(default)]
        shown += [f"{profile}: {_shown(value)}" for profile, value in told.items()]
        rows.append(row(f"`{key}`", schema.get("description", ""), _allowed(schema), "; ".join(shown) or "none"))
    return "\n\n".join([f"## `{name}`", "\n".join(rows)])


def _leaves(key: str, schema: Mapping[str, Any], default: Any = _NO_VALUE) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield key, schema and default of each setting at and below `key`."""
    default = schema.get("default", default)
    inner = _resolved(schema)
    if "properties" in inner:
        for name, part in inner["properties"].items():
            known = default.get(name, _NO_VALUE) if isinstance(default, dict) else _NO_VALUE
            yield from _leaves(f"{key}.{name}", part, known)
        return
    yield key, {**inner, **schema}, default
    for choice in (*inner.get("anyOf", ()), inner.get("items", {})):
        part = _resolved(choice)
        if "properties" in part:
            yield from _leaves(f"{key}[]" if choice is inner.get("items") else key, part)


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = _SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return found


def _allowed(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_allowed(_resolved(choice)) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    bounds = [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]
    if "prefixItems" in schema:
        return "list of " + ", ".join(_allowed(each) for each in schema["prefixItems"])
    if schema.get("type") == "array":
        return ", ".join([f"list of {_allowed(_resolved(schema['items']))}", *bounds])
    if schema.get("type") == "object":
        return "table"
    return ", ".join([_TYPES[schema["type"]], *bounds])


def _shown(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"
