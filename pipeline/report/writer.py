"""Gathers what is known of a run and writes its report."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.event_reader import read_events
from pipeline.fingerprint import digest_json
from pipeline.records import StageRecord
from pipeline.report.comparison import Comparison, Side, compare, comparison_sections
from pipeline.report.content import Content, charts_of, content_of
from pipeline.report.history import History, read_history
from pipeline.report.page import comparison_page, report_page
from pipeline.report.parts import REPORT_KIND, NoPart, ReportPart, load_part
from pipeline.report.renderer import TIMEOUT_SECONDS, draw
from pipeline.report.sheet import COMPARISON_PREFIX, REPORT_NAME, SHEET_NAME, RunSheet
from pipeline.sealed import load_sealed
from pipeline.workspace import MAX_NAME_BYTES, Workspace

RESULTS_KIND = "results"
_DIGITS = 16


def write_report(sheet: RunSheet, *, workspace: Workspace, patience: float = math.inf) -> Path:
    """Write `report.html` and the sheet of a run into its results folder, and return the path of the report.

    Its charts are waited for no longer than `patience`, in seconds.

    Raises:
        OSError, PipelineError: it cannot be written.
    """
    workspace.require_folders()
    content = gather(sheet, workspace=workspace)
    pictures, trouble = draw(charts_of(content.sections), timeout=min(TIMEOUT_SECONDS, patience))
    folder = workspace.results / sheet.run
    _write(folder / REPORT_NAME, report_page(content, pictures=pictures, trouble=trouble))
    # Last: with this very sheet there, the report is known to be written. Where its charts could not be drawn the sheet
    # is another one, so that the next run tries again.
    _write(folder / SHEET_NAME, replace(sheet, trouble=trouble).to_bytes())
    return folder / REPORT_NAME


def write_comparison(sheets: Sequence[RunSheet], *, workspace: Workspace) -> tuple[Comparison, Path]:
    """Compare runs and write the page of it beside the report of the first; return both.

    Raises:
        OSError, PipelineError: it cannot be written.
    """
    workspace.require_folders()
    sides = [_side(sheet, workspace=workspace) for sheet in sheets]
    comparison = compare(sides)
    sections = comparison_sections(comparison, sides)
    pictures, trouble = draw(charts_of(sections))
    path = workspace.results / sheets[0].run / _comparison_name(comparison.runs[1:])
    _write(path, comparison_page(comparison.runs, sections, pictures=pictures, trouble=trouble))
    return comparison, path


def _comparison_name(others: Sequence[str]) -> str:
    """Return the name of the page that compares a run with `others`, short enough for any file system."""
    name = f"{COMPARISON_PREFIX}{'-'.join(others)}.html"
    if len(os.fsencode(name)) <= MAX_NAME_BYTES:
        return name
    return f"{COMPARISON_PREFIX}{len(others)}-runs-{digest_json(list(others))[:_DIGITS]}.html"


def _write(path: Path, data: bytes) -> None:
    # Where a folder stands, the rename would fail and name a temporary.
    if path.is_dir() and not path.is_symlink():
        raise IntegrityError(
            f"{path} is no regular file", code="E0406", hint="remove what stands there; nothing reads it"
        )
    files.write_bytes(path, data)


def _side(sheet: RunSheet, *, workspace: Workspace) -> Side:
    records = sheet.records(workspace)
    history = history_of(sheet, records, workspace=workspace, problems=[])
    return Side(sheet=sheet, records=records, history=history)


def gather(sheet: RunSheet, *, workspace: Workspace) -> Content:
    """Read records, log and what the stages have added; what cannot be read is told in the report."""
    records = sheet.records(workspace)
    problems: list[str] = []
    history = history_of(sheet, records, workspace=workspace, problems=problems)
    parts = list(parts_of(records, workspace=workspace, problems=problems))
    results = results_of(records, workspace=workspace, problems=problems)
    return content_of(sheet, records, history, parts, results=results, problems=problems)


def history_of(
    sheet: RunSheet, records: Mapping[str, StageRecord], *, workspace: Workspace, problems: list[str]
) -> History:
    """Return what the log of events tells of the stages: each under the name of the run that did its work."""
    runs = {stage.name: records[stage.name].run if stage.name in records else sheet.run for stage in sheet.stages}
    try:
        events = read_events(workspace.event_log, runs=set(runs.values()))
        return read_history(events, runs=runs, is_running=bool(workspace.owner))
    except (OSError, IntegrityError) as error:
        problems.append(f"the log of events cannot be read: {error}")
        return read_history((), runs=runs)


def results_of(
    records: Mapping[str, StageRecord], *, workspace: Workspace, problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the results documents that stages left, by the stage; what cannot be read goes to `problems`."""
    found = {}
    for name, record in records.items():
        for artifact in record.artifacts:
            if artifact.kind == RESULTS_KIND:
                try:
                    found[name] = load_sealed(workspace.resolve(artifact.path))
                except (OSError, IntegrityError) as error:
                    problems.append(str(error))
    return found


def parts_of(records: Mapping[str, StageRecord], *, workspace: Workspace, problems: list[str]) -> Iterable[ReportPart]:
    """Yield what stages add to the report; what cannot be read goes to `problems`."""
    for record in records.values():
        for artifact in record.artifacts:
            if artifact.kind != REPORT_KIND:
                continue
            try:
                yield load_part(workspace.resolve(artifact.path))
            except (OSError, IntegrityError, NoPart) as error:
                problems.append(str(error))
