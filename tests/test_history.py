"""The history of mini-epochs: which was the best, and when to stop, follow from the entries alone."""

from __future__ import annotations

import pytest

from stages.training.config import EarlyStoppingConfig, ValidationConfig
from stages.training.history import Entry, History


def _history(*values: float | None, goal: str = "max", patience: int = 0, min_delta: float = 0.0) -> History:
    early = EarlyStoppingConfig(patience=patience, min_delta=min_delta) if patience else None
    history = History(ValidationConfig.model_validate({"metric": "ap", "goal": goal}), early)
    for number, value in enumerate(values, start=1):
        history.add(
            Entry(
                mini_epoch=number,
                epoch=0,
                global_step=number * 10,
                lr=0.1,
                losses={"total": 1.0},
                figures={"ap": value, "other": 1.0},
            )
        )
    return history


@pytest.mark.parametrize(
    ("values", "goal", "best"),
    [
        ((0.1, 0.3, 0.2), "max", 20),
        ((0.1, 0.3, 0.2), "min", 10),
        ((0.2, 0.2), "max", 10),
        ((None, -0.5, None), "max", 20),
        ((0.0, -0.5), "max", 10),
    ],
)
def test_best_is_the_first_of_the_best_figures(values: tuple[float | None, ...], goal: str, best: int) -> None:
    """More or less is better as the settings say; a figure that is no number is never the best."""
    found = _history(*values, goal=goal).best
    assert found is not None
    assert found.global_step == best


def test_without_figures_there_is_no_best() -> None:
    """Nothing was validated: nothing is best, and nothing stops."""
    for history in (_history(patience=1), _history(None, None, patience=1)):
        assert history.best is None
        assert not history.is_newest_best
        assert not history.is_stopping


@pytest.mark.parametrize(
    ("values", "min_delta", "is_stopping"),
    [
        ((0.1, 0.2, 0.3, 0.4), 0.0, False),
        ((0.4, 0.3, 0.2), 0.0, True),
        ((0.4, 0.3), 0.0, False),
        ((0.1, 0.15, 0.19), 0.1, True),
        ((0.1, 0.15, 0.25), 0.1, False),
        ((0.4, None, 0.3), 0.0, True),
        ((0.4, 0.4, 0.4), 0.0, True),
    ],
)
def test_training_stops_when_nothing_gets_better(
    values: tuple[float | None, ...], min_delta: float, is_stopping: bool
) -> None:
    """After `patience` (here 2) validations that are not better by `min_delta` than the last better one."""
    assert _history(*values, patience=2, min_delta=min_delta).is_stopping is is_stopping


def test_history_comes_back_and_goes_on() -> None:
    """Restored entries are the same, and the number of the last mini-epoch with them."""
    history = _history(0.1, None)
    again = _history()
    again.load_state_dict(history.state_dict())
    assert again.entries == history.entries
    assert again.mini_epoch == 2
    with pytest.raises(AssertionError, match="validated once"):
        again.add(history.entries[1])
