"""The colours of charts: names that stand for themselves in a chart, and become classes of the style sheet."""

from __future__ import annotations

# A chart is drawn with colours that nothing else uses. In the picture each is replaced by a class, so that one
# picture is right in light, in dark and in print.
INK, MUTED, GRID = "#010101", "#010102", "#010103"
GOOD, BAD, BUSY, LOST = "#010104", "#010105", "#010106", "#010107"
SERIES = ("#020201", "#020202", "#020203", "#020204", "#020205", "#020206", "#020207", "#020208")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 2], [1, 3], [12, 3, 3, 3])  # told apart without colours

CLASSES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    GOOD: "good",
    BAD: "bad",
    BUSY: "busy",
    LOST: "lost",
    **{colour: f"c{number}" for number, colour in enumerate(SERIES, start=1)},
}

CONFIG = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 140,
    },
    "axisY": {"minExtent": 44, "titlePadding": 8},  # numbers are wider in other fonts than the renderer's
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 150,
        "columnPadding": 26,  # for the same reason
        "symbolStrokeWidth": 2,
    },
    "text": {"color": INK, "fontSize": 11},
    "range": {"category": list(SERIES)},
}
