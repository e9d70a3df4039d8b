"""The reference of the command line, drawn from the app that carries it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import typer

from generators.cells import row
from pipeline.app import app
from pipeline.usage import shown

Named = tuple[str, Any]


def commands() -> str:
    """Return a section for each command: its usage, what it does, its arguments and options."""
    return "\n\n".join(_section(name, command) for name, command in all_commands())


def all_commands() -> Iterator[Named]:
    """Yield every command with its full name ("progress show"), in the order of the help."""
    yield from _inner("", typer.main.get_command(app))


def _inner(prefix: str, group: Any) -> Iterator[Named]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _inner(f"{prefix}{name} ", command)
        else:
            yield f"{prefix}{name}", command


def _section(name: str, command: Any) -> str:
    # The name of the context is what the usage line begins with.
    context = typer.Context(command, info_name=f"pipeline {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"## `pipeline {name}`", f"```text\n{usage}\n```", command.help]
    for kind in ("argument", "option"):
        rows = list(shown(command, context, kind=kind))
        if rows:
            parts.append(_table(kind.capitalize(), rows))
    return "\n\n".join(parts)


def _table(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join([row(heading, ""), "| --- | --- |", *(row(f"`{name}`", text) for name, text in rows)])
