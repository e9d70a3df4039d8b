"""Runs the live page as a server, until it is told to end."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import uvicorn

from pipeline.options import SettingsOptions
from pipeline.ui.app import Site
from pipeline.workspace import Workspace

_NICENESS = 10  # whatever runs beside it goes first
_MAX_CONNECTIONS = 256
_GRACE_SECONDS = 1  # for clients that do not read


def serve(listener: socket.socket, *, workspace: Workspace, options: SettingsOptions, token: str) -> None:
    """Answer what comes to `listener` until Ctrl+C or SIGTERM."""
    with suppress(OSError):  # where that is not allowed, it has to do without
        os.nice(_NICENESS)
    site = Site(workspace, options)
    config = uvicorn.Config(
        site.application(token=token),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the token stands in the first line
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, site).run(sockets=[listener])


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
