"""The addresses of the live page, and what is answered at each."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.errors import IntegrityError
from pipeline.options import SettingsOptions
from pipeline.reading import read_regular
from pipeline.report.sheet import REPORT_NAME
from pipeline.report.verdict import Verdict
from pipeline.reporting import Wording
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
        self._panel: tuple[int, dict[str, Any]] = (-1, {})

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
            page("overview.html", seen=values, workspace=str(self._workspace.root), place=sight.place, now=time.time())
        )

    async def _overview_part(self, _request: Request) -> Response:
        values = await asyncio.to_thread(self._overview_values, await self.watcher.catch_up())
        return HTMLResponse(part("overview", values))

    def _overview_values(self, sight: Sight) -> dict[str, Any]:
        return {
            "overview": self._planner.overview(sight.plan_stamp),
            "runs": tuple(sight.runs.values()),
            "reports": sight.reports,
            "trouble": sight.trouble,
            "is_at_work": sight.is_at_work,
        }

    async def _run(self, request: Request) -> Response:
        sight = await self.watcher.catch_up()
        run = sight.runs.get(request.path_params["name"])
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
            return view_of(self.watcher.path, run.name)
        with self.watcher.lock:
            return self.watcher.view, tuple(self.watcher.told)

    async def _sections(self, request: Request) -> Response:
        sight = await self.watcher.catch_up()
        run = sight.runs.get(request.path_params["name"])
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
        return JSONResponse(answer)

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
        name = request.path_params["name"]
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
        return StreamingResponse(messages(self.watcher, place, picture=self._picture), media_type="text/event-stream")

    def _picture(self) -> dict[str, Any]:
        """Return the newest run as it stands, as a part of a page; drawn once for all who look."""
        version = self.watcher.version
        if self._panel[0] != version:
            sight = self.watcher.sight()
            with self.watcher.lock:
                panel = panel_of(self.watcher.view, at=time.time(), is_at_work=sight.is_at_work)
            shown = {
                "run": sight.newest,
                "through": sight.place.offset,
                "log": sight.place.log,
                "title": panel.title,
                "html": part("panel", panel),
                "num_reports": len(sight.reports),
                "state": sight.runs[sight.newest].state if sight.newest else "",
            }
            self._panel = (version, shown)
        return self._panel[1]

    async def _static(self, request: Request) -> Response:
        found = static_file(request.path_params["name"])
        if found is None:
            return PlainTextResponse("404: no such file\n", status_code=404)
        return Response(found[0], media_type=found[1])


def page_time(at: float) -> str:
    """Return a moment as reports write it, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
