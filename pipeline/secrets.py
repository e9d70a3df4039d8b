"""Values that must never be written: those of the environment variables that the settings name as secrets.

There is one set of them for each process, because the places where text leaves it are many and lie deep: events,
sealed documents, answers, errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError

MIN_LENGTH = 6  # a shorter value would be found by chance in digests and numbers, and hiding it would damage them


class _Hidden:
    """The secrets of this process: a pattern that finds them all, and the name of each form that it finds."""

    def __init__(self) -> None:
        self.pattern: re.Pattern[str] | None = None
        self.names: dict[str, str] = {}


_hidden = _Hidden()


def keep(names: Sequence[str], environment: Mapping[str, str]) -> None:
    """Hide the values of these environment variables from now on, and no others; one that is not set hides nothing.

    Raises:
        UsageError: a value is too short to be hidden.
    """
    values = {name: environment[name] for name in names if environment.get(name)}
    for name, value in values.items():
        if len(value.strip()) < MIN_LENGTH:
            raise UsageError(
                f"the secret {name} has fewer than {MIN_LENGTH} characters: hiding it would damage other text",
                code="E0218",
                hint=f"use a longer one, or take {name} out of runtime.secrets",
            )
    _hidden.names = {_plain(form): name for name, value in values.items() for form in _forms(value)}
    # The longest first: one secret may be a part of another.
    parts = [_pattern_of(form) for form in sorted(_hidden.names, key=len, reverse=True)]
    _hidden.pattern = re.compile("|".join(parts)) if parts else None


def hide_text(text: str) -> str:
    """Return `text` with `[secret NAME]` in place of each secret, also where it is quoted, escaped or wrapped."""
    if _hidden.pattern is None:
        return text
    return _hidden.pattern.sub(lambda found: f"[secret {_hidden.names[_plain(found.group())]}]", text)


def hide(value: Any) -> Any:
    """Return a JSON-like value with the secrets hidden in all its texts; numbers are left alone."""
    if _hidden.pattern is None or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {hide_text(name) if isinstance(name, str) else name: hide(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide(item) for item in value]
    # Paths and whatever else a stage reports become text in the end.
    text = str(value)
    hidden = hide_text(text)
    return value if hidden == text else hidden


def _forms(value: str) -> Iterator[str]:
    """Yield how a value may stand in text: as it is, quoted for Python, JSON, shell or URL, in base64."""
    import base64
    import json
    import shlex
    from urllib.parse import quote, quote_plus

    data = value.encode(errors="surrogateescape")
    yield value.strip()
    yield repr(value)[1:-1].strip()
    for is_ascii in (True, False):
        yield json.dumps(value, ensure_ascii=is_ascii)[1:-1].strip()
    yield shlex.quote(value)
    yield from (quote(data), quote(data, safe=""), quote_plus(data))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")


def _pattern_of(form: str) -> str:
    # Text for people is wrapped at spaces, and then indented.
    return r"\s+".join(re.escape(word) for word in form.split())


def _plain(form: str) -> str:
    return " ".join(form.split())
