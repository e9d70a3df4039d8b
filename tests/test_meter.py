"""The loss meter: means since the mini-epoch began, exact also when they were half saved."""

from __future__ import annotations

import torch

from stages.training.meter import TOTAL, LossMeter
from stages.training.state import TrainState


def _add(meter: LossMeter, value: float) -> None:
    terms = {"class": torch.tensor(2 * value), "box": torch.tensor(value)}
    meter.add(terms, total=torch.tensor(3 * value))


def test_means_since_the_restart() -> None:
    """Each term and the total; just after a restart those of before, so that a checkpoint there has a loss."""
    meter = LossMeter(torch.device("cpu"))
    assert meter.means() == {}
    _add(meter, 1.0)
    _add(meter, 2.0)
    assert meter.means() == {"box": 1.5, "class": 3.0, TOTAL: 4.5}
    meter.restart()
    assert meter.means()[TOTAL] == 4.5
    _add(meter, 7.0)
    assert meter.means()[TOTAL] == 21.0


def test_what_is_taken_is_taken_once() -> None:
    """Sum and number of steps since the last time, also over the start of a new mean."""
    meter = LossMeter(torch.device("cpu"))
    assert meter.take() == (0.0, 0)
    _add(meter, 1.0)
    _add(meter, 2.0)
    assert meter.take() == (9.0, 2)
    _add(meter, 1.0)
    meter.restart()
    _add(meter, 3.0)
    assert meter.take() == (12.0, 2)
    assert meter.means()[TOTAL] == 9.0


def test_what_an_earlier_version_saved_counts_as_taken() -> None:
    """It did not say what was taken, so only what comes after it can be told."""
    before, after = LossMeter(torch.device("cpu")), LossMeter(torch.device("cpu"))
    _add(before, 1.0)
    state = before.state_dict()
    after.load_state_dict({name: state[name] for name in ("sums", "num_steps", "last")})
    _add(after, 2.0)
    assert after.take() == (6.0, 1)
    assert after.means() == {"box": 1.5, "class": 3.0, TOTAL: 4.5}


def test_half_a_mean_goes_on_exactly() -> None:
    """Sums that went through a file end with the same bits, and the names in the same order."""
    whole, half, again = (LossMeter(torch.device("cpu")) for _ in range(3))
    values = [0.1, 1 / 3, 2e-7, 5.5]
    for number, value in enumerate(values):
        _add(whole, value)
        if number == 1:
            whole.take()
    for value in values[:2]:
        _add(half, value)
    half.take()
    TrainState({"losses": again}).load(dict(TrainState({"losses": half}).files()))
    for value in values[2:]:
        _add(again, value)
    assert list(again.means().items()) == list(whole.means().items())
    assert again.take() == whole.take()
