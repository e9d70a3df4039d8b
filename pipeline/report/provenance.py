"""Where a run comes from, as tables: settings with their origins, environment, seeds, digests, files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.fingerprint import digest_json
from pipeline.leaves import leaves
from pipeline.records import Artifact, StageRecord
from pipeline.report.history import Attempt, History, number
from pipeline.report.parts import Cell, TableBlock
from pipeline.report.sheet import RunSheet, SheetStage
from pipeline.tables import counted, duration, size

_MANY_FILES = 12  # of one kind; the rest of them is counted
_SEED = "seed"


def settings_tables(sheet: RunSheet) -> list[TableBlock]:
    """Return the settings that were chosen for this run, and all of them."""
    rows = [(key, as_text(setting["value"]), str(setting["origin"])) for key, setting in sheet.settings.items()]
    chosen = tuple(row for row in rows if row[2] != "default")
    header = ("setting", "value", "from")
    return [
        TableBlock(title="Settings that are not defaults", header=header, rows=chosen),
        TableBlock(title="All settings", header=header, rows=tuple(rows)),
    ]


def environment_table(records: Mapping[str, StageRecord]) -> TableBlock:
    """Return on what each stage ran, and with which runtime options, a column for each; what is equal has one."""
    columns = {name: dict(leaves(_surroundings(record))) for name, record in records.items()}
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    rows: list[tuple[Cell, ...]] = []
    for key in keys:
        cells = [as_text(column[key]) if key in column else None for column in columns.values()]
        rows.append((key, *cells))
    if rows and all(len(set(row[1:])) == 1 for row in rows):
        return TableBlock(title="Environment", header=("what", "all stages"), rows=tuple(row[:2] for row in rows))
    return TableBlock(title="Environment", header=("what", *columns), rows=tuple(rows))


def memory_table(results: Mapping[str, Mapping[str, Any]]) -> TableBlock:
    """Return the most memory that the process of each stage held, and on an accelerator, as results documents say."""
    rows = []
    for stage, document in results.items():
        peaks = document.get("peak_memory_bytes")
        for where, num_bytes in peaks.items() if isinstance(peaks, Mapping) else ():
            if number(num_bytes):
                rows.append((stage, str(where), size(num_bytes)))
    return TableBlock(title="Most memory held", header=("stage", "where", "memory"), rows=tuple(rows))


def seeds_table(sheet: RunSheet) -> TableBlock:
    """Return every setting that is a seed."""
    seeds = tuple((key, as_text(value)) for key, value in sheet.values().items() if key.rpartition(".")[2] == _SEED)
    return TableBlock(title="Seeds", header=("setting", "value"), rows=seeds)


def digests_table(records: Mapping[str, StageRecord]) -> TableBlock:
    """Return what identifies the config, the inputs and the code of each stage."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, record.stage_version, record.config_hash, record.inputs_digest or "no inputs", digest_json(record.code))
        for name, record in records.items()
    )
    header = ("stage", "version", "config hash", "inputs digest", "code digest")
    return TableBlock(title="Digests of the stages", header=header, rows=rows, note="xxh3, 128 bits, hexadecimal.")


def files_table(records: Mapping[str, StageRecord]) -> TableBlock:
    """Return the files that the stages left; of many of one kind only the first."""
    rows = tuple(row for name, record in records.items() for row in _file_rows(name, record.artifacts))
    return TableBlock(title="Files", header=("file", "stage", "kind", "size", "xxh3"), rows=rows)


def stages_table(sheet: RunSheet, records: Mapping[str, StageRecord], history: History) -> TableBlock:
    """Return when each stage was done and how long its last attempt took, or how that ended."""
    rows: list[tuple[Cell, ...]] = []
    for stage in sheet.stages:
        record = records.get(stage.name)
        if record is None:
            rows.append(_undone(stage, history.newest(stage.name)))
            continue
        made_by = "" if record.run == sheet.run else f"made by the run {record.run}"
        finished = record.finished_at[:19].replace("T", " ")
        rows.append((stage.name, "done", finished, duration(record.duration_seconds), made_by))
    header = ("stage", "state", "finished", "last attempt took", "note")
    return TableBlock(title="State of each stage", header=header, rows=tuple(rows))


def as_text(value: Any) -> str:
    """Return a setting as people read it: text without quotes, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _undone(stage: SheetStage, attempt: Attempt | None) -> tuple[Cell, ...]:
    if attempt is None or attempt.ending == "done":  # its record went since
        return (stage.name, "not done", None, None, stage.detail)
    return (stage.name, attempt.ending, None, duration(attempt.ended - attempt.began), attempt.told)


def _surroundings(record: StageRecord) -> dict[str, Any]:
    return {**record.environment, "runtime": record.runtime}


def _file_rows(stage: str, artifacts: tuple[Artifact, ...]) -> Iterator[tuple[Cell, ...]]:
    by_kind: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_kind.setdefault(artifact.kind, []).append(artifact)
    for kind, files in by_kind.items():
        for file in files[:_MANY_FILES]:
            yield file.path, stage, kind, size(file.size), file.xxh3
        if len(files) > _MANY_FILES:
            rest = files[_MANY_FILES:]
            digest = digest_json([file.xxh3 for file in rest])
            yield f"and {counted(len(rest), 'more file')}", stage, kind, size(sum(file.size for file in rest)), digest
