"""How a command that went wrong says so: what happened, what to do next, and an exit code."""

from __future__ import annotations

import errno
import shlex
import shutil
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from pipeline.errors import IntegrityError, Interrupted, PipelineError, ResourceExhausted, UsageError
from pipeline.files import DISK_FULL
from pipeline.memory import is_out_of_memory, said

USAGE = UsageError.exit_code
RESOURCES = ResourceExhausted.exit_code
INTEGRITY = IntegrityError.exit_code
INTERNAL_ERROR = 101  # as cargo and others exit on their own bugs
KEYBOARD_INTERRUPT = 130
_STOPPED = ("E0701", "E0702")  # by the user or the machine: there is nothing to explain

_MORE_MEMORY = "give it more memory or less to hold at once, e.g. a smaller --batch-size; then run it again"
_GO_ON = "run the same command again; what was finished is kept"
_BROKEN_DISK = f"look at the disk (`dmesg` tells what the kernel saw of it), then {_GO_ON}"
_MOVED = f"something removed, moved or replaced files while they were worked with; leave them alone and {_GO_ON}"
_NOT_ALLOWED = "look at its owner and permissions, or give another folder with --workspace"
_TOO_MANY_FILES = f"allow more open files (`ulimit -n 4096`), then {_GO_ON}"

# What errors of the operating system mean, whichever file they are about: (code, hint, exit code). All others are our
# bugs.
_SYSTEM_ERRORS = {
    **dict.fromkeys(DISK_FULL, ("E0601", f"free some space, then {_GO_ON}", RESOURCES)),
    errno.ENOMEM: ("E0603", _MORE_MEMORY, RESOURCES),
    errno.EFBIG: ("E0604", f"allow larger files (`ulimit -f unlimited`), then {_GO_ON}", RESOURCES),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), ("E0605", _TOO_MANY_FILES, RESOURCES)),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ("E0606", _NOT_ALLOWED, RESOURCES)),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO), ("E0416", _BROKEN_DISK, INTEGRITY)),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY),
        ("E0417", _MOVED, INTEGRITY),
    ),
    errno.ENAMETOOLONG: ("E0207", "choose shorter names", USAGE),
}


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
    kind = type(error).__name__
    match error:
        case Interrupted():
            code, hint, exit_code = error.code, _how_to_resume(words), error.exit_code
            message = error.message
        case PipelineError():
            code, hint, exit_code = error.code, error.hint, error.exit_code
            message = error.message
        case typer.TyperException():
            kind, message = "UsageError", _sentence(error.format_message())
            code, hint, exit_code = "E0201", _how_to_get_help(error), USAGE
        case OSError() if error.errno in _SYSTEM_ERRORS:
            message = _about_file(error)
            code, hint, exit_code = _SYSTEM_ERRORS[error.errno]
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            message = f"out of memory: {said(error)}"
            code, hint, exit_code = "E0603", _MORE_MEMORY, RESOURCES
        case KeyboardInterrupt() | typer.Abort():
            message = "stopped by Ctrl+C"
            code, hint, exit_code = "E0701", _GO_ON, KEYBOARD_INTERRUPT
        case _:
            message = f"internal error: {kind}: {error}"
            code, hint, exit_code = "E0901", _how_to_see_more(words), INTERNAL_ERROR
    return Failure(code=code, kind=kind, message=message, hint=hint, exit_code=exit_code)


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
