"""Charts: what they show, and that their tables tell the same."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from event_logs import RUN, MadeUpLog, killed_and_stopped

from pipeline.events import Kind
from pipeline.records import Target
from pipeline.report.charts import Axis, Chart, colour_of_series, lines_chart
from pipeline.report.chunk_map import chunk_charts
from pipeline.report.curves import curve_charts, curves_of_runs
from pipeline.report.history import History, read_history
from pipeline.report.timeline import timeline_chart

STAGES = ("data_generation", "training", "evaluation")


def history_of(log: MadeUpLog) -> History:
    """Fold a log."""
    return read_history(log.events, runs=dict.fromkeys(STAGES, RUN))


def timeline(log: MadeUpLog) -> Chart:
    """Draw the timeline of a log."""
    chart = timeline_chart(history_of(log), stages=STAGES)
    assert chart is not None
    return chart


def values(spec: Any, field: str) -> list[Any]:
    """Return every value of a field in all the data of a chart, layer by layer."""
    found = [row[field] for row in spec.get("data", {}).get("values", ()) if field in row]
    return found + [value for layer in spec.get("layer", ()) for value in values(layer, field)]


def lines(**points: list[tuple[float, float]]) -> Chart:
    """Draw curves."""
    return lines_chart("title", points, x=Axis(title="x"), y=Axis(title="y"), can_be_logarithmic=True)


def test_timeline_draws_each_interruption_and_each_resume() -> None:
    """Two cuts, two resumes, two pauses, five attempts; the table tells all of them."""
    chart = timeline(killed_and_stopped())
    layers = chart.spec["layer"]
    assert values(layers[0]["layer"][1], "text") == ["pause 1h00m", "pause 1m02s"]
    assert [row["ending"] for row in layers[2]["data"]["values"]] == ["killed", "interrupted"]
    assert [row["action"] for row in layers[3]["data"]["values"]] == ["resume", "resume"]
    assert [(row[0], row[1], row[4]) for row in chart.rows] == [
        ("data_generation", "run", "done"),
        ("training", "run", "killed"),
        ("training", "resume", "interrupted"),
        ("training", "resume", "done"),
        ("evaluation", "run", "done"),
    ]
    assert "SIGTERM step 40" in str(chart.rows[2][5])
    assert "after a pause of 1h00m" in str(chart.rows[2][5])
    assert "2 of them cut short" in chart.text


def test_timeline_tells_lost_work_from_kept() -> None:
    """What was done again from zero looks different from what was continued, and from what is not finished."""
    log = MadeUpLog()
    for _ in range(2):
        log.start()
        log.work("training", seconds=None)
        log.train(last=1)
    assert values(timeline(log).spec["layer"][1], "fate") == ["done again from zero", "not finished"]
    assert set(values(timeline(killed_and_stopped()).spec["layer"][1], "fate")) == {"kept"}


def test_labels_of_pauses_do_not_lie_on_each_other() -> None:
    """Of those too close to each other the longest is told; however many there are, those with room are told."""
    log = MadeUpLog()
    for pause, seconds in ((1, 100), (151, 10), (1110, 10), (1109, 200), (60, 200), (60, 200), (60, 200)):
        log.start(pause=pause)
        log.work("training", "resume", seconds=None)
        log.tell(Kind.INTERRUPTED, "training", after=seconds, signal=15)
    rules, labels = timeline(log).spec["layer"][0]["layer"]
    assert len(values(rules, "at")) == 6
    assert values(labels, "text") == ["pause 18m32s", "pause 1m02s", "pause 1m02s", "pause 1m02s"]
    apart = sorted(values(labels, "at"))
    assert min(after - before for before, after in pairwise(apart)) > 100 / 60


def test_timeline_of_nothing() -> None:
    """Where the log tells of no attempt there is nothing to draw."""
    assert timeline_chart(history_of(MadeUpLog()), stages=STAGES) is None


@pytest.mark.parametrize(
    ("seconds", "unit"), [(5, "seconds"), (179, "seconds"), (181, "minutes"), (7199, "minutes"), (7201, "hours")]
)
def test_time_is_told_in_the_unit_that_fits(seconds: float, unit: str) -> None:
    """Seconds, minutes or hours, as a person would say."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=seconds)
    assert unit in json.dumps(timeline(log).spec)


def test_chunk_map_shows_when_and_loss() -> None:
    """A cell for each chunk of each epoch, with the time at work and the loss; nothing of lost samples."""
    charts = chunk_charts("training", history_of(killed_and_stopped()))
    assert [chart.title for chart in charts] == ["When each chunk was trained", "Loss of each chunk"]
    assert [row[0] for row in charts[1].rows] == ["0", "1"]
    assert charts[1].rows[0] == ("0", 1.333, 2.0, 4.0)
    assert charts[0].rows[0] == ("0", 15.0, 10.0, 8.0)
    assert "epoch 0, chunk 2: 4 mean loss; 100 samples" in values(charts[1].spec, "t")


