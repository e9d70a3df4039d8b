"""Files made to do harm, in place of ours: nothing in them is ever run, and none brings a run down."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tiny_command_line
import torch
from tiny_command_line import SMALL, Command, contents, newest_checkpoint

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_file
from pipeline.sealed import load_sealed, save_sealed
from stages.chunks.chunk import decode_chunk
from stages.tensors import load_tensors

finished = tiny_command_line.finished
copy = tiny_command_line.copy
call = tiny_command_line.call
_TESTS = Path(__file__).parent

# Carries out commands in this process and prints which of the events that must never happen did. `exec` and `compile`
# happen whenever a module is imported; those are meant that have to do with the canary.
_WATCHED = """
import json, sys
seen = []
NEVER = ("pickle.find_class", "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork")
def watch(event, arguments):
    if event.startswith(NEVER) and event != "socket.gethostname":  # which asks the kernel, not the network
        seen.append(f"{event} {arguments!r}"[:300])
    elif event in ("exec", "compile", "open", "import") and "canary" in repr(arguments):
        seen.append(f"{event} {arguments!r}"[:300])
from pipeline.cli import main
{imports}
sys.addaudithook(watch)
codes = []
for words in json.loads(sys.argv[1]):
    codes.append(main(words))
print("\\nWATCHED" + json.dumps({"codes": codes, "seen": seen}))
"""
_IMPORTS = """
import stages.catalog, tiny_pipeline
import stages.data_generation.making, stages.training.work, stages.evaluation.measure
"""


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('canary', 'w')",))


def _torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": torch.zeros(3), "bomb": Bomb()}, buffer)
    return buffer.getvalue()


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(50_000_000))
    return buffer.getvalue()


def _tensors(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _tensor(*, shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


_PAYLOADS: dict[str, bytes] = {
    "pickle": pickle.dumps(Bomb()),
    "torch": _torch_file(),
    "zip bomb": _zip_bomb(),
    "endless header": b"\xff" * 8 + b"{}",
    "long header": _tensors(b" " * 30_000_000 + b"{}"),
    "deep header": _tensors(b'{"a":' * 100_000),
    "negative": _tensors({"a": _tensor(shape=[1], offsets=[-4, 0])}, bytes(64)),
    "overlapping": _tensors({str(n): _tensor(shape=[2], offsets=[n, n + 8]) for n in (0, 4)}, bytes(12)),
    "a billion": _tensors({"a": _tensor(shape=[10**9, 10**9], offsets=[0, 4])}, bytes(4)),
    "wrapping": _tensors({"a": _tensor(shape=[2**62, 4], offsets=[0, 0])}),
    "negative shape": _tensors({"a": _tensor(shape=[-1, -4], offsets=[0, 16])}, bytes(16)),
    "outside": _tensors({"a": _tensor(shape=[100], offsets=[0, 400])}, bytes(4)),
    "unknown type": _tensors({"a": _tensor(shape=[1], offsets=[0, 4], dtype="PICKLE")}, bytes(4)),
    "polyglot": _tensors({"a": _tensor(shape=[1], offsets=[0, 4])}, bytes(4)) + _torch_file(),
    "deep JSON": b'{"a":' * 200_000,
}  # fmt: skip

# Every kind of file that a run reads, by where it lies in the workspace of a finished run.
_TARGETS = (
    "datasets/*/consolidated_00000.safetensors",
    "datasets/*/test_00000.safetensors",
    "datasets/*/*/manifest.json",
    "checkpoints/data_generation/*.json",
    "checkpoints/training/*.json",
    "checkpoints/evaluation/*.json",
    "checkpoints/.stat_cache",
    "checkpoints/training/*/training_progress.json",
    "checkpoints/training/*/checkpoint-*/model.safetensors",
    "checkpoints/training/*/checkpoint-*/trainer_state.json",
    "checkpoints/training/*/checkpoint-*/checkpoint_metadata.json",
    "results/*/model.safetensors",
    "results/*/predictions.json",
)


def _watch(commands: list[list[str]], *, folder: Path) -> tuple[list[int], list[str]]:
    """Carry out commands in one watched process; return their exit codes and what happened that never must."""
    paths = os.pathsep.join([str(_TESTS), str(_TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "PIPELINE_PIPELINE": SMALL}
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED.replace("{imports}", _IMPORTS), json.dumps(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "WATCHED" in done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout.rpartition("WATCHED")[2])
    return found["codes"], found["seen"]


def test_nothing_is_run_from_any_file(finished: Path, tmp_path: Path) -> None:
    """With each kind of file replaced by each payload, no run unpickles, executes, connects or starts anything."""
    commands = []
    for name, payload in _PAYLOADS.items():
        root = shutil.copytree(finished, tmp_path / name)
        for pattern in _TARGETS:
            for path in root.glob(pattern):
                path.write_bytes(payload)
        commands.append(["run", "--no-incremental", "--quiet", "--workspace", str(root)])
    commands += [[word, "--workspace", str(root)] for word in ("status", "validate")]
    codes, seen = _watch(commands, folder=tmp_path)
    assert seen == []
    # The run sets all of it aside or makes it anew; then everything is whole again.
    assert dict(zip(map(" ".join, commands), codes, strict=True)) == dict.fromkeys(map(" ".join, commands), 0)
    assert not list(tmp_path.rglob("canary"))
    for name in _PAYLOADS:
        assert contents(tmp_path / name, "results") == contents(finished, "results")


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """The hook would have told: a process that unpickles the bomb is found out."""
    (tmp_path / "bomb.pkl").write_bytes(_PAYLOADS["pickle"])
    hook = _WATCHED.replace("codes.append(main(words))", "import pickle; pickle.load(open(words[0], 'rb'))")
    hook = hook.replace("{imports}", "")  # what the commands need, and this one does not
    environment = {**os.environ, "PYTHONPATH": f"{_TESTS}:{_TESTS.parent}"}
    words = [sys.executable, "-c", hook, '[["bomb.pkl"]]']
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "pickle.find_class" in done.stdout
    assert "exec" in done.stdout


@pytest.mark.parametrize("payload", _PAYLOADS)
def test_weights_with_a_forged_record_end_with_4(copy: Path, payload: str, call: Command) -> None:
    """Who writes the digest of a payload into the record gets as far as the reader of tensors, and no further."""
    (weights,) = copy.glob("results/*/model.safetensors")
    weights.write_bytes(_PAYLOADS[payload])
    record = _forge(copy, weights)
    next(copy.glob("checkpoints/evaluation/*.json")).unlink()
    assert load_sealed(record)["stage"] == "training"
    answered = call(copy, "run")
    assert answered.code == 4
    assert "model.safetensors does not hold the weights" in answered.error


def _forge(root: Path, path: Path) -> Path:
    """Write size and digest of `path` into the record that vouches for it, and seal the record again."""
    relative = path.relative_to(root).as_posix()
    for record in root.glob("checkpoints/*/*.json"):
        document = load_sealed(record)
        found = [artifact for artifact in document["artifacts"] if artifact["path"] == relative]
        for artifact in found:
            artifact.update(size=path.stat().st_size, xxh3=digest_file(path))
        if found:
            save_sealed(record, document)
            return record
    raise AssertionError(f"no record vouches for {relative}")


@pytest.mark.parametrize("payload", ["torch", "endless header", "long header", "overlapping", "a billion", "polyglot"])
def test_checkpoints_with_forged_metadata_are_set_aside(
    finished: Path, copy: Path, payload: str, call: Command
) -> None:
    """A checkpoint with right digests and wrong tensors is set aside; the older one gives the same end."""
    next(copy.glob("checkpoints/training/*.json")).unlink()
    next(copy.glob("results/*/model.safetensors")).unlink()
    folder = newest_checkpoint(copy)
    (folder / "model.safetensors").write_bytes(_PAYLOADS[payload])
    document = load_sealed(folder / "checkpoint_metadata.json")
    digest = digest_file(folder / "model.safetensors")
    document["files"]["model.safetensors"] = {"size": len(_PAYLOADS[payload]), "xxh3": digest}
    save_sealed(folder / "checkpoint_metadata.json", document)
    answered = call(copy, "run")
    assert answered.code == 0, answered.document
    assert "model.safetensors holds no tensors" in (copy / "logs" / "events.jsonl").read_text()
    assert contents(copy, "results") == contents(finished, "results")


@pytest.mark.parametrize("payload", _PAYLOADS)
def test_readers_of_tensors_refuse_in_bounded_memory(payload: str) -> None:
    """Headers that lie about lengths, offsets, shapes or types are refused by both readers before anything is made."""
    with pytest.raises(IntegrityError, match="here"):
        load_tensors(_PAYLOADS[payload], name="here")
    # In a chunk arrays are views of the file, whatever lies behind or twice in it; the digests of the rows decide.
    if payload not in ("overlapping", "polyglot"):
        with pytest.raises(IntegrityError, match="here"):
            decode_chunk(_PAYLOADS[payload], name="here")
