"""The cadence of saves: by a budget of the time they cost, by steps, or by seconds."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import RuntimeOptions
from stages.training.cadence import Cadence

_STEP = 0.125  # seconds; a number that adds up without rounding


def _train(
    *costs: float, seconds: float, slowed: int = 0, write_seconds: float = 0.0, also_at: float = 0.0, **runtime: Any
) -> tuple[list[float], Cadence]:
    """Train by a clock of our own; return when saves were due, in seconds of training, and the cadence.

    The n-th save costs the n-th of `costs`, the last one again and again: all at once, or spread over `slowed` steps
    after it. With `also_at` there is another save every so many seconds, which was not due.
    """
    cadence, now, num_saves, moments = Cadence(RuntimeOptions(**runtime)), 0.0, 0, list[float]()
    num_left, extra, took = 0, 0.0, write_seconds
    for step in range(1, int(seconds / _STEP) + 1):
        now += _STEP + (extra if num_left else 0.0)
        cadence.after_step(_STEP + (extra if num_left else 0.0))
        num_left = max(0, num_left - 1)
        if not num_left:
            cadence.end_save(write_seconds=took)
        is_due = cadence.is_due(step=step, is_writing=bool(num_left))
        if is_due:
            moments.append(now)
        if is_due or (also_at and step * _STEP % also_at == 0):
            cost = costs[min(num_saves, len(costs) - 1)]
            num_saves += 1
            cadence.begin_save(blocked_seconds=0.0 if slowed else cost)
            num_left, extra = slowed, cost / slowed if slowed else 0.0
            took = max(write_seconds, slowed * (_STEP + extra))
    cadence.end_save(write_seconds=took)
    return moments, cadence


def _intervals(moments: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(moments)]


@pytest.mark.parametrize("slowed", [0, 4])
@pytest.mark.parametrize("cost", [0.25, 1.0, 3.0])
def test_saves_cost_what_they_may(cost: float, slowed: int) -> None:
    """Whether they stop training or slow down the steps after them: one part in a hundred, and the first save."""
    moments, cadence = _train(cost, seconds=5000, slowed=slowed)
    assert cadence.total_seconds == pytest.approx(cost * len(moments))
    assert 0.9 * 50 < cadence.total_seconds <= 50 + 2 * cost
    assert _intervals(moments)[-1] == pytest.approx(100 * cost, rel=0.02)


def test_another_part_of_the_time_can_be_chosen() -> None:
    """Ten times the budget, a tenth of the interval."""
    moments, _ = _train(2.0, seconds=500, checkpoint_budget=0.1)
    assert _intervals(moments)[-1] == pytest.approx(20.0, abs=_STEP)


def test_the_first_save_comes_soon_and_tells_what_saves_cost() -> None:
    """Nothing is known before it: it comes after the least interval there is, and the next one by what it cost."""
    moments, _ = _train(1.0, seconds=500)
    assert moments[:3] == pytest.approx([5.0, 105.0, 205.0], abs=2 * _STEP)


def test_saves_that_cost_nothing_are_not_made_all_the_time() -> None:
    """Five seconds of work are soon done again: no step is followed by a save just because saves are cheap."""
    moments, _ = _train(1e-6, seconds=60)
    assert _intervals(moments) == [5.0] * 11


def test_a_step_that_others_slow_down_is_no_cost_of_a_save() -> None:
    """A step of a minute while half a second was written: the save can have cost no more than that half second."""
    cadence = Cadence(RuntimeOptions())
    for _ in range(100):
        cadence.after_step(_STEP)
    cadence.begin_save(blocked_seconds=0.125)
    cadence.after_step(60.0)
    cadence.end_save(write_seconds=0.5)
    assert cadence.total_seconds == 0.5


def test_a_disk_that_takes_long_is_not_kept_busy() -> None:
    """Even if training notices nothing: a write of ten seconds comes every forty."""
    moments, _ = _train(1e-6, seconds=500, write_seconds=10.0)
    assert _intervals(moments) == [40.0] * 12


def test_a_spike_is_paid_for_but_not_by_one_long_wait() -> None:
    """One save that costs fifty times as much makes some intervals longer; together they pay for all of it."""
    usual, _ = _train(0.125, seconds=3000)
    moments, cadence = _train(*[0.125] * 10, 6.25, 0.125, seconds=3000)
    longest = max(_intervals(moments))
    assert longest == pytest.approx(0.3 * 625, rel=0.1), "not the 625 seconds that it is worth"
    assert len(usual) - len(moments) == pytest.approx(6.25 / 0.125, abs=2)
    assert cadence.total_seconds <= 30 + 0.125


def test_saves_that_were_not_due_are_paid_for_as_well() -> None:
    """A checkpoint after each validation takes from the same budget: those between come so much later."""
    moments, cadence = _train(0.25, seconds=5000, also_at=60.0)
    num_saves = cadence.total_seconds / 0.25
    assert num_saves == pytest.approx(5000 / 25, abs=2)
    assert len(moments) < num_saves - 60, "the other saves were after validations"
    assert _train(2.0, seconds=5000, also_at=60.0)[0][1:] == [], "those after validations cost more than there is"


def test_steps_that_differ_for_other_reasons_even_out() -> None:
    """Steps during a save that are now longer, now shorter than those before it tell of no cost in the long run."""
    cadence = Cadence(RuntimeOptions())
    for number in range(400):
        for _ in range(50):
            cadence.after_step(0.1)
        cadence.begin_save(blocked_seconds=0.01)
        for _ in range(4):
            cadence.after_step(0.15 if number % 2 else 0.05)
        cadence.end_save(write_seconds=0.4)
        cadence.end_save(write_seconds=0.4)  # a save ends once
    assert cadence.total_seconds == pytest.approx(400 * 0.01)
    assert abs(cadence.estimate_seconds - 0.01) < 0.3 * 0.2
    cadence.after_step(10.0)
    assert cadence.is_due(step=1, is_writing=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"checkpoint_interval_steps": 24}, [3.0, 6.0, 9.0, 12.0]),
        ({"checkpoint_interval_seconds": 4.0}, [4.0, 8.0, 12.0]),
        ({"checkpoint_budget": 0}, []),
        ({"checkpoint_budget": 0, "checkpoint_interval_seconds": 6.0}, [6.0, 12.0]),
    ],
)
def test_a_fixed_interval_takes_the_place_of_the_budget(options: dict[str, Any], expected: list[float]) -> None:
    """By steps or by seconds, exactly as asked for; and without any of the three there is no save between."""
    assert _train(0.0, seconds=13, **options)[0] == expected


def test_a_save_in_flight_is_not_followed_by_another() -> None:
    """It would stop training until the first is durable; only steps that were asked for by number are kept to."""
    options: dict[str, Any]
    for options in ({}, {"checkpoint_interval_seconds": 1.0}):
        cadence = Cadence(RuntimeOptions(**options))
        cadence.after_step(1000.0)
        assert cadence.is_due(step=10, is_writing=False)
        assert not cadence.is_due(step=10, is_writing=True)
    assert Cadence(RuntimeOptions(checkpoint_interval_steps=5)).is_due(step=10, is_writing=True)


@pytest.mark.parametrize(("text", "budget"), [('"1%"', 0.01), ('"0.5%"', 0.005), ("0", 0.0), ("0.02", 0.02)])
def test_budget_may_be_given_in_percent(text: str, budget: float) -> None:
    """As people say it, or as a fraction."""
    options = RuntimeOptions.model_validate_json(f'{{"checkpoint_budget": {text}}}', strict=True)
    assert options.checkpoint_budget == budget
    assert json.loads(options.model_dump_json())["checkpoint_budget"] == budget


@pytest.mark.parametrize("text", ['"1"', '"%"', '"a%"', '"101%"', "-0.1", '"-1%"', '"nan%"'])
def test_other_budgets_are_refused(text: str) -> None:
    """No part of the time, or none at all."""
    with pytest.raises(ValidationError):
        RuntimeOptions.model_validate_json(f'{{"checkpoint_budget": {text}}}', strict=True)
