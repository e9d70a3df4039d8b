"""The timeline of a run: each stage's attempts, with every interruption and every time it was taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pipeline.report.charts import Chart, Spec, data, whole
from pipeline.report.history import FROM_ZERO, Attempt, History
from pipeline.report.palette import BAD, BUSY, GOOD, INK, LOST, MUTED
from pipeline.tables import duration

_WIDTH, _ROW_HEIGHT = 820, 44
_NUM_TICKS = 10  # about; as many as fit by default leave no air between their labels
_PADDING = {"left": 28, "right": 8, "top": 4, "bottom": 4}  # names are wider in other fonts than the renderer's
_KEPT, _LOST, _OPEN, _AT_WORK = "kept", "done again from zero", "not finished", "at work"
_COLOURS = {_KEPT: GOOD, _LOST: LOST, _OPEN: BAD, _AT_WORK: BUSY}
_CUT_SHORT = ("failed", "interrupted", "killed")
_LETTER_WIDTH = 6.6  # pixels, of a label of the size that charts have, in a wide one of common fonts
_LABEL_GAP = 8
_NOTABLE_PAUSE = 1.0  # seconds between two sessions that are worth telling
_UNITS = ((7200, 3600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))  # from how many seconds on, and their size


def unit_of(seconds: float) -> tuple[float, str]:
    """Return in which unit a time span is best read: its length in seconds and its name."""
    return next((size, name) for least, size, name in _UNITS if seconds >= least)


def timeline_chart(history: History, *, stages: Sequence[str]) -> Chart | None:
    """Draw the attempts of `stages` over the time that was worked; None where the log tells of none."""
    attempts = [attempt for name in stages for attempt in history.stages[name].attempts]
    if not attempts:
        return None
    attempts.sort(key=lambda each: each.began)
    total = max(history.work_seconds(each.session, each.ended) for each in attempts)
    size, unit = unit_of(total)
    bars = [_bar(history, each, size=size, fate=_fate(history, each)) for each in attempts]
    present = [name for name in stages if history.stages[name].attempts]
    layers = [_bars(bars, stages=present, unit=unit), _marks(bars), _resumes(bars)]
    if pauses := list(_pauses(history, size=size)):
        layers.insert(0, _pause_rules(pauses, total=total / size))
    num_cuts = sum(each.ending in _CUT_SHORT for each in attempts)
    return Chart(
        title="Timeline",
        text=f"Timeline of {len(attempts)} attempts of {len(present)} stages, {num_cuts} of them cut short.",
        spec=whole({"width": _WIDTH, "height": _ROW_HEIGHT * len(present), "padding": _PADDING, "layer": layers}),
        header=("stage", "attempt", "began", "worked", "ended", "told"),
        rows=tuple(_row(history, each) for each in attempts),
        note="Time at work; pauses between sessions are left out and marked by dashed lines. A cross is an "
        "interruption, a triangle a place where work was taken up again.",
        is_wide=True,
    )


def _row(history: History, attempt: Attempt) -> tuple[str, ...]:
    began = datetime.fromtimestamp(attempt.began).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    pause = history.pause_before(attempt.session)
    told = "; ".join(filter(None, [attempt.detail, attempt.told]))
    if pause >= _NOTABLE_PAUSE and attempt.action != FROM_ZERO:
        told = f"after a pause of {duration(pause)}; {told}"
    return (attempt.stage, attempt.action, began, duration(attempt.ended - attempt.began), attempt.ending, told)


def _fate(history: History, attempt: Attempt) -> str:
    """Return what became of the work of an attempt."""
    attempts = history.stages[attempt.stage].attempts
    later = attempts[attempts.index(attempt) + 1 :]
    if later:
        return _LOST if later[0].action == FROM_ZERO else _KEPT
    return {"done": _KEPT, "at work": _AT_WORK}.get(attempt.ending, _OPEN)


def _bar(history: History, attempt: Attempt, *, size: float, fate: str) -> dict[str, Any]:
    worked = duration(attempt.ended - attempt.began)
    return {
        "stage": attempt.stage,
        "from": history.work_seconds(attempt.session, attempt.began) / size,
        "to": history.work_seconds(attempt.session, attempt.ended) / size,
        "fate": fate,
        "ending": attempt.ending,
        "action": attempt.action,
        "text": f"{attempt.stage}: {attempt.action}, {worked}, {attempt.ending}. {attempt.told}".strip(),
        "told": f"{attempt.stage}: {attempt.action}: {attempt.detail}",
    }


def _bars(bars: Sequence[dict[str, Any]], *, stages: Sequence[str], unit: str) -> Spec:
    fates = [fate for fate in _COLOURS if any(bar["fate"] == fate for bar in bars)]
    # Every bar is seen, also that of a stage that took a thousandth of the run: its outline has a width of its own.
    colour = {"field": "fate", "type": "nominal", "scale": {"domain": [*_COLOURS], "range": [*_COLOURS.values()]}}
    return {
        "data": data(bars),
        "mark": {"type": "bar", "height": {"band": 0.4}, "cornerRadius": 2, "strokeWidth": 1.5},
        "encoding": {
            "y": {
                "field": "stage",
                "type": "nominal",
                "scale": {"domain": list(stages)},
                "title": None,
                "axis": {"ticks": False},
            },
            "x": {
                "field": "from",
                "type": "quantitative",
                "title": f"{unit} at work",
                "scale": {"nice": False},
                "axis": {"tickCount": _NUM_TICKS},
            },
            "x2": {"field": "to"},
            "color": {
                **colour,
                "legend": {"orient": "bottom", "title": None, "values": fates} if len(fates) > 1 else None,
            },
            "stroke": {**colour, "legend": None},
            "description": {"field": "text", "type": "nominal"},
        },
    }


def _marks(bars: Sequence[dict[str, Any]]) -> Spec:
    cut = [bar for bar in bars if bar["ending"] in _CUT_SHORT]
    return _symbols(cut, at="to", shape="cross", angle=45, colour=BAD, text="text", dy=-_ROW_HEIGHT // 3)


def _resumes(bars: Sequence[dict[str, Any]]) -> Spec:
    taken_up = [bar for bar in bars if bar["action"] not in (FROM_ZERO, "")]
    return _symbols(taken_up, at="from", shape="triangle-right", angle=0, colour=INK, text="told", dy=_ROW_HEIGHT // 3)


def _symbols(
    bars: Sequence[dict[str, Any]], *, at: str, shape: str, angle: int, colour: str, text: str, dy: int
) -> Spec:
    mark = {"type": "point", "shape": shape, "angle": angle, "size": 90, "filled": True, "opacity": 1, "yOffset": dy}
    return {
        "data": data(bars),
        "mark": {**mark, "color": colour},
        "encoding": {
            "x": {"field": at, "type": "quantitative"},
            "y": {"field": "stage", "type": "nominal"},
            "description": {"field": text, "type": "nominal"},
        },
    }


def _pauses(history: History, *, size: float) -> Iterator[dict[str, Any]]:
    for number, session in history.sessions.items():
        pause = history.pause_before(number)
        if pause >= _NOTABLE_PAUSE:
            at = history.work_seconds(number, session.began) / size
            yield {"at": at, "seconds": pause, "text": f"pause {duration(pause)}"}


def _pause_rules(pauses: Sequence[dict[str, Any]], *, total: float) -> Spec:
    at = {"field": "at", "type": "quantitative"}
    label = {"type": "text", "align": "center", "baseline": "bottom", "dy": -4, "color": MUTED}
    rule = {"mark": {"type": "rule", "color": MUTED, "strokeDash": [3, 3]}, "encoding": {"x": at}}
    text = {"mark": label, "encoding": {"x": at, "y": {"value": 0}, "text": {"field": "text"}}}
    told = _labelled(pauses, pixels=_WIDTH / (total or 1))
    return {"layer": [{"data": data(pauses), **rule}, {"data": data(told), **text}]}


def _labelled(pauses: Sequence[dict[str, Any]], *, pixels: float) -> list[dict[str, Any]]:
    """Return the pauses whose labels lie on no other, the longest first; the table tells the rest.

    `pixels` are those of one unit of time.
    """

    def is_free(pause: dict[str, Any], other: dict[str, Any]) -> bool:
        both = (len(pause["text"]) + len(other["text"])) / 2 * _LETTER_WIDTH
        return bool(abs(pause["at"] - other["at"]) * pixels >= both + _LABEL_GAP)

    told: list[dict[str, Any]] = []
    for pause in sorted(pauses, key=lambda each: -each["seconds"]):
        if all(is_free(pause, other) for other in told):
            told.append(pause)
    return told
