"""What a report says, section by section, before it becomes a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pipeline.records import StageRecord, Target
from pipeline.report import provenance
from pipeline.report.charts import Axis, Chart, lines_chart
from pipeline.report.chunk_map import chunk_charts
from pipeline.report.curves import curve_charts
from pipeline.report.history import History
from pipeline.report.parts import Block, LinesBlock, MatrixBlock, PicturesBlock, ReportPart, TableBlock
from pipeline.report.sheet import RunSheet
from pipeline.report.timeline import timeline_chart
from pipeline.report.verdict import Verdict, judge

Item = Chart | TableBlock | MatrixBlock | PicturesBlock
Layout = Literal["stack", "grid", "folded"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page; "folded" items are shown when they are opened, those of a "grid" side by side.

    Attributes:
        num_open: how many of the folded items are open from the start.
    """

    title: str
    intro: str = ""
    items: tuple[Item, ...] = ()
    layout: Layout = "stack"
    command: str = ""
    num_open: int = 0


@dataclass(frozen=True, kw_only=True)
class Content:
    """A whole report."""

    run: str
    profile: str
    verdict: Verdict
    sections: tuple[Section, ...]


def charts_of(sections: Sequence[Section]) -> list[Chart]:
    """Return all charts in the order of the page."""
    return [item for section in sections for item in section.items if isinstance(item, Chart)]


def content_of(
    sheet: RunSheet,
    records: Mapping[str, StageRecord],
    history: History,
    parts: Sequence[ReportPart],
    *,
    results: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    targets: Sequence[Target] = (),
    problems: Sequence[str] = (),
) -> Content:
    """Put together all that is known of a run.

    `results` are the results documents of its stages, `targets` those that no record has yet, as of a run that is at
    work, and `problems` what could not be read for the report.
    """
    history, lacking = history.with_done(records.keys())
    problems = [
        *problems,
        *(f"the log of events is not whole: it does not tell how {name} ended, and may lack more" for name in lacking),
    ]
    aims = [*targets, *(target for record in records.values() for target in record.targets)]
    stages = [stage.name for stage in sheet.stages]
    sections = [
        _timeline(sheet, records, history, stages),
        *(
            section
            for name in stages
            for section in _training_of(name, history, aims, is_log_whole=name not in lacking)
        ),
        *(_part(part) for part in parts),
        *_warnings(records, problems),
        *_provenance(sheet, records, results),
    ]
    return Content(
        run=sheet.run,
        profile=sheet.profile,
        verdict=judge(sheet, records, history),
        sections=tuple(section for section in sections if section.items or section.command),
    )


def chart_of(block: LinesBlock) -> Chart:
    """Return the chart of the curves that a stage left."""
    return lines_chart(
        block.title,
        {series.name: series.points for series in block.series},
        x=Axis(title=block.x_title, domain=block.x_domain),
        y=Axis(title=block.y_title, domain=block.y_domain),
        note=block.note,
    )


def _provenance(
    sheet: RunSheet, records: Mapping[str, StageRecord], results: Mapping[str, Mapping[str, Any]]
) -> tuple[Section, ...]:
    """Return where it all came from, and how to have it again."""
    return (
        Section(
            title="Settings",
            intro="Each value with where it came from; what comes later in this list replaces what comes before: "
            "default, profile, settings file, environment, --set, flag.",
            items=tuple(provenance.settings_tables(sheet)),
            layout="folded",
            num_open=1,
        ),
        Section(
            title="Environment",
            items=tuple(_filled(provenance.environment_table(records), provenance.memory_table(results))),
            layout="folded",
        ),
        Section(
            title="Seeds and digests",
            items=tuple(
                _filled(
                    provenance.seeds_table(sheet), provenance.digests_table(records), provenance.files_table(records)
                )
            ),
            layout="folded",
        ),
        Section(
            title="Reproduce this run",
            intro="This command gives the same settings in any workspace. On the same machine with the same packages "
            "and the same number of threads it ends with the same bytes; the digests above tell.",
            command=sheet.command,
        ),
    )


def _timeline(sheet: RunSheet, records: Mapping[str, StageRecord], history: History, stages: Sequence[str]) -> Section:
    chart = timeline_chart(history, stages=stages)
    intro = "" if chart else "The log of events tells nothing of this run: it is gone, or was written by another run."
    table = provenance.stages_table(sheet, records, history)
    return Section(title="Stages", intro=intro, items=tuple([chart, table] if chart else [table]))


def _training_of(name: str, history: History, targets: Sequence[Target], *, is_log_whole: bool = True) -> list[Section]:
    """Return what the log tells of chunks and curves of a stage; older logs tell of no chunks."""
    stage, words = history.stages[name], name.replace("_", " ")
    chunks = chunk_charts(name, history)
    curves = curve_charts(stage, targets=list({target.metric: target for target in targets}.values()))
    sections = []
    if chunks:
        sections.append(Section(title=f"Chunks of {words}", items=tuple(chunks)))
    if curves:
        attempt = history.newest(name)
        is_old = not chunks and is_log_whole and attempt is not None and attempt.ending == "done"
        note = "The log of this run was written before chunks were told, so there is no map of them." if is_old else ""
        sections.append(Section(title=f"Curves of {words}", intro=note, items=tuple(curves), layout="grid"))
    return sections


def _part(part: ReportPart) -> Section:
    return Section(title=part.title, items=tuple(_item(block) for block in part.blocks), layout="grid")


def _item(block: Block) -> Item:
    return chart_of(block) if isinstance(block, LinesBlock) else block


def _warnings(records: Mapping[str, StageRecord], problems: Sequence[str]) -> Iterable[Section]:
    rows = [(name, text) for name, record in records.items() for text in record.warnings]
    rows += [("report", text) for text in problems]
    if rows:
        table = TableBlock(title="Warnings", header=("stage", "warning"), rows=tuple(rows))
        yield Section(title="Warnings", items=(table,))


def _filled(*tables: TableBlock) -> Iterable[TableBlock]:
    return (table for table in tables if table.rows)
