"""What an error is, wherever it comes up: its code, what happened, what to do about it, and the exit code."""

from __future__ import annotations

import errno
import shutil
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import IntegrityError, PipelineError, ResourceExhausted, UsageError
from pipeline.files import DISK_FULL
from pipeline.memory import is_out_of_memory, said

BUG = "E0901"
_INTERNAL_ERROR = 101  # as cargo and others exit on their own bugs
_KEYBOARD_INTERRUPT = 130
_USAGE = UsageError.exit_code
_RESOURCES = ResourceExhausted.exit_code
_INTEGRITY = IntegrityError.exit_code

_MORE_MEMORY = "give it more memory or less to hold at once, e.g. a smaller --batch-size; then run it again"
_GO_ON = "run the same command again; what was finished is kept"
_BROKEN_DISK = f"look at the disk (`dmesg` tells what the kernel saw of it), then {_GO_ON}"
_MOVED = f"something removed, moved or replaced files while they were worked with; leave them alone and {_GO_ON}"
_NOT_ALLOWED = "look at its owner and permissions, or give another folder with --workspace"
_TOO_MANY_FILES = f"allow more open files (`ulimit -n 4096`), then {_GO_ON}"

# What errors of the operating system mean, whichever file they are about: (code, hint, exit code). All others are our
# bugs.
_SYSTEM_ERRORS = {
    **dict.fromkeys(DISK_FULL, ("E0601", f"free some space, then {_GO_ON}", _RESOURCES)),
    errno.ENOMEM: ("E0603", _MORE_MEMORY, _RESOURCES),
    errno.EFBIG: ("E0604", f"allow larger files (`ulimit -f unlimited`), then {_GO_ON}", _RESOURCES),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), ("E0605", _TOO_MANY_FILES, _RESOURCES)),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ("E0606", _NOT_ALLOWED, _RESOURCES)),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO), ("E0416", _BROKEN_DISK, _INTEGRITY)),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY),
        ("E0417", _MOVED, _INTEGRITY),
    ),
    errno.ENAMETOOLONG: ("E0207", "choose shorter names", _USAGE),
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is known of an error without the command line that it ended; without a remedy `hint` is empty."""

    code: str
    message: str
    hint: str
    exit_code: int


def diagnose(error: BaseException) -> Diagnosis:
    """Return what `error` is; whatever nobody expected is a bug."""
    match error:
        case PipelineError():
            code, hint, exit_code, message = error.code, error.hint, error.exit_code, error.message
        case OSError() if error.errno in _SYSTEM_ERRORS:
            message = _about_file(error)
            code, hint, exit_code = _SYSTEM_ERRORS[error.errno]
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            message = f"out of memory: {said(error)}"
            code, hint, exit_code = "E0603", _MORE_MEMORY, _RESOURCES
        case KeyboardInterrupt():
            message = "stopped by Ctrl+C"
            code, hint, exit_code = "E0701", _GO_ON, _KEYBOARD_INTERRUPT
        case _:
            message = f"internal error: {type(error).__name__}: {error}"
            code, hint, exit_code = BUG, "this is a bug in the program or in a stage", _INTERNAL_ERROR
    return Diagnosis(code=code, message=message, hint=hint, exit_code=exit_code)


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
