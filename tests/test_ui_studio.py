"""Charts that are drawn again only when they have changed, by a process that may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.report.charts import Axis, Chart, lines_chart
from pipeline.ui.studio import Studio

_SVG = '<svg xmlns=\\"http://www.w3.org/2000/svg\\"><path d=\\"M0 0\\" fill=\\"#000\\"/></svg>'

Made = Callable[..., Studio]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Make studios whose process is a program of the test: lines in, lines out."""
    studios = []

    def make(body: str, *, timeout: float = 20.0, clock: Callable[[], float] = lambda: 0.0) -> Studio:
        program = tmp_path / "program.py"
        program.write_text(
            f"import json, sys, time\nfor line in sys.stdin:\n    specs = json.loads(line)\n    {body}\n"
        )
        studios.append(Studio(program=program, timeout=timeout, clock=clock))
        return studios[-1]

    yield make
    for studio in studios:
        studio.close()


def _draws(log: Path) -> str:
    """Return what draws each chart as the same picture and notes how many there were."""
    return f'open("{log}", "a").write(f"{{len(specs)}} "); print(json.dumps(["{_SVG}"] * len(specs)), flush=True)'


def _chart(title: str, *values: float) -> Chart:
    points = {"a": list(enumerate(values))}
    return lines_chart(title, points, x=Axis(title="x"), y=Axis(title="y"))


def test_only_what_has_changed_is_drawn(made: Made, tmp_path: Path) -> None:
    """The others are as they were, at whatever place; each has a name of its own, which its parts begin with."""
    studio = made(_draws(tmp_path / "log"))
    first, second, third = _chart("one", 1, 2), _chart("two", 1, 2), _chart("one", 1, 2, 3)
    pictures, trouble = studio.draw([first, second])
    assert trouble == ""
    assert len(set(pictures)) == 2
    assert studio.draw([second, first]) == (pictures[::-1], "")
    assert studio.draw([third, second])[0][1] == pictures[1]
    assert (tmp_path / "log").read_text() == "1 1 1 "
    assert studio.num_started == 1


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        ("sys.exit(3)", "ended with 3"),
        ("time.sleep(1000)", "took longer than 0.3 seconds"),
        ("print('[]', flush=True)", "has drawn 0 of 1"),
        ("print('nonsense', flush=True)", "Expecting value"),
        ("print(json.dumps(['<nonsense/>']), flush=True)", "a chart is no picture"),
    ],
)
def test_a_process_that_fails_leaves_tables_and_is_started_again(
    made: Made, tmp_path: Path, body: str, trouble: str
) -> None:
    """It is told why; the next time another process has another chance."""
    timeout = 0.3 if "sleep" in body else 20.0
    studio = made(body, timeout=timeout)
    pictures, told = studio.draw([_chart("one", 1)])
    assert pictures == [""]
    assert trouble in told
    (tmp_path / "program.py").write_text(
        f'import json, sys\nfor line in sys.stdin:\n    print(json.dumps(["{_SVG}"]), flush=True)\n'
    )
    pictures, told = studio.draw([_chart("one", 1)])
    assert told == ""
    assert "<svg" in pictures[0]


def test_a_chart_that_cannot_be_drawn_costs_only_itself(made: Made) -> None:
    """Also where it ends the process; where all do, the rest is not tried."""
    answer = f'print(json.dumps(["{_SVG}"]), flush=True)'
    studio = made(f'sys.exit(3) if "bad" in line else {answer}')
    pictures, trouble = studio.draw([_chart("one", 1), _titled_axis("bad"), _chart("two", 1)])
    assert [bool(picture) for picture in pictures] == [True, False, True]
    assert "ended with 3" in trouble
    studio.draw([_titled_axis(f"bad {number}") for number in range(9)])
    assert studio.num_started == 2 + 2


def _titled_axis(title: str) -> Chart:
    return lines_chart("t", {"a": [(0, 1)]}, x=Axis(title=title), y=Axis(title="y"))


def test_a_process_that_nobody_needs_is_ended(made: Made, tmp_path: Path) -> None:
    """After a minute; what it has drawn is kept."""
    now = 0.0
    studio = made(_draws(tmp_path / "log"), clock=lambda: now)
    before = set(psutil.Process().children())
    studio.draw([_chart("one", 1)])
    (process,) = set(psutil.Process().children()) - before
    for now in (59.0, 61.0):
        studio.rest()
        assert process.is_running() == (now < 60)
    assert studio.draw([_chart("one", 1)])[1] == ""
    assert studio.num_started == 1
    studio.draw([_chart("one", 2)])
    assert studio.num_started == 2


def test_the_real_program_draws() -> None:
    """The one that reports are drawn by, several times."""
    studio = Studio()
    try:
        for values in ((1.0, 2.0), (2.0, 1.0, 3.0)):
            pictures, trouble = studio.draw([_chart("one", *values)])
            assert trouble == ""
            assert "<path" in pictures[0]
            assert "Line chart of a by x" in pictures[0]
    finally:
        studio.close()
    assert studio.num_started == 1
