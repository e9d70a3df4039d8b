"""How a command that went wrong says so: what happened, what to do next, and an exit code."""

from __future__ import annotations

import errno
import shlex
import shutil
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pipeline.errors import IntegrityError, Interrupted, PipelineError, ResourceExhausted, UsageError
from pipeline.files import DISK_FULL
from pipeline.memory import is_out_of_memory, said

USAGE = UsageError.exit_code
INTERNAL_ERROR = 101  # as cargo and others exit on their own bugs
KEYBOARD_INTERRUPT = 130

_MORE_MEMORY = "give it more memory or less to hold at once, e.g. a smaller --batch-size; then run it again"
_GO_ON = "run the same command again; what was finished is kept"
_BROKEN_DISK = f"look at the disk (`dmesg` tells what the kernel saw of it), then {_GO_ON}"
_MOVED = f"something removed, moved or replaced files while they were worked with; leave them alone and {_GO_ON}"
_NOT_ALLOWED = "look at its owner and permissions, or give another folder with --workspace"
_TOO_MANY_FILES = f"allow more open files (`ulimit -n 4096`), then {_GO_ON}"

# What errors of the operating system mean, whichever file they are about: (hint, exit code). All others are our bugs.
_SYSTEM_ERRORS = {
    **dict.fromkeys(DISK_FULL, (f"free some space, then {_GO_ON}", ResourceExhausted.exit_code)),
    errno.EFBIG: (f"allow larger files (`ulimit -f unlimited`), then {_GO_ON}", ResourceExhausted.exit_code),
    errno.ENOMEM: (_MORE_MEMORY, ResourceExhausted.exit_code),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), (_TOO_MANY_FILES, ResourceExhausted.exit_code)),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), (_NOT_ALLOWED, ResourceExhausted.exit_code)),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO), (_BROKEN_DISK, IntegrityError.exit_code)),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY),
        (_MOVED, IntegrityError.exit_code),
    ),
    errno.ENAMETOOLONG: ("choose shorter names", USAGE),
}


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
        case OSError() if error.errno in _SYSTEM_ERRORS:
            told = _about_file(error), *_SYSTEM_ERRORS[error.errno]
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            told = f"out of memory: {said(error)}", _MORE_MEMORY, ResourceExhausted.exit_code
        case KeyboardInterrupt() | typer.Abort():
            told = "stopped by Ctrl+C", _GO_ON, KEYBOARD_INTERRUPT
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
    if error.errno in DISK_FULL and error.filename:
        with suppress(OSError):
            what += f", {shutil.disk_usage(Path(error.filename).parent).free} bytes are free"
    if error.filename:
        return f"{error.filename}: {what}"
    # Writing to what is open already names no file: then it is told what was being done.
    frames = traceback.extract_tb(error.__traceback__)
    return f"{what}, in {frames[-1].name} ({Path(frames[-1].filename).name})" if frames else what
