"""`pipeline compare`: runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answer import Answer
from pipeline.browser import Show
from pipeline.complaints import nearest
from pipeline.descriptions import head, near
from pipeline.errors import UsageError
from pipeline.options import PlaceOptions
from pipeline.report.sheet import SHEET_NAME, load_sheet, named_sheets
from pipeline.session import find_workspace
from pipeline.tables import duration, table
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.report.comparison import Comparison, Row

_MAX_LETTERS = 40  # of a value in a column; the page and the JSON have all of it


def compare(runs: Sequence[str], *, workspace: Path | None, show: Show | None) -> Answer:
    """Compare runs that have a report, and show the page of it if `show` is given."""
    from pipeline.report.writer import write_comparison

    root = Workspace.at(find_workspace(PlaceOptions(workspace=workspace)))
    names = [_named(word, root) for word in runs]
    if len(set(names)) < 2:
        raise UsageError("compare needs two different runs", code="E0240", hint=f"runs with a report: {_known(root)}")
    sheets = [load_sheet(root.results / name / SHEET_NAME) for name in dict.fromkeys(names)]
    comparison, path = write_comparison(sheets, workspace=root)
    if show is not None:
        show(path)
    document = {
        **head("compare", root),
        "runs": list(comparison.runs),
        "settings": _documents(comparison.settings),
        "targets": _documents(comparison.targets),
        "metrics": _documents(comparison.metrics),
        "seconds": _documents(comparison.times),
        "path": str(path),
    }
    return Answer(document, lambda width: _text(comparison, path, width=width))


def _named(word: str, workspace: Workspace) -> str:
    """Return the run that `word` is the name of, or the beginning or end of the name of, if it is of just one."""
    names = named_sheets(workspace.results)
    found = [name for name in names if name == word] or [
        name for name in names if name.startswith(word) or name.endswith(word)
    ]
    if len(found) > 1:
        raise UsageError(f"{word!r} may be any of {', '.join(found)}", code="E0241", hint="give more of the name")
    if not found:
        raise UsageError(
            f"there is no run {word!r} with a report{nearest(word, names)}",
            code="E0241",
            hint=f"runs with a report: {_known(workspace)}; `pipeline report` with the options of a run writes its own",
        )
    return found[0]


def _known(workspace: Workspace) -> str:
    return ", ".join(named_sheets(workspace.results)) or "none"


def _documents(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{"name": row.name, "values": list(row.values), "difference": row.difference} for row in rows]


def _text(comparison: Comparison, path: Path, *, width: int) -> str:
    runs = comparison.runs
    settings = [(row.name, *map(_shown, row.values)) for row in comparison.settings]
    rows = dict.fromkeys((*comparison.targets, *comparison.main_metrics))
    figures: list[tuple[str, ...]] = [(row.name, *map(_shown, row.values)) for row in rows]
    header: tuple[str, ...] = ("figure", *runs)
    if comparison.has_difference:
        figures = [(*told, row.told_difference) for told, row in zip(figures, rows, strict=True)]
        header = (*header, "difference")
    times = [(row.name, *(_shown(value, is_time=True) for value in row.values)) for row in comparison.times]
    parts = [
        table(settings, header=("setting", *runs), width=width) if settings else "the settings are the same",
        table(figures, header=header, width=width) if figures else "",
        table(times, header=("last attempt of", *runs), width=width) if times else "",
        f"page: {near(path)}",
    ]
    return "\n\n".join(filter(None, parts))


def _shown(value: Any, *, is_time: bool = False) -> str:
    if value is None:
        return "-"
    if is_time:
        return duration(value)
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…"
