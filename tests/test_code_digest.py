"""Which edits count as a change of a stage's code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.code_digest import changed_code, code_digests
from pipeline.config import StageConfig
from pipeline.errors import UsageError
from pipeline.stat_cache import StatCache

_STAGE = '''
"""Docstring."""
import json
import pydantic
from pipeline.files import write_bytes
from toyproject.helper import double

class Toy:
    """A stage."""
    name = "toy"

    def execute(self, context):
        """Do it."""
        from . import lazy  # imported only when it runs
        return double(lazy.VALUE)
'''
_FILES = {
    "__init__.py": "",
    "stage.py": _STAGE,
    "helper.py": "from .deep.inner import two\n\ndef double(x):\n    # a comment\n    return two() * x\n",
    "deep/__init__.py": "",
    "deep/inner.py": "def two():\n    return 2\n",
    "lazy.py": "VALUE = 3\n",
    "named.py": "def build():\n    return 1\n",
    "other.py": "def unused():\n    return 1\n",
}


class _Config(StageConfig):
    builder: str = "toyproject.named:build"


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, str]]]:
    """Give a function that digests the code of a stage in a project of its own."""
    for name, text in _FILES.items():
        path = tmp_path / "toyproject" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    stage: Any = importlib.import_module("toyproject.stage").Toy()
    yield lambda: code_digests(stage, configs=[_Config()], cache=StatCache(tmp_path / "cache"))
    for name in [name for name in sys.modules if name.startswith("toyproject")]:
        del sys.modules[name]


def _edit(tmp_path: Path, name: str, old: str, new: str) -> None:
    path = tmp_path / "toyproject" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("stage.py", "return double", "return 1 + double", ("toyproject.stage.Toy.execute",)),
        ("stage.py", '"toy"', '"tool"', ("toyproject.stage.Toy",)),
        ("helper.py", "* x", "* x * 1", ("toyproject.helper.double",)),
        ("deep/inner.py", "return 2", "return 3", ("toyproject.deep.inner.two",)),
        ("lazy.py", "3", "4", ("toyproject.lazy",)),
        ("named.py", "return 1", "return 2", ("toyproject.named.build",)),
        ("helper.py", "def double", "def extra():\n    pass\n\ndef double", ("toyproject.helper.extra",)),
        ("helper.py", "# a comment", "# another comment", ()),
        ("stage.py", '"""Do it."""', '"""Do it otherwise."""', ()),
        ("helper.py", "two() * x", "( two()\n  * x )", ()),
        ("other.py", "return 1", "return 2", ()),
    ],
)
def test_edits(
    digests: Callable[[], dict[str, str]], tmp_path: Path, name: str, old: str, new: str, changed: tuple[str, ...]
) -> None:
    """An edit anywhere in the import closure is named by function; comments, docstrings, layout do not count."""
    before = digests()
    _edit(tmp_path, name, old, new)
    assert changed_code(before, digests()) == changed


def test_installed_packages_and_the_orchestrator_do_not_count(digests: Callable[[], dict[str, str]]) -> None:
    """Only the stage's own project is looked at: neither the standard library, nor packages, nor the orchestrator."""
    assert {name.partition(".")[0] for name in digests()} == {"toyproject"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("VALUE = 1\nVALUE =\n", "invalid syntax (at line 2)"),
        ("VALUE = 3\0\n", "source code string cannot contain null bytes"),
    ],
    ids=["half an edit", "null bytes"],
)
def test_a_source_that_is_not_python_is_told_with_its_place(
    digests: Callable[[], dict[str, str]], tmp_path: Path, source: str, told: str
) -> None:
    """It is the user's to correct, also where Python itself would meet it only when the stage is at work."""
    path = tmp_path / "toyproject" / "lazy.py"
    path.write_text(source)
    with pytest.raises(UsageError) as caught:
        digests()
    assert caught.value.message == f"{path.resolve()} is not Python: {told}"
    assert caught.value.code == "E0228"
