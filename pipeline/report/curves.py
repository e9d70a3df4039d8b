"""The curves of a stage: which of its metrics belong in one chart, and which line of a target in which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.records import Target
from pipeline.report.charts import Axis, Chart, Points, lines_chart
from pipeline.report.history import StageHistory

_LOSS, _VALIDATION = "loss", "validation_"
_STEP = Axis(title="step")
_NAMES = {"lr": "learning rate", "gradient_norm": "gradient norm"}


def curve_charts(stage: StageHistory, *, targets: Sequence[Target] = ()) -> list[Chart]:
    """Draw the losses in one chart, the figures of validation in another, and every other metric in its own.

    A target is drawn where validation measures the figure that it names, as something to look up to: the target itself
    is of other data.
    """
    charts = []
    losses = {name: points for name, points in stage.curves.items() if _is_loss(name)}
    checked = {name.removeprefix(_VALIDATION): points for name, points in stage.curves.items() if _is_checked(name)}
    if losses:
        named = {_name_of_loss(name): points for name, points in sorted(losses.items(), key=_total_first)}
        charts.append(_chart("Loss", named, y="loss", can_be_logarithmic=True))
    for title, figures in _apart(checked).items():
        limits = {f"target {target.metric}": target.minimum for target in targets if target.metric in figures}
        charts.append(_chart(title, figures, y=", ".join(figures) if len(figures) == 1 else "", limits=limits))
    for name, points in stage.curves.items():
        if not _is_loss(name) and not _is_checked(name):
            words = _NAMES.get(name, name.replace("_", " "))
            charts.append(_chart(words.capitalize(), {words: points}, y=words, can_be_logarithmic=name != "lr"))
    return charts


def curves_of_runs(histories: Mapping[str, StageHistory]) -> list[Chart]:
    """Draw each metric that a stage has in at least one of several runs, the runs as its curves."""
    names = dict.fromkeys(name for history in histories.values() for name in history.curves)
    charts = []
    for name in sorted(names, key=lambda name: (not _is_checked(name), not _is_loss(name), name)):
        series = {run: history.curves[name] for run, history in histories.items() if name in history.curves}
        words = _NAMES.get(name, name.replace("_", " "))
        charts.append(_chart(words.capitalize(), series, y=words, can_be_logarithmic=_is_loss(name)))
    return charts


def _chart(
    title: str,
    series: Mapping[str, Points],
    *,
    y: str,
    limits: Mapping[str, float] | None = None,
    can_be_logarithmic: bool = False,
) -> Chart:
    return lines_chart(title, series, x=_STEP, y=Axis(title=y), limits=limits, can_be_logarithmic=can_be_logarithmic)


def _apart(figures: Mapping[str, Points]) -> dict[str, dict[str, Points]]:
    """Keep a loss out of the chart of figures from 0 to 1, where it would flatten them."""
    parts: dict[str, dict[str, Points]] = {}
    for name, points in figures.items():
        title = "Validation loss" if _is_loss(name) else "Validation"
        parts.setdefault(title, {})[name] = points
    return parts


def _is_loss(name: str) -> bool:
    return name == _LOSS or name.startswith(f"{_LOSS}_")


def _is_checked(name: str) -> bool:
    return name.startswith(_VALIDATION)


def _name_of_loss(name: str) -> str:
    return "total" if name == _LOSS else name.removeprefix(f"{_LOSS}_")


def _total_first(item: tuple[str, Points]) -> tuple[bool, str]:
    return item[0] != _LOSS, item[0]
