"""The one command that reproduces a run, whatever its settings came from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

_NOT_SET = ("default", "profile ")  # origins of values that come by themselves
_CONTROL = {0x7F: "\\u007f"}  # which TOML wants escaped, and JSON does not


def command_of(
    *,
    profile: str,
    values: Mapping[str, Any],
    origins: Mapping[str, str],
    config_file: str = "",
    pipeline: str = "",
) -> str:
    """Return the command line that gives the same settings to the same profile.

    Values from environment, command line and settings file become --set, so that the command says it all. Where the
    profile itself is the user's own, it needs the file that has it (`config_file`); `pipeline` names a pipeline that is
    not built in.
    """
    words = ["pipeline", "run", "--profile", profile]
    if config_file:
        words += ["--config", config_file]
    for key, value in values.items():
        origin = origins.get(key, "default")
        if not origin.startswith(_NOT_SET) and origin != config_file and not _is_gap(value):
            words += ["--set", f"{key}={as_setting(value)}"]
    prefix = f"PIPELINE_PIPELINE={shlex.quote(pipeline)} " if pipeline else ""
    return prefix + shlex.join(words)


def as_setting(value: Any) -> str:
    """Return a JSON value as --set takes it: TOML, or null, which TOML lacks."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).translate(_CONTROL)
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{as_setting(str(name))} = {as_setting(item)}" for name, item in value.items() if item is not None
        )
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_setting, value))}]"
    return repr(value)


def _is_gap(value: Any) -> bool:
    return isinstance(value, Mapping) and not value
