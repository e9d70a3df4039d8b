"""Runs side by side: the settings that differ, what came of them, and their curves over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.records import StageRecord
from pipeline.report.content import Section
from pipeline.report.curves import curves_of_runs
from pipeline.report.history import History, StageHistory, number
from pipeline.report.parts import Cell, TableBlock
from pipeline.report.provenance import as_text
from pipeline.report.sheet import RunSheet
from pipeline.tables import duration

_DEEP = 3  # parts of a metric's name up to which people are shown it at a glance: evaluation.synthetic.ap
_MAX_COUNT = 1e9  # above it digits tell less than a power of ten


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the runs that are compared."""

    sheet: RunSheet
    records: Mapping[str, StageRecord]
    history: History

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.sheet.run


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something that each run has its own value of; None where it has none."""

    name: str
    values: tuple[Cell, ...]

    @property
    def difference(self) -> float | None:
        """How much more the last run has than the first, if both are numbers."""
        first, last = self.values[0], self.values[-1]
        if not isinstance(first, int | float) or not isinstance(last, int | float):
            return None
        return last - first

    @property
    def told_difference(self) -> str:
        """The difference with its sign, as text and page show it; empty where there is none."""
        if self.difference is None:
            return ""
        return f"{self.difference:+.4g}" if isinstance(self.difference, float) else f"{self.difference:+d}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between runs.

    Attributes:
        settings: those whose values differ. targets: all of them, with the figure that each run reached.
        metrics: every figure of the records by its dotted name. times: seconds that each stage took.
    """

    runs: tuple[str, ...]
    settings: tuple[Row, ...]
    targets: tuple[Row, ...]
    metrics: tuple[Row, ...]
    times: tuple[Row, ...]

    @property
    def has_difference(self) -> bool:
        """Whether the difference is shown: of more than two runs it would leave those in the middle out."""
        return len(self.runs) == 2

    @property
    def main_metrics(self) -> tuple[Row, ...]:
        """The metrics that are not parts of others, where the runs differ."""
        return tuple(row for row in self.metrics if row.name.count(".") < _DEEP and len(set(row.values)) > 1)


def compare(sides: Sequence[Side]) -> Comparison:
    """Lay runs side by side."""
    settings = _rows([{key: as_text(value) for key, value in side.sheet.values().items()} for side in sides])
    return Comparison(
        runs=tuple(side.name for side in sides),
        settings=tuple(row for row in settings if len(set(row.values)) > 1),
        targets=_targets(sides),
        metrics=_rows([_metrics(side) for side in sides]),
        times=_rows([{name: record.duration_seconds for name, record in side.records.items()} for side in sides]),
    )


def comparison_sections(comparison: Comparison, sides: Sequence[Side]) -> tuple[Section, ...]:
    """Return what the page of a comparison shows."""
    runs = comparison.runs
    times = tuple(
        (row.name, *(None if value is None else duration(float(value)) for value in row.values))
        for row in comparison.times
    )
    results = (
        _table("Targets", comparison.targets, comparison),
        TableBlock(title="Time of each stage", header=("stage", *runs), rows=times, note="Of its last attempt."),
    )
    figures = (
        _table("Main figures that differ", comparison.main_metrics, comparison),
        _table("All figures", comparison.metrics, comparison),
    )
    settings = TableBlock(
        title="Settings that differ",
        header=("setting", *runs),
        rows=tuple((row.name, *row.values) for row in comparison.settings),
    )
    commands = TableBlock(
        title="Commands", header=("run", "command"), rows=tuple((s.name, s.sheet.command) for s in sides)
    )
    intro = "" if comparison.settings else "The settings of these runs are the same."
    sections = [
        Section(title="Settings", intro=intro, items=(settings,) if comparison.settings else ()),
        Section(title="Results", items=tuple(table for table in results if table.rows)),
        *_curves(sides),
        Section(title="Figures", items=figures, layout="folded", num_open=1),
        Section(title="Reproduce these runs", items=(commands,)),
    ]
    return tuple(section for section in sections if section.items or section.intro)


def _curves(sides: Sequence[Side]) -> list[Section]:
    names = dict.fromkeys(name for side in sides for name in side.history.stages)
    sections = []
    for name in names:
        charts = curves_of_runs({side.name: side.history.stages.get(name, StageHistory()) for side in sides})
        if charts:
            words = name.replace("_", " ")
            sections.append(Section(title=f"Curves of {words}", items=tuple(charts), layout="grid"))
    return sections


def _table(title: str, rows: Sequence[Row], comparison: Comparison) -> TableBlock:
    header: tuple[str, ...] = ("figure", *comparison.runs)
    cells: list[tuple[Cell, ...]] = [(row.name, *_whole(row.values)) for row in rows]
    if comparison.has_difference:
        header = (*header, "difference")
        cells = [(*told, row.told_difference or None) for told, row in zip(cells, rows, strict=True)]
    return TableBlock(title=title, header=header, rows=tuple(cells))


def _whole(values: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return what counts something, as epochs, without decimals, though it was kept as a share of something else."""
    floats = [value for value in values if isinstance(value, float)]
    if not all(value.is_integer() and abs(value) < _MAX_COUNT for value in floats):
        return tuple(values)
    return tuple(int(value) if isinstance(value, float) else value for value in values)


def _rows(columns: Sequence[Mapping[str, Cell]]) -> tuple[Row, ...]:
    names = dict.fromkeys(name for column in columns for name in column)
    return tuple(Row(name=name, values=tuple(column.get(name) for column in columns)) for name in names)


def _targets(sides: Sequence[Side]) -> tuple[Row, ...]:
    """Return every target of any run with the figure that each has reached, whether it was its target or not."""
    targets = dict.fromkeys(
        (stage, target.data_set, target.metric, target.minimum)
        for side in sides
        for stage, record in side.records.items()
        for target in record.targets
    )
    return tuple(
        Row(
            name=f"{metric} on {data_set} (at least {minimum:g})",
            values=tuple(_reached(side, stage, data_set, metric) for side in sides),
        )
        for stage, data_set, metric, minimum in targets
    )


def _reached(side: Side, stage: str, data_set: str, metric: str) -> Cell:
    record = side.records.get(stage)
    judged = {(target.data_set, target.metric): target.value for target in record.targets} if record else {}
    if (data_set, metric) in judged:
        return judged[data_set, metric]
    return _metrics(side).get(f"{stage}.{data_set}.{metric}")


def _metrics(side: Side) -> dict[str, Cell]:
    """Return the figures of all stages; what comes last in a run is what it is judged by, and comes first here."""
    return {
        name: value
        for stage, record in reversed(list(side.records.items()))
        for name, value in _numbers(stage, record.metrics).items()
    }


def _numbers(name: str, value: object) -> dict[str, Cell]:
    """Return all numbers in a JSON value by their dotted names; lists are histories, and have their curves."""
    if isinstance(value, Mapping):
        return {key: item for inner, each in value.items() for key, item in _numbers(f"{name}.{inner}", each).items()}
    return {name: value} if isinstance(value, int | float) and number(value) is not None else {}
