"""What trackers have kept of runs, read from their files; carried out by an interpreter that has their packages.

Answers each line `[tracker, folder of logs, name of the run]` with a line that has, for each run of this name by its
id: curves (name -> [[step, value], ...]), figures, config, files and how it ended.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Contents = dict[str, dict[str, Any]]


def _empty() -> dict[str, Any]:
    return {"curves": {}, "figures": {}, "config": {}, "files": [], "status": ""}


def of_tensorboard(logs: Path, run: str) -> Contents:
    """Read the event files of a run; TensorBoard keeps no config and no files."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(logs / "tensorboard" / run))
    events.Reload()
    found = _empty()
    for tag in events.Tags()["scalars"]:
        points = [[each.step, each.value] for each in events.Scalars(tag)]
        if "/" in tag:
            found["figures"][tag] = points[-1][1]
        else:
            found["curves"][tag] = points
    return {run: found}


def of_wandb(logs: Path, run: str) -> Contents:
    """Read what waits for `wandb sync`; the parts of an interrupted run have one id."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[import-not-found, unused-ignore]

    contents: Contents = {}
    for path in sorted((logs / "wandb" / run).rglob("*.wandb")):
        found = contents.setdefault(path.stem.removeprefix("run-"), _empty())
        for data in _leveldb_records(path.read_bytes()[7:]):
            record = Record()
            record.ParseFromString(data)
            _take_wandb(record, found)
    return contents


def _take_wandb(record: Any, found: dict[str, Any]) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "history":
        row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for name in row.keys() - {"step"} if "step" in row else ():
            if not name.startswith("_"):
                found["curves"].setdefault(name, []).append([row["step"], row[name]])
    elif kind == "summary":
        found["figures"] |= {each.key: json.loads(each.value_json) for each in record.summary.update if "/" in each.key}
    elif kind in ("run", "config"):
        config = record.run.config if kind == "run" else record.config
        found["config"] |= {each.key: json.loads(each.value_json) for each in config.update}
    elif kind == "request" and record.request.HasField("log_artifact"):
        found["files"] += [entry.path for entry in record.request.log_artifact.artifact.manifest.contents]
    elif kind == "artifact":
        found["files"] += [entry.path for entry in record.artifact.manifest.contents]
    elif kind == "exit":
        found["status"] = "done" if record.exit.exit_code == 0 else "not done"


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log: blocks of 32 KiB; a record may be in parts of types 2, 3, 4."""
    position, parts, first = 0, b"", 7
    while position + 7 <= len(data):
        left = 32768 - (position + first) % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        part = data[position + 7 : position + 7 + length]
        position += 7 + length
        parts = part if kind in (1, 2) else parts + part
        if kind in (1, 4):
            yield parts


def of_mlflow(logs: Path, run: str) -> Contents:
    """Ask MLflow."""
    from mlflow.tracking import MlflowClient  # type: ignore[import-not-found, unused-ignore]

    client = MlflowClient(f"sqlite:///{logs / 'mlflow.db'}")
    contents: Contents = {}
    for experiment in client.search_experiments():
        for each in client.search_runs([experiment.experiment_id]):
            found = contents.setdefault(each.data.tags["stage_pipeline.run_id"], _empty())
            for name in each.data.metrics:
                points = [[one.step, one.value] for one in client.get_metric_history(each.info.run_id, name)]
                if "/" in name:
                    found["figures"][name] = points[-1][1]
                else:
                    found["curves"][name] = sorted(points)
            found["config"] = dict(each.data.params)
            found["files"] = [file.path for file in client.list_artifacts(each.info.run_id)]
            found["status"] = "done" if each.info.status == "FINISHED" else "not done"
    return {name: found for name, found in contents.items() if name.startswith(run)}


def of_trackio(logs: Path, run: str) -> Contents:
    """Read trackio's SQLite files."""
    contents: Contents = {}
    for path in (logs / "trackio").glob("*.db"):
        with sqlite3.connect(path) as database:
            for name, step, values in database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id"):
                found = contents.setdefault(name, _empty())
                for metric, value in json.loads(values).items():
                    if "/" in metric:
                        found["figures"][metric] = value
                    else:
                        found["curves"].setdefault(metric, []).append([step, value])
            for name, config in database.execute("SELECT run_name, config FROM configs"):
                contents.setdefault(name, _empty())["config"] |= json.loads(config)
    for found in contents.values():
        found["files"] = [
            path.name for path in (logs / "trackio").rglob("*") if path.is_file() and path.suffix != ".db"
        ]
    return {name: found for name, found in contents.items() if name.startswith(run)}


if __name__ == "__main__":
    readers = {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}
    for line in sys.stdin:
        tracker, logs, name = json.loads(line)
        print(json.dumps(readers[tracker](Path(logs), name)), flush=True)  # noqa: T201
