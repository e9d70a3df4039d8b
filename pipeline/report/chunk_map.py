"""The map of what was trained: epoch by epoch and chunk by chunk, when, with which loss, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.charts import Chart, Spec, data, whole
from pipeline.report.history import History, TrainedChunk
from pipeline.report.timeline import unit_of
from pipeline.tables import counted

_MAX_CELLS = 1500  # of a map; more could neither be told apart nor be carried by a page that loads at once
_WIDTH = 600
_MIN_STEP, _MAX_STEP = 3.0, 26.0
_HEIGHT, _MAX_ROW = 280, 22.0


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One or more neighbouring chunks of one or more epochs."""

    epoch: str
    chunk: str
    at: float
    samples: int
    skipped: int
    loss: float | None


def chunk_charts(stage: str, history: History) -> list[Chart]:
    """Draw when each chunk was trained and with which loss, and where samples were left out, if any were."""
    trained = history.stages[stage].chunks
    if not trained:
        return []
    cells, sizes = _cells(trained, history)
    scale, unit = unit_of(max(cell.at for cell in cells))
    note = (
        f"Each cell stands for {counted(sizes[1], 'chunk')} of {counted(sizes[0], 'epoch')}." if max(sizes) > 1 else ""
    )
    charts = [
        _map("When each chunk was trained", cells, lambda cell: cell.at / scale, unit=f"{unit} at work", note=note)
    ]
    if any(cell.loss is not None for cell in cells):
        charts.append(_map("Loss of each chunk", cells, lambda cell: cell.loss, unit="mean loss", note=note))
    if any(cell.skipped for cell in cells):
        charts.append(
            _map(
                "Samples left out of each chunk",
                cells,
                lambda cell: cell.skipped,
                unit="samples",
                note=note,
                is_bad=True,
            )
        )
    return charts


def _cells(trained: Sequence[TrainedChunk], history: History) -> tuple[list[_Cell], tuple[int, int]]:
    """Bring chunks together until there are few enough; return also how many epochs and chunks make a cell."""
    num_epochs, num_chunks = (1 + max(getattr(one, name) for one in trained) for name in ("epoch", "chunk"))
    by_epochs = by_chunks = 1
    while -(-num_epochs // by_epochs) * -(-num_chunks // by_chunks) > _MAX_CELLS:
        if num_chunks / by_chunks >= num_epochs / by_epochs:
            by_chunks += 1
        else:
            by_epochs += 1
    groups: dict[tuple[int, int], list[TrainedChunk]] = {}
    for one in trained:
        groups.setdefault((one.epoch // by_epochs, one.chunk // by_chunks), []).append(one)
    cells = [
        _cell(
            group, history, epoch=_span(place[0], by_epochs, num_epochs), chunk=_span(place[1], by_chunks, num_chunks)
        )
        for place, group in sorted(groups.items())
    ]
    return cells, (by_epochs, by_chunks)


def _cell(group: Sequence[TrainedChunk], history: History, *, epoch: str, chunk: str) -> _Cell:
    losses = [(one.loss, max(1, one.samples)) for one in group if one.loss is not None]
    weight = sum(samples for _, samples in losses)
    return _Cell(
        epoch=epoch,
        chunk=chunk,
        at=sum(history.work_seconds(one.session, one.at) for one in group) / len(group),
        samples=sum(one.samples for one in group),
        skipped=sum(one.skipped for one in group),
        loss=sum(loss * samples for loss, samples in losses) / weight if losses else None,
    )


def _span(place: int, size: int, total: int) -> str:
    first, last = place * size, min(place * size + size, total) - 1
    return str(first) if first == last else f"{first}-{last}"


def _map(
    title: str,
    cells: Sequence[_Cell],
    value_of: Callable[[_Cell], float | None],
    *,
    unit: str,
    note: str,
    is_bad: bool = False,
) -> Chart:
    epochs, chunks = _order(cell.epoch for cell in cells), _order(cell.chunk for cell in cells)
    width = min(_MAX_STEP, max(_MIN_STEP, _WIDTH / len(chunks)))
    height = min(_MAX_ROW, max(_MIN_STEP, _HEIGHT / len(epochs)))
    known = [(cell, value) for cell in cells if (value := value_of(cell)) is not None]
    table = {(cell.epoch, cell.chunk): value for cell, value in known}
    return Chart(
        title=title,
        text=f"Map of {len(epochs)} rows (epochs) and {len(chunks)} columns (chunks), coloured by {unit}.",
        spec=_map_spec(known, epochs=epochs, chunks=chunks, steps=(width, height), unit=unit, is_bad=is_bad),
        header=("epoch", *(f"chunk {chunk}" for chunk in chunks)),
        rows=tuple((epoch, *(_short(table.get((epoch, chunk))) for chunk in chunks)) for epoch in epochs),
        note=note,
        is_wide=True,
    )


def _map_spec(
    known: Sequence[tuple[_Cell, float]],
    *,
    epochs: Sequence[str],
    chunks: Sequence[str],
    steps: tuple[float, float],
    unit: str,
    is_bad: bool,
) -> Spec:
    rows = [{"e": cell.epoch, "c": cell.chunk, "v": value, "t": _words(cell, value, unit)} for cell, value in known]
    axis: dict[str, Any] = {
        "labelAngle": 0,
        "labelOverlap": "greedy",
        "labelSeparation": 7,
        "ticks": False,
        "domain": False,
    }
    return whole(
        {
            "width": {"step": steps[0]},
            "height": {"step": steps[1]},
            "data": data(rows),
            "mark": {"type": "rect"},
            "encoding": {
                "x": {"field": "c", "type": "ordinal", "sort": list(chunks), "title": "chunk", "axis": axis},
                "y": {"field": "e", "type": "ordinal", "sort": list(epochs), "title": "epoch", "axis": axis},
                "color": {
                    "field": "v",
                    "type": "quantitative",
                    "scale": {"scheme": "orangered" if is_bad else "viridis", "zero": is_bad},
                    "legend": {"orient": "top", "title": unit, "gradientLength": 200, "gradientThickness": 10},
                },
                "description": {"field": "t", "type": "nominal"},
            },
        }
    )


def _words(cell: _Cell, value: float, unit: str) -> str:
    left_out = f", {cell.skipped} left out" if cell.skipped else ""
    return f"epoch {cell.epoch}, chunk {cell.chunk}: {value:.4g} {unit}; {counted(cell.samples, 'sample')}{left_out}"


def _order(names: Any) -> list[str]:
    return sorted(dict.fromkeys(names), key=lambda name: int(name.partition("-")[0]))


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
