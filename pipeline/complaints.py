"""What is wrong with a setting, in the words of the setting: its key, value, origin and bounds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.secrets import hide_text

_TYPES: dict[object, str] = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_WORDS = {  # from pydantic's, which Typer uses too, to ours; a longer phrase comes before its beginning
    "Value error, ": "",
    "Input should": "must",
    "String should": "must",
    "Tuple should": "must",
    "List should": "must",
    "an object": "a table",
    "a valid dictionary": "a table",
    "a valid array": "a list",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    ", unable to parse string as an integer": "",
    "greater than or equal to": "at least",
    "greater than": "more than",
    "less than or equal to": "at most",
    "match pattern": "match",
    " after validation": "",
}
_VALUE_WIDTH = 60  # a longer value is cut: the sentence around it must stay readable

Models = Mapping[str, type[BaseModel]]


def complain(
    error: ValidationError, *, section: str, models: Models, values: Mapping[str, Any], origins: Mapping[str, str]
) -> Iterator[str]:
    """Yield one sentence for each thing that pydantic found wrong in a section of the settings."""
    for found in error.errors(include_url=False):
        keys = _keys_of(found["loc"], within=values.get(section, {}))
        key = ".".join((section, *keys))
        if found["type"] == "extra_forbidden":
            yield unknown_setting(key, models=models, origins=origins)
            continue
        info = _field_at(models[section], keys)
        must = _requirement(info) or in_our_words(found["msg"])
        about = f"; {info.description}" if info and info.description else ""
        if found["type"] == "missing":
            yield f"{key} is missing: it must be {must.removeprefix('must be ')}{about}"
        else:
            yield f"{key}{_shown(found['input'])}{_from(key, origins)}: {must}{about}"


def unknown_setting(key: str, *, models: Models, origins: Mapping[str, str], others: Iterable[str] = ()) -> str:
    """Return the sentence for a key that no setting has, with the nearest that there is."""
    below = [name for name in origins if name.startswith(f"{key}.")]
    key = below[0] if len(below) == 1 else key
    known = [*others, *models, *(name for name, _ in known_settings(models))]
    # `training.lr` is more likely `training.optimizer.lr` than a key that merely looks like it.
    same_end = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    suggestion = nearest(key, same_end, least_likeness=0.0) if same_end else nearest(key, known)
    return f"there is no setting {key}{_from(key, origins)}{suggestion}"


def known_settings(models: Models) -> Iterator[tuple[str, str]]:
    """Yield the key of every setting, and of every table of settings, with its description."""
    for section, model in models.items():
        yield from _known_keys(model, section)


def nearest(name: str, known: Iterable[str], *, least_likeness: float = 0.5) -> str:
    """Return "; did you mean …?" with the most similar of the known names; empty if none is similar."""
    matches = get_close_matches(name, list(known), n=1, cutoff=least_likeness)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def in_our_words(message: str) -> str:
    """Return what pydantic says of a value as this program says it."""
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return message


def _keys_of(location: tuple[int | str, ...], *, within: Any) -> tuple[str, ...]:
    """Return the keys that a user wrote: the location less the names that pydantic gives to members of a union."""
    keys = []
    for number, part in enumerate(location):
        is_last = number == len(location) - 1
        try:
            within = within[part]
        except (KeyError, IndexError, TypeError):
            if not is_last:
                continue
        keys.append(str(part))
    return tuple(keys)


def _field_at(model: type[BaseModel], keys: tuple[str, ...]) -> FieldInfo | None:
    candidates, info = [model], None
    for key in keys:
        info = next((each.model_fields[key] for each in candidates if key in each.model_fields), None)
        if info is None:
            return None
        candidates = list(_models_in(info.annotation))
    return info


def _known_keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, info in model.model_fields.items():
        yield f"{prefix}.{name}", info.description or ""
        for nested in _models_in(info.annotation):
            yield from _known_keys(nested, f"{prefix}.{name}")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _requirement(info: FieldInfo | None) -> str:
    """Return what a plain field must be, bounds included; empty for what only its model can judge."""
    if info is None:
        return ""
    if get_origin(info.annotation) is Literal:
        return f"must be one of {', '.join(json.dumps(choice) for choice in get_args(info.annotation))}"
    words = _TYPES.get(info.annotation, "")
    if not words or (words == "text" and info.metadata):  # a pattern says more in pydantic's own words
        return ""
    bounds = [
        f"{word} {getattr(rule, name)}"
        for rule in info.metadata
        for name, word in _BOUNDS.items()
        if hasattr(rule, name)
    ]
    return f"must be {words}{', ' if bounds else ''}{' and '.join(bounds)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " = {…}"
    # Before it is cut: a part of a secret is recognised by nobody but its owner.
    text = hide_text(json.dumps(value, default=str, ensure_ascii=False))
    return f" = {text if len(text) <= _VALUE_WIDTH else f'{text[:_VALUE_WIDTH]}…'}"


def _from(key: str, origins: Mapping[str, str]) -> str:
    """Return " (origin)" of a key, of the list or table it is in, or of what it holds."""
    parts = key.split(".")
    inside = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    below = [name for name in origins if name.startswith(f"{key}.")]
    origin = next((origins[name] for name in (*inside, *below) if name in origins), "")
    return f" ({origin})" if origin else ""
