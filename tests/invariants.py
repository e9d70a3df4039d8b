"""What must hold after every fault, compared with a run that nothing befell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from faults import Fault
from trials import Ended, Trial

from pipeline.errors import IntegrityError
from pipeline.files import TEMPORARY_PREFIX
from pipeline.report.sheet import REPORT_NAME, SHEET_NAME
from pipeline.sealed import load_sealed

_CHECKPOINT = re.compile(r"(checkpoint-step(\d+)-loss[^/]*)-\d{8}_\d{6}/")
_TRAINING_RECORD = re.compile(r"/checkpoints/training/[^/]+\.json$")
_STAMP = re.compile(r"_\d{8}_\d{6}(-\d+)?")
_CODES = {Fault.EIO: 4, Fault.ENOSPC: 6, Fault.FULL: 6, Fault.SHORT: 0, Fault.LYING: 4}
_NOT_REMEMBERED = "the digests of this run are not remembered"
# What a record tells of how its stage went, not of what came out.
_OF_THE_WAY = frozenset({"drawing_seconds", "new_chunks", "new_images"})


@dataclass(frozen=True)
class Ending:
    """What a run leaves that must be the same on every way to it.

    Attributes:
        contents: bytes by name, of the data set and the results of the run.
        others: the names of all other files but checkpoints and logs, without times.
        newest: the files of the last checkpoint, but for its metadata.
        metrics: by stage.
        history: (epoch, step, sample ids) of each step of the final model.
    """

    contents: dict[str, bytes]
    others: frozenset[str]
    newest: dict[str, bytes]
    metrics: dict[str, dict[str, Any]]
    history: tuple[tuple[int, int, tuple[int, ...]], ...]


def read_ending(workspace: Path) -> Ending:
    """Collect what lies in `workspace`; raises IntegrityError where a record cannot be believed."""
    contents: dict[str, bytes] = {}
    others: set[str] = set()
    newest: tuple[int, dict[str, bytes]] = (-1, {})
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace).as_posix()
        if not path.is_file() or name.startswith("logs/"):
            continue
        if found := _CHECKPOINT.search(name):
            if int(found[2]) > newest[0]:
                newest = (int(found[2]), {})
            if int(found[2]) == newest[0] and path.name != "checkpoint_metadata.json":
                newest[1][path.name] = path.read_bytes()
        elif path.name in (REPORT_NAME, SHEET_NAME):
            others.add(name)  # they tell of the way: it must be there, and is another one after each kill
        elif name.startswith("datasets/") or re.match(r"results/[^/]+/", name):
            contents[name] = path.read_bytes()
        else:
            others.add(_STAMP.sub("", name))
    return Ending(contents, frozenset(others), newest[1], dict(_metrics(workspace)), _history(workspace))


def problems_of(trial: Trial, reference: Ending, *, keep: int, interval: int) -> list[str]:
    """Return in words what does not hold after `trial`.

    Args:
        trial: what befell the workspace.
        reference: what the same command leaves that nothing befell.
        keep: how many checkpoints are kept.
        interval: most steps between two checkpoints.
    """
    lost = _of_lost_work(trial, interval=interval)
    return [*_of_the_fault(trial), *lost, *problems_of_end(trial.last, trial.workspace, reference, keep=keep)]


def problems_of_end(
    last: Ended, workspace: Path, reference: Ending, *, keep: int, has_all_logs: bool = True
) -> list[str]:
    """Return in words what does not hold after `run_twice`, whatever had befallen the workspace before."""
    problems = list(_of_the_last_run(last))
    try:
        problems += _differences(read_ending(workspace), reference, has_all_logs=has_all_logs)
    except (IntegrityError, OSError, ValueError) as error:
        problems.append(f"what is left cannot be read: {error}")
    num_checkpoints = len([*workspace.glob("checkpoints/training/*/checkpoint-*")])
    if num_checkpoints > keep + 1:  # besides the newest the best one is kept
        problems.append(f"{num_checkpoints} checkpoints are left")
    return problems + [f"left behind: {path}" for path in workspace.rglob(f"{TEMPORARY_PREFIX}*")]


def _of_the_fault(trial: Trial) -> Iterator[str]:
    """Check that each run that something befell ended as it should, said so, and kept to its workspace (I5, I7)."""
    for point, ended in zip(trial.points, trial.befallen, strict=True):
        yield from _of_the_process(ended)
        has_happened = ended.code < 0 or point.at <= len(ended.told("operations")[0])
        expected = {_CODES.get(point.fault, -9) if has_happened else 0}
        # What is only remembered for speed may be lost, if just that is told.
        if expected & {4, 6} and any(_NOT_REMEMBERED in text for text in ended.told("warnings")[0]):
            expected.add(0)
        if ended.code not in expected:
            yield f"{point}: exit code {ended.code} instead of {expected}: {ended.told('out')}"
        elif ended.code > 0:
            error = json.loads(ended.told("out")[0])["error"]
            if not error["message"] or not error["hint"]:
                yield f"{point}: it did not say what happened and what to do next: {error}"
    if {path.name for path in trial.folder.iterdir()} != {"workspace", "beside"}:
        yield f"there is something new beside the workspace: {list(trial.folder.iterdir())}"
    if (trial.folder / "beside").read_text() != "not ours":
        yield "a file beside the workspace was changed"


def _of_lost_work(trial: Trial, *, interval: int) -> Iterator[str]:
    """Check that each run went on from the last checkpoint whose save had returned, or from a later one (I2, I4)."""
    saved, is_recorded = 0, False
    for before, after in pairwise([*trial.befallen, trial.last]):
        saved = max(saved, *map(step_of, before.told("write_folder")), 0)
        is_recorded = is_recorded or any(_TRAINING_RECORD.search(path) for path in before.told("write_bytes"))
        steps = after.told("steps")[0]
        if steps and is_recorded:
            yield f"a finished training was taken up again at step {steps[0]}"
        # A checkpoint may be there whose save had not yet returned: that is at most one interval further.
        if steps and not saved < steps[0] <= saved + interval + 1:
            yield f"step {saved} was saved, and training went on at step {steps[0]}"


def _of_the_last_run(last: Ended) -> Iterator[str]:
    """Check that the run after the faults ended well, and that the next found nothing to do (I8)."""
    yield from _of_the_process(last)
    if last.code:
        yield f"the run after it ended with {last.code}: {last.told('out')} {last.told('err')}"
        return
    actions = {stage["action"] for stage in json.loads(last.told("out")[1])["stages"]}
    if actions != {"skip"} or last.told("changed")[0]:
        yield f"the run after that was not without effect: {actions}, {last.told('changed')[0]}"


def _of_the_process(ended: Ended) -> Iterator[str]:
    for name in ("bug", "outside", "forbidden"):
        for text in ended.told(name):
            yield f"{name}: {text}"


def step_of(path: str) -> int:
    """Return the step of the checkpoint that `path` is or lies in; 0 if it is none."""
    found = _CHECKPOINT.search(f"{path}/")
    return int(found[2]) if found else 0


def _differences(found: Ending, reference: Ending, *, has_all_logs: bool) -> Iterator[str]:
    """Compare with the run that nothing befell (I1, I3: what was skipped though it was damaged would differ)."""
    for what, mine, theirs in (
        ("data set or results", found.contents, reference.contents),
        ("last checkpoint", found.newest, reference.newest),
        ("metrics", found.metrics, reference.metrics),
    ):
        if different := [name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)]:
            yield f"{what} differ: {sorted(different)}"
    if found.others != reference.others:
        yield f"other files differ: {sorted(found.others ^ reference.others)}"
    history = reference.history if has_all_logs else reference.history[len(reference.history) - len(found.history) :]
    if found.history != history:
        yield f"the samples of the final model are {found.history}"


def _metrics(workspace: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(workspace.glob("checkpoints/*/*.json")):
        record = load_sealed(path)
        yield record["stage"], {name: value for name, value in record["metrics"].items() if name not in _OF_THE_WAY}
    # An evaluation that was killed before its record leaves a document of its own, which must say the same.
    said = {json.dumps(load_sealed(path)["metrics"], sort_keys=True) for path in workspace.glob("results/*.json")}
    for number, metrics in enumerate(sorted(said)):
        yield f"results document {number}", json.loads(metrics)


def _history(workspace: Path) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    """Return the steps of the final model: of a step that was taken twice the last time counts."""
    path = workspace / "logs" / "samples.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    steps = {line["global_step"]: line for line in map(json.loads, lines)}
    return tuple((steps[step]["epoch"], step, tuple(steps[step]["sample_ids"])) for step in sorted(steps))
