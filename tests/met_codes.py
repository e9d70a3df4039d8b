"""Sees to it that a run of all tests has really met every error code there is."""

from __future__ import annotations

from functools import update_wrapper, wraps
from typing import Any

import pytest
from raise_sites import mentioned

from pipeline import errors
from pipeline.errors import PipelineError
from pipeline.failures import Failure


class MetCodes:
    """Notes the code of each error that is made in a process of the tests.

    When all tests were run and passed, a code that none of them has met makes the run fail: what was never raised may
    not be raised where it should, or say something wrong. A run of some of the tests is not judged.
    """

    def __init__(self) -> None:
        self._met: set[str] = set()
        self._is_whole = True
        self._unmet: list[str] = []
        for kind in (PipelineError, Failure):
            self._note_those_of(kind)
        make_again = errors._made_again

        def noting(kind: type[PipelineError], message: str, attributes: dict[str, Any]) -> PipelineError:
            self._met.add(attributes["code"])
            return make_again(kind, message, attributes)

        update_wrapper(noting, make_again)  # under whose name it is pickled
        errors._made_again = noting  # those of other processes come in without a constructor

    def _note_those_of(self, kind: type[Any]) -> None:
        make = kind.__init__

        @wraps(make)
        def noting(error: Any, *arguments: Any, **words: Any) -> None:
            make(error, *arguments, **words)
            self._met.add(error.code)

        kind.__init__ = noting

    def pytest_deselected(self) -> None:
        """Some of the tests will not be run."""
        self._is_whole = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a process has met that did some of the tests; one that died tells nothing."""
        told = getattr(node, "workeroutput", {})
        self._met.update(told.get("met_codes", ()))
        self._is_whole &= told.get("is_whole", False)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where a code was not met; where the tests are spread over processes only the one that waits for them."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput |= {"met_codes": sorted(self._met), "is_whole": self._is_whole}
            return
        is_given_files = session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS
        if is_given_files or session.testsfailed or session.shouldstop or session.config.option.collectonly:
            self._is_whole = False
        self._unmet = sorted(mentioned().keys() - self._met)
        if self._is_whole and self._unmet:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which."""
        if self._is_whole and self._unmet:
            terminalreporter.section("error codes that no test has met", red=True)
            for code in self._unmet:
                terminalreporter.line(f"{code} ({mentioned()[code]})")
