"""Runs the live page as a server, until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from itertools import count

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.options import SettingsOptions
from pipeline.ui.app import Site
from pipeline.workspace import Workspace

_NICENESS = 10  # whatever runs beside it goes first
_MAX_SILENT = 128  # connections on which nothing is being answered
_GRACE_SECONDS = 1  # for clients that do not read


def serve(listener: socket.socket, *, workspace: Workspace, options: SettingsOptions, token: str) -> None:
    """Answer what comes to `listener` until Ctrl+C or SIGTERM."""
    with suppress(OSError):  # where that is not allowed, it has to do without
        os.nice(_NICENESS)
    site = Site(workspace, options)
    config = uvicorn.Config(
        site.application(token=token),
        loop="asyncio",
        http=_Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the token stands in the first line
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, site).run(sockets=[listener])


class _Connection(H11Protocol):
    """A connection that makes room for a new one where it asks for nothing.

    Whoever has no token can open any number of them, but keeps nobody out: what is answered to him is short, and then
    the silent ones that came first are closed.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and close those that have been silent for longest where there are too many."""
        super().connection_made(transport)
        self._number = next(_numbers)
        silent = [each for each in self.connections if isinstance(each, _Connection) and each.is_silent]
        for each in sorted(silent, key=lambda one: one._number)[:-_MAX_SILENT]:
            each.transport.abort()

    @property
    def is_silent(self) -> bool:
        """Whether nothing is being answered on it."""
        return self.cycle is None or self.cycle.response_complete


_numbers = count()


class _Server(uvicorn.Server):
    """Ends the streams of events first: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, site: Site) -> None:
        super().__init__(config)
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, and end."""
        # A client that reads nothing is cut off, which is no error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._site.watcher.end()
        await super().shutdown(sockets)
