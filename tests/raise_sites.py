"""Where the program makes its errors, read from its source: with which class, code and message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import errors

ROOT = Path(__file__).parent.parent
FOLDERS = ("pipeline", "stages")
_CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PipelineError) and kind is not errors.Interrupted
}
_CODE = re.compile(r"E\d{4}")


@dataclass(frozen=True)
class Site:
    """A place where an error is made; `code` is empty where that of another error is passed on.

    Attributes:
        message: a pattern that every message of this place matches.
    """

    place: str
    kind: type[errors.PipelineError]
    code: str
    message: str


def sources() -> list[Path]:
    """Return all files of the program."""
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def sites() -> Iterator[Site]:
    """Yield every place where the program makes an error of its own."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CLASSES:
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield Site(place, _CLASSES[node.func.id], _code_of(node, place), _pattern(node.args[0]))


def mentioned() -> dict[str, str]:
    """Return all codes that stand as text of their own in the program, each with one of its files."""
    return {
        node.value: str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value)
    }


def _code_of(call: ast.Call, place: str) -> str:
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    if isinstance(given, ast.Attribute) and given.attr == "code":
        return ""
    assert isinstance(given, ast.Constant), f"{place} gives no code; write it out, so that it is found by searching"
    assert isinstance(given.value, str), f"{place}: a code is text"
    return given.value


def _pattern(message: ast.expr) -> str:
    """Return the fixed parts of a message, with anything between them."""
    if isinstance(message, ast.Constant):
        return re.escape(str(message.value))
    if not isinstance(message, ast.JoinedStr):
        return ".*"
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in message.values)
