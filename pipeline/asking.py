"""Asking a person whether something may be done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

from pipeline.errors import UsageError
from pipeline.secrets import hide_text


def asking(*, is_yes: bool) -> Callable[[Callable[[int], str], str], bool]:
    """Return what asks a person on the terminal; raises UsageError where there is none and --yes was not given."""

    def ask(what: Callable[[int], str], question: str) -> bool:
        from pipeline.tables import text_width

        if is_yes:
            return True
        tell(what(text_width(sys.stderr)))
        if not sys.stdin.isatty():
            raise UsageError(
                f"nobody can answer, as stdin is no terminal: {question}",
                code="E0206",
                hint="nothing was touched; add --yes to do it without being asked",
            )
        # Not typer.confirm: with err=True it still writes a space to stdout, which belongs to results.
        tell(f"{question} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    return ask


def tell(text: str, *, end: str = "\n") -> None:
    """Say something to the person, on stderr; a closed one is no reason to stop."""
    from pipeline.tables import printable_lines

    with suppress(OSError):
        print(printable_lines(hide_text(text)), file=sys.stderr, end=end, flush=True)  # noqa: T201
