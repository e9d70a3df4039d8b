"""The one boundary of the command line: where exceptions become sentences and exit codes."""

from __future__ import annotations

import errno
import os
import stat
import sys
import traceback
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from pipeline.answer import Answer
from pipeline.app import Work, app_of
from pipeline.asking import tell
from pipeline.failures import understand
from pipeline.secrets import hide, hide_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line and return its exit code; every exception ends here."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_json, is_debug = "--json" in words, "--debug" in words
    document: Mapping[str, Any] = {}
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    try:
        work: Work | int = app_of(words)(words or ["--help"], prog_name="pipeline", standalone_mode=False, obj=words)
        if isinstance(work, int):  # Typer itself has answered, as it does to --help
            return work
        answer = work()
        document = answer.document
        if answer.error is None or not is_json:
            _print(_as_json(document) if is_json else _as_text(answer))
        if answer.error is not None:
            raise answer.error
        if answer.then is not None:
            answer.then()
    except BaseException as error:  # the one place: nothing leaves this program without a sentence and a code
        failure = understand(error, words)
        if is_debug:
            tell("".join(traceback.format_exception(error)), end="")
        is_told = is_json and _is_printed(_as_json({**document, "error": failure.document()}))
        if not is_told:
            tell(failure.text())
        return failure.exit_code
    return 0


def _usable(stream: TextIO | None) -> TextIO:
    """Return `stream` so that nothing written to it can fail for its letters, or nowhere if the process has none."""
    if stream is None:
        return Path(os.devnull).open("w")
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def _print(text: str) -> None:
    """Write a result to stdout; a reader that has read enough, as `head` does, or a closed terminal is no error."""
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        # From a terminal EIO means that it was closed; from a file, that its disk fails.
        is_closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
        if error.errno != errno.EPIPE and not is_closed:
            raise
        # The interpreter flushes once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_printed(text: str) -> bool:
    try:
        _print(text)
    except OSError:  # the disk that stdout goes to is what failed
        return False
    return True


def _as_text(answer: Answer) -> str:
    from pipeline.tables import printable_lines, text_width

    return printable_lines(hide_text(answer.text(text_width(sys.stdout))))


def _as_json(document: Mapping[str, Any]) -> str:
    from pipeline.reporting import as_json

    # Not the text of it: digits of a number that look like a secret must not break the JSON.
    return as_json(hide(document), indent=2)
