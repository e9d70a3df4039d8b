"""The report of a run that may still be at work: what is new is read on, and only what has changed is drawn."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.observe import ground
from pipeline.records import StageRecord
from pipeline.report.content import Content, Section, charts_of, content_of
from pipeline.report.history import History, HistoryFold
from pipeline.report.parts import TableBlock
from pipeline.report.sheet import REPORT_NAME, SHEET_NAME, RunSheet, SheetStage, load_sheet, stage_of
from pipeline.report.verdict import Verdict
from pipeline.report.writer import parts_of, results_of
from pipeline.ui.log_tail import LogChanged, Place, events_after
from pipeline.ui.pages import Fragment, report_fragments
from pipeline.ui.run_list import ListedRun
from pipeline.ui.studio import Studio
from pipeline.workspace import Workspace

_HASH = re.compile(r"[0-9a-f]{32}")
_BATCH = 5000
_MAX_KINDS = 8  # of outputs of a stage, any of which together may be an input; of more it is one of them, or all
_MAX_OPEN = 4  # runs whose history is kept in memory
# A refresh is followed by a pause of so many times of what it took: drawing takes at most a fortieth of one core.
_PAUSE_FACTOR = 40.0
_MAX_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A report as it stood when the log had been read through `place`; it is not drawn again before `next_at`.

    Attributes:
        standing: the state of the run, and whether its report was written; when that changes nothing is waited for.
    """

    place: Place
    standing: tuple[str, bool]
    stamp: object
    fragments: tuple[Fragment, ...]
    next_at: float


@dataclass
class _Opened:
    """The history of a run as far as it was read; `runs` says whose work each stage shows."""

    runs: Mapping[str, str]
    fold: HistoryFold
    place: Place = field(default_factory=Place)


