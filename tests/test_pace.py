"""How fast counted work goes, and how long the rest takes."""

from __future__ import annotations

from pipeline.pace import Pace


def test_it_counts_from_where_this_run_took_up() -> None:
    """What an earlier run had done is no speed of this one."""
    pace = Pace.begin(done=600, total=1000, unit="steps", at=100.0)
    assert (pace.rate, pace.remaining_seconds) == (0.0, None)
    pace = pace.after(done=620, total=1000, unit="steps", at=110.0)
    assert (pace.rate, pace.remaining_seconds) == (2.0, 190.0)


def test_another_unit_is_another_work() -> None:
    """A stage may count samples after it counted steps."""
    pace = Pace.begin(done=0, total=10, unit="steps", at=0.0).after(done=10, total=10, unit="steps", at=1.0)
    assert pace.after(done=500, total=1000, unit="images", at=2.0).rate == 0.0


def test_a_step_back_is_another_work() -> None:
    """After a rollback the rest is not told from steps that no longer count."""
    pace = Pace.begin(done=0, total=100, unit="steps", at=0.0).after(done=50, total=100, unit="steps", at=1.0)
    pace = pace.after(done=40, total=100, unit="steps", at=2.0).after(done=44, total=100, unit="steps", at=3.0)
    assert pace.rate == 4.0


def test_without_a_total_nothing_remains_that_is_known() -> None:
    """A stage need not know how much there is to do."""
    pace = Pace.begin(done=0, total=0, unit="files", at=0.0).after(done=5, total=0, unit="files", at=1.0)
    assert pace.remaining_seconds is None