def test_chunk_map_shows_what_was_left_out() -> None:
    """Samples that were skipped have a map of their own, and are told in the words of each cell."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.train(last=4, skipped=7)
    charts = chunk_charts("training", history_of(log))
    assert charts[2].title == "Samples left out of each chunk"
    assert charts[2].rows[0] == ("0", 7.0, 7.0, 7.0)
    assert all("7 left out" in text for text in values(charts[1].spec, "t"))


def test_chunk_map_stays_small() -> None:
    """Of many chunks and epochs several make a cell: a mean weighed by samples, a sum of what was left out."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.train(epochs=50, chunks=80, skipped=1)
    charts = chunk_charts("training", history_of(log))
    for chart in charts:
        assert 700 <= len(values(chart.spec, "v")) <= 1500
        assert "Each cell stands for" in chart.note
    assert sum(values(charts[2].spec, "v")) == 50 * 80
    assert charts[0].header[1] == "chunk 0-1"


def test_log_without_chunks_has_no_map() -> None:
    """Older logs tell of no chunks."""
    log = MadeUpLog()
    log.start()
    log.work("training")
    assert chunk_charts("training", history_of(log)) == []


def test_curves_belong_together() -> None:
    """Losses share a chart, so do the figures of validation, with their targets; all else stands alone."""
    target = Target(data_set="synthetic", metric="ap", minimum=0.85, value=0.9)
    charts = curve_charts(history_of(killed_and_stopped()).stages["training"], targets=[target])
    assert [chart.title for chart in charts] == ["Loss", "Validation", "Learning rate", "Gradient norm"]
    assert charts[0].header == ("step", "total", "box")
    assert charts[1].header == ("step", "ap", "ap50")
    assert "target ap" in values(charts[1].spec, "text")
    assert "target ap" not in json.dumps(charts[0].spec)


def test_validation_loss_has_a_chart_of_its_own() -> None:
    """A loss of 4 would flatten an AP of 0.4."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.tell(Kind.METRICS, "training", step=1, validation_loss=4.0, validation_ap=0.4)
    titles = [chart.title for chart in curve_charts(history_of(log).stages["training"])]
    assert titles == ["Validation loss", "Validation"]


def test_curves_of_runs_are_laid_over_each_other() -> None:
    """Each metric that a run has is one chart, with the runs as its curves; validation comes first."""
    one, other = (history_of(killed_and_stopped()).stages["training"] for _ in range(2))
    charts = curves_of_runs({"a": one, "b": other})
    assert charts[0].title == "Validation ap"
    assert charts[0].header == ("step", "a", "b")


@pytest.mark.parametrize(
    ("points", "is_log"),
    [([(1, 1000.0), (2, 1.0)], True), ([(1, 3.0), (2, 1.0)], False), ([(1, 1000.0), (2, 0.0)], False), ([], False)],
)
def test_axis_is_logarithmic_where_that_is_read_better(points: list[tuple[float, float]], *, is_log: bool) -> None:
    """Values over many orders of magnitude, all positive; the description says so."""
    chart = lines(loss=points)
    assert (chart.spec["layer"][0]["encoding"]["y"]["scale"].get("type") == "log") is is_log
    assert ("logarithmic" in chart.text) is is_log


def test_table_of_a_long_curve_is_thinned_out() -> None:
    """At most some sixty rows, the first and the last among them, all of them points of the curve."""
    points = [(float(step), 1.0 / (1 + step)) for step in range(501)]
    rows = lines(loss=points).rows
    assert 50 <= len(rows) <= 62
    assert rows[0] == (0, 1.0)
    assert rows[-1] == (500, 1 / 501)
    assert set(rows) <= {(int(x), y) for x, y in points}


def test_curves_of_other_steps_share_a_table() -> None:
    """Where a curve has no point the cell is empty."""
    assert lines(a=[(1, 1.0), (2, 2.0)], b=[(2, 3.0)]).rows == ((1, 1.0, None), (2, 2.0, 3.0))


def test_series_are_told_apart_without_colours_too() -> None:
    """Twenty series: no two have the same colour and the same dashes."""
    colours, dashes = colour_of_series([str(number) for number in range(20)])
    assert len({(colour, tuple(dash)) for colour, dash in zip(colours, dashes, strict=True)}) == 20


def test_hostile_names_stay_values() -> None:
    """A name is data of a chart, never a part of its document."""
    name = "</script>'\"; {{ x }} datum.y"
    curves: dict[str, list[tuple[float, float]]] = {name: [(1, 1.0)], "b": [(1, 2.0)]}
    chart = lines(**curves)
    assert set(values(chart.spec, "name")) == {name, "b"}
    without = json.dumps({**chart.spec, "layer": None, "config": None})
    assert name not in without
