"""A run of all tests tells which error codes none of them has met, in however many processes they were done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SETTINGS = '[tool.pytest.ini_options]\ntestpaths = ["checks"]\n'
_CONFTEST = """
import met_codes

met_codes.mentioned = lambda: {"T0001": "one.py", "T0002": "two.py"}

def pytest_configure(config):
    config.pluginmanager.register(met_codes.MetCodes(), "met-codes")
"""
_CHECK = """
from pipeline.errors import UsageError

def test_{name}():
    UsageError("no", code="T000{number}", hint="yes")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with two tests, each of which meets one of two codes."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "pyproject.toml").write_text(_SETTINGS)
    (tmp_path / "checks" / "conftest.py").write_text(_CONFTEST)
    for number, name in enumerate(("one", "two"), start=1):
        (tmp_path / "checks" / f"test_{name}.py").write_text(_CHECK.format(name=name, number=number))
    return tmp_path


def _pytest(project: Path, *words: str) -> tuple[int, str]:
    folders = (Path(__file__).parent, Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", "-n", "2", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_code_that_no_process_has_met_fails_the_run(project: Path) -> None:
    """Where each is met by some process all is well; where one is not, it is named, with the place that raises it."""
    assert _pytest(project)[0] == 0
    (project / "checks" / "test_two.py").write_text(_CHECK.format(name="two", number=1))
    code, said = _pytest(project)
    assert code == 1
    assert "T0002 (two.py)" in said
    assert "T0001 (one.py)" not in said


@pytest.mark.parametrize("words", [("-k", "one"), ("checks/test_one.py",)], ids=" ".join)
def test_a_run_of_some_of_the_tests_is_not_judged(project: Path, words: tuple[str, ...]) -> None:
    """Tests that were deselected or not asked for may be those that meet the others."""
    assert _pytest(project, *words)[0] == 0
