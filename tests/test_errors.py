"""Errors: that they come whole through a pipe to another process."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import Interrupted, NewerFormat, PipelineError, StageFailed


class _OfOneNumber(StageFailed):
    """An error of somebody's own, whose constructor takes something else."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{number} is not prime", code="T0001", hint="take 7")
        self.number = number


@pytest.mark.parametrize(
    "error", [StageFailed("x", code="E0101", hint="y"), NewerFormat("x", code="E0412"), Interrupted(2), _OfOneNumber(8)]
)
def test_an_error_that_was_pickled_is_the_same(error: PipelineError) -> None:
    """Class, code, sentence, hint and whatever else it holds, also for classes with constructors of their own."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert again.exit_code == error.exit_code


@pytest.mark.parametrize(("number", "code", "exit_code"), [(2, "E0701", 130), (15, "E0702", 75), (1, "E0702", 75)])
def test_what_stopped_a_run_decides_how_it_ends(number: int, code: str, exit_code: int) -> None:
    """Ctrl+C and what a scheduler does are told apart."""
    stopped = Interrupted(number)
    assert (stopped.code, stopped.exit_code) == (code, exit_code)
