"""What is tried after a power loss: a script of all that writes durably, and two ways to recover from each state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from crash_states import Moment, kept, put
from invariants import Ending, problems_of_end, step_of
from trials import run_twice

from pipeline import files
from pipeline.errors import IntegrityError
from pipeline.files import TEMPORARY_PREFIX
from pipeline.records import RecordStore
from pipeline.sealed import load_sealed, save_sealed
from stages.training.checkpoints import METADATA_NAME, CheckpointStore, TrainingFacts

_CONFIG, _INPUTS = "a" * 32, "b" * 32


def write_everything(root: Path) -> None:
    """Go through every way to write durably: files and folders, new, replaced, set aside, rotated and removed."""
    chunk = root / "datasets" / "d" / "chunk.safetensors"
    files.write_bytes(chunk, _bytes(20_000, seed=1))
    files.write_bytes(chunk, _bytes(18_000, seed=2))
    records = RecordStore(root / "checkpoints")
    record = records.path("training", config_hash=_CONFIG, inputs_digest=_INPUTS)
    records.begin(record.with_suffix(""), code={"train": "0"})
    store = open_store(root / "checkpoints" / "training" / "run")
    for step in range(1, 5):
        save_checkpoint(store, step)
        save_sealed(store.folder / "training_progress.json", {"step": step})
    files.write_bytes(root / "results" / "run" / "model.safetensors", _bytes(9_000, seed=3))
    save_sealed(record, {"schema_version": 1})
    records.end(record.with_suffix(""))
    files.set_aside(chunk)
    files.remove(root / "results" / "run" / "model.safetensors")
    store.discard()


def open_store(folder: Path) -> CheckpointStore:
    """Return the checkpoints of the script, of which two are kept."""
    return CheckpointStore(folder, keep=2, config_hash=_CONFIG, inputs_digest=_INPUTS, warn=_refuse)


def save_checkpoint(store: CheckpointStore, step: int) -> Path:
    """Save a small checkpoint."""
    facts = TrainingFacts(
        global_step=step,
        total_steps=4,
        epoch=0,
        chunk_id=0,
        offset=step,
        loss=1 / step,
        is_best=step == 1,
        is_final=step == 4,
        config={},
        environment={},
    )
    names = ("model.safetensors", "optimizer.safetensors", "trainer_state.json")
    return store.save([(name, _bytes(9_000, seed=step + len(name))) for name in names], facts).path


def recover(moment: Moment, root: Path) -> list[str]:
    """Put a state on the disk, read it as the program does, and return in words what does not hold."""
    root.parent.mkdir(exist_ok=True)
    put(moment.tree, root)
    files.sweep_temporaries(root)
    problems = [] if moment.holds else [f"at step {moment.point} something is lost, or neither old nor new"]
    problems += [f"left behind: {path}" for path in root.rglob(f"{TEMPORARY_PREFIX}*")]
    try:
        for path in root.glob("checkpoints/*/*.json"):
            load_sealed(path)
        problems += _of_checkpoints(moment, root)
    except (IntegrityError, OSError, ValueError) as error:
        problems.append(f"what is left cannot be read: {error}")
    return problems


def rerun(moment: Moment, folder: Path, reference: Ending, *, command: Sequence[str], keep: int) -> list[str]:
    """Put a state on the disk, run `command` on it to its end, and return in words what does not hold."""
    workspace = folder / "workspace"
    workspace.parent.mkdir(exist_ok=True)
    put(moment.tree, workspace)
    chunks = {path: path.stat().st_ino for path in workspace.glob("datasets/*/[!.]*.safetensors")}
    last = run_twice(workspace, command=command)
    problems = problems_of_end(last, workspace, reference, keep=keep, has_all_logs=False)
    problems += [f"{path} was made again" for path, inode in chunks.items() if path.stat().st_ino != inode]
    saved = max(map(step_of, kept(moment.tree)), default=0)
    if any(step <= saved for step in last.told("steps")[0]):
        problems.append(f"step {saved} was saved, and steps {last.told('steps')[0]} were taken")
    return problems


def _of_checkpoints(moment: Moment, root: Path) -> Iterator[str]:
    """Check that the newest checkpoint that was acknowledged, or the one in the making, is the one that is used."""
    for folder in root.glob("checkpoints/training/*/"):
        paths = [*folder.glob(f"checkpoint-*/{METADATA_NAME}")]
        if paths:
            owner = json.loads(paths[0].read_text())
            store = CheckpointStore(
                folder, keep=2, config_hash=owner["config_hash"], inputs_digest=owner["inputs_digest"], warn=_refuse
            )
            found = store.newest()
            newest = max(map(step_of, kept(moment.tree)))
            if found is None or found[0].metadata.global_step != newest:
                yield f"the checkpoint of step {newest} was not used"


def _refuse(warning: str) -> None:
    raise IntegrityError(warning, code="T0001")


def _bytes(size: int, *, seed: int) -> bytes:
    return bytes((seed * 37 + index * 7) % 255 + 1 for index in range(size))