class LiveReport:
    """Reads and draws the reports of the runs of `workspace`; not for several threads at a time.

    Args:
        clock: gives seconds that go on whatever is done to the time of day.
    """

    def __init__(
        self,
        workspace: Workspace,
        studio: Studio,
        *,
        pause_factor: float = _PAUSE_FACTOR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace = workspace
        self._studio = studio
        self._pause_factor = pause_factor
        self._clock = clock
        self._opened: dict[str, _Opened] = {}
        self._drawn: dict[str, Drawn] = {}

    def draw(self, run: ListedRun, *, verdict: Verdict | None, stamp: object) -> Drawn:
        """Return the report of `run`, as it was where it is too early to draw it again, or `stamp` is still the same.

        `verdict` takes the place of the one that the records give, while the run is at work.
        """
        started, num_started = self._clock(), self._studio.num_started
        known, standing = self._drawn.get(run.name), (run.state, run.name in reports_in(self._workspace.results))
        if known is not None and known.standing == standing and (stamp == known.stamp or started < known.next_at):
            return known
        sheet, records = self._sheet(run)
        problems: list[str] = []
        history, place = self._history(run, sheet, records, problems)
        content = content_of(
            replace(sheet, stages=tuple(_with_detail(stage, history) for stage in sheet.stages)),
            records,
            history,
            list(parts_of(records, workspace=self._workspace, problems=problems)),
            results=results_of(records, workspace=self._workspace, problems=problems),
            targets=run.targets,
            problems=problems,
        )
        content = replace(
            content, verdict=verdict or content.verdict, sections=tuple(filter(_tells_something, content.sections))
        )
        fragments = self._fragments(content)
        now = self._clock()
        # What it takes to start the process that draws is not taken again.
        has_trouble = any(fragment.id == "trouble" for fragment in fragments)
        took = 0.0 if self._studio.num_started > num_started and not has_trouble else now - started
        drawn = Drawn(
            place=place,
            standing=standing,
            stamp=stamp,
            fragments=fragments,
            next_at=now + min(_MAX_PAUSE_SECONDS, self._pause_factor * took),
        )
        self._keep(run.name, drawn)
        return drawn

    def _keep(self, name: str, drawn: Drawn) -> None:
        for kept in (self._drawn, self._opened):
            if name in kept:
                kept[name] = kept.pop(name)  # type: ignore[assignment]  # the newest last
            while len(kept) > _MAX_OPEN:
                kept.pop(next(iter(kept)))
        self._drawn[name] = drawn

    def _fragments(self, content: Content) -> tuple[Fragment, ...]:
        charts = charts_of(content.sections)
        pictures, trouble = self._studio.draw(charts)
        return report_fragments(content, pictures=pictures, trouble=trouble)

    def _sheet(self, run: ListedRun) -> tuple[RunSheet, dict[str, StageRecord]]:
        """Return what was asked for, and the records of what is done of it."""
        saved = self._saved_sheet(run.name)
        names = run.stages or tuple(stage.name for stage in saved.stages)
        records: dict[str, StageRecord] = {}
        for name in names:
            if (record := self._record(name, run, saved, upstream=records)) is not None:
                records[name] = record
        sheet = replace(
            saved,
            run=run.name,
            profile=run.profile or saved.profile,
            stages=tuple(stage_of(name, records.get(name)) for name in names),
        )
        return sheet, records

    def _saved_sheet(self, name: str) -> RunSheet:
        if name in reports_in(self._workspace.results):
            with suppress(OSError, IntegrityError):
                return load_sheet(self._workspace.results / name / SHEET_NAME)
        return RunSheet(run=name, profile="", command="", settings={}, stages=())

    def _record(
        self, stage: str, run: ListedRun, saved: RunSheet, *, upstream: Mapping[str, StageRecord]
    ) -> StageRecord | None:
        """Return the record of a stage with the same settings that rests on what this run has made upstream.

        Of several it is the one that the sheet names, or the newest.
        """
        config_hash = run.hashes.get(stage, "")
        noted = next((each for each in saved.stages if each.name == stage), SheetStage(name=stage))
        # Names come from a log that anybody may have written: they are compared, and never become a path.
        folder = self._workspace.checkpoints
        folders = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if stage not in folders or not _HASH.fullmatch(config_hash or noted.config_hash):
            return None
        known, found = {*run.hashes, *run.stages, *(each.name for each in saved.stages)}, []
        for path in (folder / stage).glob(f"{config_hash or noted.config_hash}*.json"):
            with suppress(OSError, IntegrityError):
                record = self._workspace.records.load(path)
                if _rests_on(record, upstream, among=known):
                    found.append(record)
        exact = [record for record in found if record.inputs_digest == noted.inputs_digest and noted.config_hash]
        return max(exact or found, key=lambda record: record.finished_at, default=None)

    def _history(
        self,
        run: ListedRun,
        sheet: RunSheet,
        records: Mapping[str, StageRecord],
        problems: list[str],
    ) -> tuple[History, Place]:
        names = [stage.name for stage in sheet.stages]
        runs = {name: (records[name].run if name in records else "") or run.name for name in names}
        opened = self._opened.get(run.name)
        if opened is None or opened.runs != runs:
            opened = _Opened(runs, HistoryFold(runs))
        try:
            try:
                self._read_on(opened, run.name)
            except LogChanged:
                opened = _Opened(runs, HistoryFold(runs))
                self._read_on(opened, run.name)
        except LogChanged:
            problems.append("the log of events is being replaced")
        except (OSError, IntegrityError) as error:
            problems.append(f"the log of events cannot be read: {error}")
        self._opened[run.name] = opened
        return opened.fold.history(is_running=run.state == "at work"), opened.place

    def _read_on(self, opened: _Opened, run: str) -> None:
        # Its own events too where all its work is that of others: a page asks again until they have been read.
        path, names, is_last = self._workspace.event_log, {run, *opened.runs.values()}, False
        while not is_last:
            batch = events_after(path, opened.place, limit=_BATCH, runs=names)
            for logged in batch.events:
                opened.fold.take(logged)
            opened.place, is_last = batch.place, batch.is_last


def reports_in(results: Path) -> frozenset[str]:
    """Return the runs that have a report: names of folders that are there, so that none leads anywhere else."""
    with suppress(OSError):
        files = [path / REPORT_NAME for path in results.iterdir() if not path.is_symlink()]
        return frozenset(file.parent.name for file in files if file.is_file() and not file.is_symlink())
    return frozenset()


def _rests_on(record: StageRecord, upstream: Mapping[str, StageRecord], *, among: Collection[str]) -> bool:
    """Return whether the inputs of `record` that are outputs of the stages `among` are those of `upstream`.

    The settings of a stage do not tell what it stood on: those of an evaluation are the same for every model.
    """
    inputs = {name: digest for name, digest in record.inputs.items() if name in among}
    return all(name in upstream and digest in _grounds(upstream[name]) for name, digest in inputs.items())


def _grounds(record: StageRecord) -> Iterator[str]:
    """Yield the digests of what others may have consumed of a stage; a log does not tell of which kinds that was."""
    yield ground(record, ())
    kinds = sorted({artifact.kind for artifact in record.artifacts})
    most = len(kinds) if len(kinds) <= _MAX_KINDS else 1
    yield from (ground(record, some) for num in range(1, most + 1) for some in combinations(kinds, num))


def _with_detail(stage: SheetStage, history: History) -> SheetStage:
    """Return the line of a stage with how things stand where it has no record."""
    if stage.config_hash:
        return stage
    attempts = history.stages[stage.name].attempts
    if not attempts:
        return replace(stage, detail="not begun")
    ending, words = attempts[-1].ending, attempts[-1].words
    return replace(stage, detail=words if ending in words else ": ".join(filter(None, [ending, words])))


def _tells_something(section: Section) -> bool:
    return bool(section.command) or any(not isinstance(item, TableBlock) or item.rows for item in section.items)
