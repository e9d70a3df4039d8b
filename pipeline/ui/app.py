"""The addresses of the live page, and what is answered at each."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pipeline.errors import IntegrityError
from pipeline.options import SettingsOptions
from pipeline.reading import read_regular
from pipeline.report.sheet import REPORT_NAME
from pipeline.report.verdict import Verdict
from pipeline.reporting import Wording, as_json
from pipeline.run_view import RunView, State
from pipeline.secrets import hide_text
from pipeline.ui.access import Guard
from pipeline.ui.live_report import LiveReport, reports_in
from pipeline.ui.log_tail import Place
from pipeline.ui.overview import Planner
from pipeline.ui.pages import page, part, static_file
from pipeline.ui.past_run import view_of
from pipeline.ui.progress import panel_of
from pipeline.ui.run_list import ListedRun
from pipeline.ui.stream import messages, words_of
from pipeline.ui.studio import Studio
from pipeline.ui.watcher import Sight, Watcher
from pipeline.workspace import Workspace

_MAX_REPORT_BYTES = 64 << 20
_MAX_STREAMS = 128
# A report brings its own policy, which allows one style sheet by its digest; this one forbids all else, and scripts
# even where somebody has put another file in its place.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation"
)
T = TypeVar("T")


class Site:
    """Answers requests about one workspace; reads it, and never writes."""

    def __init__(self, workspace: Workspace, options: SettingsOptions) -> None:
        self.watcher = Watcher(workspace)
        self._workspace = workspace
        self._planner = Planner(options)
        self._studio = Studio()
        self._report = LiveReport(workspace, self._studio)
        # Of its own: whoever waits for charts holds up nobody who waits for events.
        self._easel = ThreadPoolExecutor(max_workers=1, thread_name_prefix="charts")
        self._panels: tuple[int, dict[str, dict[str, Any]]] = (-1, {})
        self.num_streams = 0

    def application(self, *, token: str) -> Guard:
        """Return what a server calls."""
        routes = [
            Route("/", self._overview),
            Route("/overview", self._overview_part),
            # Names of runs are looked up and never become paths, so that they may hold anything, also slashes.
            Route("/runs/{name:path}/sections", self._sections),
            Route("/runs/{name:path}/report", self._report_file),
            Route("/runs/{name:path}", self._run),
            Route("/events", self._events),
            Route("/static/{name}", self._static),
        ]
        return Guard(Starlette(routes=routes, lifespan=self._lifespan), token=token)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.watcher.follow()), asyncio.create_task(self._tidy())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._easel.submit(self._studio.close)
            self._easel.shutdown()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(10)
            await self._at_easel(self._studio.rest)

    async def _at_easel(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._easel, work)

    async def _overview(self, _request: Request) -> Response:
        sight = await self.watcher.catch_up()
        values = await asyncio.to_thread(self._overview_values, sight)
        return HTMLResponse(
            page(
                "overview.html",
                seen=values,
                workspace=str(self._workspace.root),
                place=sight.place,
                trouble=sight.trouble,
                now=time.time(),
            )
        )

    async def _overview_part(self, _request: Request) -> Response:
        values = await asyncio.to_thread(self._overview_values, await self.watcher.catch_up())
        # With `outdated` it was too early to look again, and this is how things stood before: it is to be asked again.
        return _json({"html": part("overview", values), "outdated": values["outdated"]})

    def _overview_values(self, sight: Sight) -> dict[str, Any]:
        return {
            "overview": self._planner.overview(sight.plan_stamp),
            "outdated": self._planner.outdated(sight.plan_stamp),
            "runs": tuple(sight.runs.values()),
            "reports": sight.reports,
            "is_at_work": sight.is_at_work,
        }

    async def _run(self, request: Request) -> Response:
        sight = await self.watcher.catch_up()
        run = _asked_for(request, sight)
        if run is None:
            return HTMLResponse(page("missing.html"), status_code=404)
        values = await asyncio.to_thread(self._run_values, run, sight)
        return HTMLResponse(page("run.html", **values, run=run, place=sight.place, now=time.time()))

    def _run_values(self, run: ListedRun, sight: Sight) -> dict[str, Any]:
        view, told = self._seen(run, sight)
        wording = Wording()
        return {
            "panel": panel_of(view, at=time.time(), is_at_work=run.state == "at work"),
            "told": [(each, words) for each in told if (words := words_of(each, wording))],
            "has_report": run.name in sight.reports,
            "trouble": sight.trouble,
        }

    def _seen(self, run: ListedRun, sight: Sight) -> tuple[RunView, tuple[Any, ...]]:
        if run.name != sight.newest:
            return view_of(self.watcher.path, run.name, log=sight.place.log, end=run.end)
        return sight.view, sight.told

    async def _sections(self, request: Request) -> Response:
        sight = await self.watcher.catch_up()
        run = _asked_for(request, sight)
        if run is None:
            return PlainTextResponse("404: no such run\n", status_code=404)
        stamp = (self.watcher.version, sight.place)
        verdict = await asyncio.to_thread(self._verdict, run, sight)
        drawn = await self._at_easel(lambda: self._report.draw(run, verdict=verdict, stamp=stamp))
        known = request.query_params.get("known", "").split(",")
        fragments = [each.document(known) for each in drawn.fragments]
        wait = max(0.0, drawn.next_at - time.monotonic())
        has_report = run.name in sight.reports
        answer = {"through": drawn.place.offset, "wait": wait, "has_report": has_report, "fragments": fragments}
        return _json(answer)

    def _verdict(self, run: ListedRun, sight: Sight) -> Verdict | None:
        """Return what is said at the top of a run that is at work; the others have their verdict."""
        if run.state != "at work":
            return None
        names = [stage.name for stage in self._seen(run, sight)[0].stages.values() if stage.state is State.RUNNING]
        facts = (
            ("started", page_time(run.started)),
            ("interruptions so far", str(run.num_cuts)),
            ("command", hide_text(shlex.join(run.command))),
        )
        return Verdict(mood="plain", text="At work", detail=" and ".join(names), targets=run.targets, facts=facts)

    async def _report_file(self, request: Request) -> Response:
        run = _asked_for(request, await self.watcher.catch_up())
        name = request.path_params["name"] if run is None else run.name
        if name not in await asyncio.to_thread(reports_in, self._workspace.results):
            return HTMLResponse(page("missing.html"), status_code=404)
        try:
            path = self._workspace.resolve(f"results/{name}/{REPORT_NAME}")
            data = await asyncio.to_thread(read_regular, path, max_bytes=_MAX_REPORT_BYTES)
        except (OSError, IntegrityError) as error:
            return PlainTextResponse(f"404: {error}\n", status_code=404)
        return HTMLResponse(data, headers={"content-security-policy": _REPORT_POLICY})

    async def _events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        asked = request.headers.get("last-event-id") or request.query_params.get("from") or "0"
        # What is no offset is no place of any log: whoever asks for it is told to start over.
        offset = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 19 else -1
        place = Place(request.query_params.get("log", ""), offset)
        if self.num_streams >= _MAX_STREAMS:
            return PlainTextResponse("503: too many pages are open\n", status_code=503)
        picture = partial(self._picture, request.query_params.get("run", ""))
        told = messages(self.watcher, place, picture=picture)
        return _Stream(told, site=self)

    def _picture(self, asked: str) -> dict[str, Any]:
        """Return the run that is asked for, or else the newest, as it stands; drawn once for all who look."""
        version = self.watcher.version
        if self._panels[0] != version:
            self._panels = (version, {})
        _, panels = self._panels
        if asked not in panels:
            panels[asked] = self._panel(asked, self.watcher.sight())
        return panels[asked]

    def _panel(self, asked: str, sight: Sight) -> dict[str, Any]:
        """Return a run as a part of its page; of one that is not the newest it stays as it is."""
        around = {"log": sight.place.log, "num_reports": len(sight.reports)}
        run = sight.runs.get(asked) or sight.runs.get(sight.newest)
        if run is None:
            return {**around, "run": "", "state": ""}
        is_newest = run.name == sight.newest
        at = time.time() if is_newest else run.last_at
        panel = panel_of(self._seen(run, sight)[0], at=at, is_at_work=run.state == "at work")
        return {
            **around,
            "run": run.name,
            "through": sight.place.offset if is_newest else run.end,
            "title": panel.title,
            "html": part("panel", panel),
            "state": run.state,
        }

    async def _static(self, request: Request) -> Response:
        found = static_file(request.path_params["name"])
        if found is None:
            return PlainTextResponse("404: no such file\n", status_code=404)
        return Response(found[0], media_type=found[1])


class _Stream(StreamingResponse):
    """A stream of events, which counts among those that are open as long as it is."""

    media_type = "text/event-stream"

    def __init__(self, told: AsyncIterator[str], *, site: Site) -> None:
        super().__init__(told)
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        self._site.num_streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._site.num_streams -= 1


def _asked_for(request: Request, sight: Sight) -> ListedRun | None:
    """Return the run that an address names, by its own name or by what stands for it; None where there is none."""
    name = request.path_params["name"]
    return sight.runs.get(name) or next((run for run in sight.runs.values() if run.address == name), None)


def _json(document: dict[str, Any]) -> Response:
    # Whatever it holds: names of stages may have letters that UTF-8 has not, and figures may be no numbers.
    return Response(as_json(document), media_type="application/json")


def page_time(at: float) -> str:
    """Return a moment as reports write it, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
