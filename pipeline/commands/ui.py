"""`pipeline ui`: shows runs and records in a browser, live; reads only."""

from __future__ import annotations

import importlib.util
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from html import escape
from pathlib import Path
from socket import socket
from threading import Thread
from typing import TYPE_CHECKING

from pipeline.answer import Answer
from pipeline.browser import Show
from pipeline.descriptions import head
from pipeline.errors import UsageError
from pipeline.options import SettingsOptions
from pipeline.reading import open_regular
from pipeline.session import open_session
from pipeline.ui.address import listen, new_token, read_token, url_of

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

_PACKAGES = ("starlette", "uvicorn", "jinja2")
_BOUNCE = (
    '<!doctype html><meta charset="utf-8"><title>pipeline</title><meta http-equiv="refresh" content="0;url={0}">\n'
)


def ui(settings: SettingsOptions, *, port: int, token_file: Path | None, show: Show | None) -> Answer:
    """Listen, and serve once the address is told; `show` shows the page in a browser."""
    _require_packages()
    workspace = open_session(settings).workspace
    _require_workspace(workspace)
    token = new_token() if token_file is None else read_token(token_file)
    listener = listen(port)
    url = url_of(listener, token)
    document = {**head("ui", workspace), "url": url, "port": listener.getsockname()[1]}
    serving = partial(_serve, listener, workspace, settings, token=token, url=url, show=show)
    return Answer(document, lambda _: url, then=serving)


def _serve(
    listener: socket, workspace: Workspace, settings: SettingsOptions, *, token: str, url: str, show: Show | None
) -> None:
    with _ended_by_signals(), ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))  # the way to end it
        stack.enter_context(listener)
        from pipeline.ui.server import serve

        if show is not None:
            # A file that only this user can read: the command line of a browser, which would hold the token, is seen by
            # all users of the machine.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipeline-ui-")))
            file = folder / "open.html"
            file.write_text(_BOUNCE.format(escape(url)))
            # In a thread: some browsers stay in the foreground, and the page is to be there for them.
            Thread(target=show, args=(file,), name="browser", daemon=True).start()
        serve(listener, workspace=workspace, options=settings, token=token)


class _Told(BaseException):
    """A signal has asked for the end."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, tidy up what is inside; then the process ends as by SIGTERM."""

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: not while it is being tidied up
        raise _Told

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGTERM, end)
    if before[signal.SIGHUP] is signal.SIG_DFL:  # and not where `nohup` has put another
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    except _Told:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the live page needs packages that are not installed: {', '.join(missing)}",
            code="E0226",
            hint=f"install them: python -m pip install {' '.join(missing)}",
        )


def _require_workspace(workspace: Workspace) -> None:
    """Make sure that there is something to show, or will be, and that its log can be read."""
    folders = (workspace.checkpoints, workspace.datasets, workspace.results, workspace.logs)
    if not any(folder.is_dir() for folder in folders):
        raise UsageError(
            f"{workspace.root} is no workspace: it has none of the folders that a run makes",
            code="E0227",
            hint="give the folder of your runs with --workspace; `pipeline run` makes one",
        )
    try:
        open_regular(workspace.event_log).close()
    except FileNotFoundError:
        return  # nothing was run here yet
