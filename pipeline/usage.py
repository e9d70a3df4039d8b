"""How the help of a command with arguments shows them: as the words that stand for them, not as types of Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand


class CommandWithArguments(TyperCommand):
    """A command whose help names each argument by its metavar alone, in brackets where it may be left out."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as its caller has it
        """Return what follows the name of the command in its usage line."""
        words = [(str(each.metavar), each.required) for each in self.params if each.param_type_name == "argument"]
        return [self.options_metavar or "", *(word if is_required else f"[{word}]" for word, is_required in words)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the tables of arguments and of options."""
        for heading, kind in (("Arguments", "argument"), ("Options", "option")):
            with formatter.section(heading):
                formatter.write_dl(list(shown(self, ctx, kind=kind)))


def shown(command: Any, ctx: Any, *, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the words and the meaning of each parameter of a kind ("argument", "option") that the help shows."""
    for each in command.get_params(ctx):
        record = each.get_help_record(ctx)
        if record and each.param_type_name == kind:
            yield (record[0] if kind == "option" else str(each.metavar)), record[1]
