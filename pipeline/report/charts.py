"""Charts as Vega-Lite documents, each with the table of what it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.letters import legible
from pipeline.report.palette import CONFIG, DASHES, INK, MUTED, SERIES
from pipeline.report.parts import Cell

Spec = dict[str, Any]
Points = Sequence[tuple[float, float]]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_WIDTH, _HEIGHT = 420, 210
_MARKED_POINTS = 40  # up to so many points of a curve are marked, and tell their values when pointed at
_TABLE_ROWS = 60  # of a curve; a table for people needs no more
_LOG_SPAN = 200  # values that differ by more than this factor are read on a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: `spec` for the eye, `header` and `rows` as a table of the same; `text` says in a sentence what it is."""

    title: str
    text: str
    spec: Spec
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    is_wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: its title, and the part of it to show where that is fixed."""

    title: str
    domain: tuple[float, float] | None = None


def lines_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    x: Axis,
    y: Axis,
    limits: Mapping[str, float] | None = None,
    note: str = "",
    can_be_logarithmic: bool = False,
) -> Chart:
    """Draw named curves; `limits` are horizontal lines with their names, as of a target."""
    values = [value for points in series.values() for _, value in points]
    is_log = can_be_logarithmic and min(values, default=0) > 0 and max(values) > _LOG_SPAN * min(values)
    layers = [_curves(series, x=x, y=y, is_log=is_log)]
    if max(map(len, series.values()), default=0) <= _MARKED_POINTS:
        layers.append(_marks(series))
    layers += [_limit(name, value) for name, value in (limits or {}).items()]
    header, rows = _table_of(series, x=x.title)
    shown = ", ".join(series)
    return Chart(
        title=title,
        text=f"Line chart of {shown} by {x.title}." + (" The vertical axis is logarithmic." if is_log else ""),
        spec=whole({"width": _WIDTH, "height": _HEIGHT, "layer": layers}),
        header=header,
        rows=rows,
        note=note,
    )


def whole(spec: Spec) -> Spec:
    """Return `spec` as a document that can be drawn: in its texts only letters that a picture may have."""
    return {"$schema": _SCHEMA, "config": CONFIG, "padding": 4, **_legible(spec)}


def data(rows: Iterable[Mapping[str, Any]]) -> Spec:
    """Return rows as the data of a chart."""
    return {"values": [dict(row) for row in rows]}


def colour_of_series(names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Return a colour and a dash for each of the names; with more than there are colours, the dashes move on."""
    colours = [SERIES[index % len(SERIES)] for index in range(len(names))]
    dashes = [list(DASHES[(index + index // len(SERIES)) % len(DASHES)]) for index in range(len(names))]
    return colours, dashes


def _curves(series: Mapping[str, Points], *, x: Axis, y: Axis, is_log: bool) -> Spec:
    names = list(series)
    colours, dashes = colour_of_series(names)
    vertical: Spec = {"zero": False, "type": "log"} if is_log else {"zero": False, "nice": True}
    return {
        "data": data(_rows_of(series)),
        "mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
        "encoding": {
            "x": _quantity("x", x, {"nice": False}),
            "y": _quantity("y", y, vertical),
            "order": {"field": "place", "type": "quantitative"},
            "color": _named(names, colours),
            "strokeDash": _named(names, dashes),
            "description": {"field": "name", "type": "nominal"},
        },
    }


def _marks(series: Mapping[str, Points]) -> Spec:
    names = list(series)
    rows = [{**row, "text": f"{row['name']} {_short(row['y'])} at {_short(row['x'])}"} for row in _rows_of(series)]
    return {
        "data": data(rows),
        "mark": {"type": "point", "filled": True, "size": 28, "opacity": 1},
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
            "color": _named(names, colour_of_series(names)[0]),
            "description": {"field": "text", "type": "nominal"},
        },
    }


def _named(names: Sequence[str], shown: Sequence[Any]) -> Spec:
    """Tell series apart by colours and dashes, with one legend for both: the same in all layers, or they would mix."""
    legend: Spec = {"orient": "bottom", "columns": 3, "title": None, "symbolType": "stroke", "symbolSize": 300}
    has_legend = len(names) > 1
    return {
        "field": "name",
        "type": "nominal",
        "scale": {"domain": list(names), "range": list(shown)},
        "legend": legend if has_legend else None,
    }


def _limit(name: str, value: float) -> Spec:
    at = {"field": "y", "type": "quantitative"}
    # At the left, where a curve has not come as far yet.
    label = {"type": "text", "align": "left", "baseline": "bottom", "dx": 4, "dy": -3, "color": INK}
    return {
        "data": data([{"y": value, "text": name}]),
        "layer": [
            {"mark": {"type": "rule", "color": MUTED, "strokeDash": [4, 3]}, "encoding": {"y": at}},
            {"mark": label, "encoding": {"y": at, "x": {"value": 0}, "text": {"field": "text"}}},
        ],
    }


def _quantity(field: str, axis: Axis, scale: Spec) -> Spec:
    if axis.domain is not None:
        scale = {"domain": list(axis.domain), "nice": False}
    return {"field": field, "type": "quantitative", "title": axis.title, "scale": scale, "axis": {"tickCount": 6}}


def _rows_of(series: Mapping[str, Points]) -> Iterable[dict[str, Any]]:
    for name, points in series.items():
        for place, (x, y) in enumerate(points):
            yield {"name": name, "x": x, "y": y, "place": place}


def _table_of(series: Mapping[str, Points], *, x: str) -> tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]:
    """Return a row for each place on the axis, thinned out evenly; the last one is always there."""
    by_name = {name: dict(points) for name, points in series.items()}
    places = sorted({at for points in by_name.values() for at in points})
    every = max(1, math.ceil(len(places) / _TABLE_ROWS))
    kept = sorted({*places[::every], *places[-1:]})
    rows = tuple((_exact(at), *(points.get(at) for points in by_name.values())) for at in kept)
    return (x, *by_name), rows


def _legible(value: Any) -> Any:
    """Return a JSON value with legible texts; its keys are ours."""
    match value:
        case str():
            return legible(value)
        case Mapping():
            return {key: _legible(item) for key, item in value.items()}
        case list() | tuple():
            return [_legible(item) for item in value]
    return value


def _exact(value: float) -> Cell:
    return int(value) if value == int(value) else value


def _short(value: float) -> str:
    return f"{value:.4g}"
