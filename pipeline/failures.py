"""How a command that went wrong says so: what happened, what to do next, and an exit code."""

from __future__ import annotations

import errno
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pipeline.errors import Interrupted, PipelineError, ResourceExhausted

USAGE = 2
INTERNAL_ERROR = 101  # as cargo and others exit on their own bugs
KEYBOARD_INTERRUPT = 130
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True)
class Failure:
    """An error as the user is told it; `kind` is its class, for programs."""

    kind: str
    message: str
    hint: str
    exit_code: int

    def text(self) -> str:
        """Return the sentences for a person."""
        return f"error: {self.message}" + (f"\nhint: {self.hint}" if self.hint else "")

    def document(self) -> dict[str, Any]:
        """Return the same for a program."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint, "exit_code": self.exit_code}


def understand(error: BaseException, words: Sequence[str]) -> Failure:
    """Return what `error`, which ended the command line `words`, is to the user."""
    kind = type(error).__name__
    match error:
        case Interrupted():
            told = error.message, _how_to_resume(words), error.code
        case PipelineError():
            told = error.message, error.hint, error.exit_code
        case typer.TyperException():
            kind = "UsageError"
            told = _sentence(error.format_message()), _how_to_get_help(error), USAGE
        case MemoryError():
            hint = "give it more memory or less to hold at once, e.g. a smaller --batch-size; then run it again"
            told = "out of memory", hint, ResourceExhausted.exit_code
        case OSError() if error.errno in _DISK_FULL:
            hint = "free some space and run the same command again; what was finished is kept"
            told = _about_file(error), hint, ResourceExhausted.exit_code
        case OSError() if error.errno in _DISK_CLOSED:
            hint = "look at its owner and permissions, or give another folder with --workspace"
            told = _about_file(error), hint, ResourceExhausted.exit_code
        case KeyboardInterrupt() | typer.Abort():
            told = "stopped by Ctrl+C", "what was finished is kept; run the same command again", KEYBOARD_INTERRUPT
        case _:
            told = f"internal error: {kind}: {error}", _how_to_see_more(words), INTERNAL_ERROR
    return Failure(kind, *told)


def _how_to_resume(words: Sequence[str]) -> str:
    kept = [word for word in words if not word.replace("_", "-").startswith("--force-")]
    note = "" if len(kept) == len(words) else " (without --force, which would start from zero again)"
    return f"to go on from there, run: {_command(kept)}{note}"


def _how_to_see_more(words: Sequence[str]) -> str:
    where = "the traceback says where" if "--debug" in words else f"to see where, run: {_command(['--debug', *words])}"
    return f"this is a bug in the program or in a stage; {where}"


def _command(words: Sequence[str]) -> str:
    is_module = Path(sys.argv[0]).name == "__main__.py"
    return shlex.join([*(("python", "-m", "pipeline") if is_module else ("pipeline",)), *words])


def _how_to_get_help(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'pipeline'} --help` lists what it takes"


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _about_file(error: OSError) -> str:
    what = error.strerror or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what
