"""Where the live page is found: a port of this machine alone, and the token without which nothing is shown."""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
from pathlib import Path

from pipeline.errors import IntegrityError, UsageError
from pipeline.reading import read_regular

_HOST = "127.0.0.1"  # never another one: whoever wants it from elsewhere has ssh, which knows who he is
_BACKLOG = 64
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,200}")
_MAX_BYTES = 1024
_HOW = "make one with `(umask 077; openssl rand -hex 32 > FILE)`"


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this port of the loopback interface, or on a free one for port 0.

    Raises:
        UsageError: the port is taken, or not for this user.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port of which old connections are still being closed is free, as after a restart; one on which somebody
    # listens is not.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {_HOST}:{port}: {error.strerror}",
            code="E0224",
            hint="give another one with --port, or leave it out for any that is free",
        ) from error
    return listener


def url_of(listener: socket.socket, token: str) -> str:
    """Return the address of the page, with the token."""
    return f"http://{_HOST}:{listener.getsockname()[1]}/?token={token}"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def read_token(path: Path) -> str:
    """Return the token that lies in a file, so that open pages find back after a restart.

    Raises:
        UsageError: it cannot be read, others can read it too, or it holds something else.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - as `os.geteuid` beside it
        text = read_regular(path, max_bytes=_MAX_BYTES).decode(errors="replace").strip()
    except (OSError, IntegrityError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "it is too large, or no regular file"
        raise UsageError(f"the token cannot be read from {path}: {why}", code="E0225", hint=_HOW) from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"{path} does not belong to you alone, so others may know the token in it", code="E0225", hint=_HOW
        )
    if not _TOKEN.fullmatch(text):
        raise UsageError(f"{path} holds no token: it takes 32 to 200 letters, digits, - or _", code="E0225", hint=_HOW)
    return text
