"""How a command that went wrong says so: what happened, what to do next, and an exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import typer

from pipeline.diagnosis import BUG, diagnose
from pipeline.errors import Interrupted, UsageError

_STOPPED = ("E0701", "E0702")  # by the user or the machine: there is nothing to explain


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as the user is told it; `kind` is its class, for programs."""

    code: str
    kind: str
    message: str
    hint: str
    exit_code: int

    def text(self) -> str:
        """Return the sentences for a person."""
        lines = [f"error[{self.code}]: {self.message}"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        if self.code not in _STOPPED:
            lines.append(f"more: {_command(['explain', self.code])}")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return the same for a program."""
        return asdict(self)


def understand(error: BaseException, words: Sequence[str]) -> Failure:
    """Return what `error`, which ended the command line `words`, is to the user."""
    if isinstance(error, typer.TyperException):
        from pipeline.complaints import in_our_words  # it brings pydantic, which nothing else here needs

        return Failure(
            code="E0201",
            kind=UsageError.__name__,
            message=_sentence(in_our_words(error.format_message())),
            hint=_how_to_get_help(error, words),
            exit_code=UsageError.exit_code,
        )
    found = diagnose(KeyboardInterrupt() if isinstance(error, typer.Abort) else error)
    hint = found.hint
    if isinstance(error, Interrupted):
        hint = _how_to_resume(words)
    elif found.code == BUG:
        hint += f"; {_how_to_see_more(words)}"
    return Failure(
        code=found.code, kind=type(error).__name__, message=found.message, hint=hint, exit_code=found.exit_code
    )


def _how_to_resume(words: Sequence[str]) -> str:
    kept = [word for word in words if not word.replace("_", "-").startswith("--force-")]
    note = "" if len(kept) == len(words) else " (without --force, which would start from zero again)"
    return f"to go on from there, run: {_command(kept)}{note}"


def _how_to_see_more(words: Sequence[str]) -> str:
    if "--debug" in words:
        return "the traceback says where"
    return f"to see where, run: {_command(['--debug', *words])}"


def _command(words: Sequence[str]) -> str:
    is_module = Path(sys.argv[0]).name == "__main__.py"
    return shlex.join([*(("python", "-m", "pipeline") if is_module else ("pipeline",)), *words])


def _how_to_get_help(error: typer.TyperException, words: Sequence[str]) -> str:
    context = getattr(error, "ctx", None)
    # Of an option without its value Typer does not say which command it was given to.
    named = takewhile(lambda word: not word.startswith("-"), (word for word in words if word != "--debug"))
    return f"`{context.command_path if context else shlex.join(['pipeline', *named])} --help` lists what it takes"


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
