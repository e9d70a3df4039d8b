"""Sources parsed once in a process and its forks: in a workspace without a cache of them a run parses each again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline import code_digest

_ROOT = Path(__file__).parent.parent


def parse_once() -> None:
    """Let a source that has not changed be parsed once, whatever workspace asks."""
    parse = code_digest._parse
    known: dict[tuple[Path, bytes], dict[str, Any]] = {}

    def parse_new(path: Path) -> dict[str, Any]:
        source = (path, path.read_bytes())
        if source not in known:
            known[source] = parse(path)
        return known[source]

    code_digest._parse = parse_new


def parse_beforehand() -> None:
    """So too for the forks of this process: parse now what it has imported of the stages and of the tests."""
    parse_once()
    for module in [*sys.modules.values()]:
        path = Path(getattr(module, "__file__", None) or "")
        if path.suffix == ".py" and any(path.is_relative_to(_ROOT / folder) for folder in ("stages", "tests")):
            code_digest._parse(path)
