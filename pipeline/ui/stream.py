"""Server-sent events: each event of the log with the offset behind its line as its id, none lost or repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.event_reader import LoggedEvent
from pipeline.reporting import Wording, as_json
from pipeline.ui.log_tail import LogChanged, Place, events_after, identify
from pipeline.ui.progress import cut
from pipeline.ui.watcher import Watcher

_BATCH = 200  # events that are read at once for one client: what a slow one holds up is no more than that
_BEAT_SECONDS = 10.0  # between signs of life; proxies and tunnels give up on a silent connection after 30 or 60
_RETRY_MILLISECONDS = 1000

Picture = Callable[[], Mapping[str, Any]]


async def messages(watcher: Watcher, place: Place, *, picture: Picture) -> AsyncIterator[str]:
    """Yield all events behind `place`, and then those that come, for as long as somebody reads.

    Besides its events a client is sent `view` (a run as it stands, what `picture` returns, where that has changed or
    a trouble is over), `beat` as a sign of life, `reset` when the log was begun anew, after which all of the new one
    follows, and `trouble` when it cannot be read.
    """
    yield f"retry: {_RETRY_MILLISECONDS}\n\n"
    wording, beat, shown, told_trouble = Wording(), _Beat(), -1, ""
    view: Mapping[str, Any] | None = None
    while not watcher.is_over:
        version = watcher.version
        try:
            batch = await asyncio.to_thread(events_after, watcher.path, place, limit=_BATCH)
        except LogChanged:
            place = Place(await asyncio.to_thread(identify, watcher.path))
            yield message("reset", {"log": place.log}, id=0)
            continue
        except (OSError, IntegrityError) as error:
            if str(error) != told_trouble:
                told_trouble = str(error)
                yield message("trouble", {"text": told_trouble})
            yield beat.due()
            shown, view = -1, None
            await asyncio.sleep(1)
            continue
        told_trouble = ""
        place = batch.place
        if batch.events:
            yield "".join(_event(logged, wording) for logged in batch.events)
        if not batch.is_last:
            continue
        if version != shown:
            shown, before = version, view
            view = await asyncio.to_thread(picture)
            if view != before:
                yield message("view", view)
        await watcher.changed(since=version, timeout=_BEAT_SECONDS)
        yield beat.due()


class _Beat:
    """Signs of life, at regular times."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def due(self) -> str:
        """Return one where it is time for it; otherwise nothing, which sends nothing."""
        if time.monotonic() - self._told_at < _BEAT_SECONDS:
            return ""
        self._told_at = time.monotonic()
        # As a comment too, for readers that know of no such event.
        return f": beat\n{message('beat', {})}"


def message(kind: str, data: Mapping[str, Any], *, id: int | None = None) -> str:  # noqa: A002 - its name in the format
    """Return one message; its data have the time of the server, by which a page tells how old things are."""
    head = "" if id is None else f"id: {id}\n"
    # In JSON no line ends stand inside of texts, so the data are one line.
    return f"{head}event: {kind}\ndata: {as_json({**data, 'now': time.time()})}\n\n"


def words_of(logged: LoggedEvent, wording: Wording) -> str:
    """Return what an event tells in words; empty where it needs none, or is not what it says."""
    with suppress(LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        return cut(wording.text(logged.event))
    return ""


def _event(logged: LoggedEvent, wording: Wording) -> str:
    event = logged.event
    document = {"time": logged.time, "run": logged.run, "kind": event.kind, "stage": event.stage, "data": event.data}
    return message("log", {**document, "words": words_of(logged, wording)}, id=logged.end)
