"""Training that begins while its data are being made ends with the same bytes, whichever side is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from forks import Fork, Server, left_by, serving, temporaries
from gated_data import GATES

from pipeline.fingerprint import digest_bytes
from pipeline.sealed import load_sealed, save_sealed
from stages.training.checkpoints import METADATA_NAME
from stages.training.state import VALUES_NAME

_PIPELINE = "gated_pipeline:GATED"
# What training waits for, in this order: a batch is a chunk, and so is a mini-epoch.
_WAITS = {"first": "consolidated_00000", "validation": "validation_00000_2", "later": "consolidated_00001"}
_TOLD = {"first": "train chunk 0", "validation": "validation chunk 0", "later": "train chunk 1"}


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which the chunks that are held back have their gates."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def server(gates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give what carries out command lines as processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GATES, str(gates))
        with serving(tmp_path_factory.mktemp("output") / "output") as server:
            yield server


@pytest.fixture(scope="module")
def expected(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what a run leaves that has waited for its data."""
    workspace = tmp_path_factory.mktemp("sequential")
    assert server.run([*_words(workspace), "--no-incremental"], pipeline=_PIPELINE)[0] == 0
    return _left_by(workspace)


@pytest.fixture
def held(gates: Path) -> Iterator[dict[str, Path]]:
    """Hold all chunks back whose gates are still there when data generation comes to them."""
    found = {name: gates / f"{chunk}.safetensors" for name, chunk in _WAITS.items()}
    for gate in found.values():
        os.mkfifo(gate)
    yield found
    for gate in found.values():
        gate.unlink(missing_ok=True)


def _words(workspace: Path) -> list[str]:
    # With saves in the background a kill may cost a step, and which steps are taken twice is asked here.
    settings = (
        "runtime.sample_log=true",
        "runtime.background_saves=false",
        "training.batch_size=3",
    )
    return ["run", "--workspace", str(workspace), *(word for setting in settings for word in ("--set", setting))]


def _left_by(workspace: Path) -> dict[str, bytes]:
    """Return what must be the same: what the run leaves, and the training state that it ended with."""
    checkpoint = max(workspace.glob("checkpoints/training/*/checkpoint-step*"))
    states = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.name != "checkpoint_metadata.json"}
    return left_by(workspace) | states


def _begin(server: Server, workspace: Path, fifo: Path, *, pause: str) -> Fork:
    os.mkfifo(fifo)
    return server.start(_words(workspace), pause=f"training wait waits for {pause}", fifo=fifo, pipeline=_PIPELINE)


def _pass(gate: Path, word: str = "go") -> None:
    """Open a gate for one who stands before it, and take it away before he looks again."""
    with gate.open("w") as file:
        gate.unlink()
        file.write(word)


def _stopped_half_way(
    server: Server, workspace: Path, held: dict[str, Path], number: signal.Signals = signal.SIGTERM
) -> tuple[int, str]:
    """Stop a run while its training waits for the second chunk; return how it ended, and what it wrote."""
    held["first"].unlink()
    held["validation"].unlink()
    fork = _begin(server, workspace, workspace.parent / "fifo", pause=_TOLD["later"])
    with (workspace.parent / "fifo").open("wb"):  # it stands still
        os.kill(fork.pid, number)
    while ("training", "interrupted") not in [(event["stage"], event["kind"]) for event in _events(workspace)]:
        os.sched_yield()
    _pass(held["later"])
    ended = fork.end()
    assert not fork.orphans()
    return ended


def _events(workspace: Path) -> list[dict[str, Any]]:
    text = (workspace / "logs" / "events.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _stage_process(fork: Fork) -> psutil.Process:
    (found,) = (each for each in fork.processes() if "spawn_main" in " ".join(each.cmdline()))
    return found


def _actions(workspace: Path) -> list[tuple[str, str]]:
    decisions = [event for event in _events(workspace) if event["kind"] == "decision"]
    return [(event["stage"], event["data"]["action"]) for event in decisions]


def _steps(workspace: Path) -> list[int]:
    return [json.loads(line)["global_step"] for line in (workspace / "logs" / "samples.jsonl").read_text().splitlines()]


def test_it_trains_while_chunks_are_missing(
    server: Server, held: dict[str, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Training begins with the first chunk, waits for each that is not there, and ends with the same bytes."""
    fork = server.start(_words(tmp_path / "work"), pipeline=_PIPELINE)
    for gate in held.values():
        _pass(gate)
    code, output = fork.end()
    assert code == 0, output
    assert _left_by(tmp_path / "work") == expected
    assert output.index("training         RUN") < output.index("data_generation: done")


@pytest.mark.parametrize("moment", list(_WAITS))
def test_killed_while_it_waits(
    server: Server, held: dict[str, Path], expected: dict[str, bytes], tmp_path: Path, moment: str
) -> None:
    """A run that is killed while the data are half made goes on from there, on both sides, and takes no one along."""
    workspace = tmp_path / "work"
    fork = _begin(server, workspace, tmp_path / "fifo", pause=_TOLD[moment])
    for name in list(_WAITS)[: list(_WAITS).index(moment)]:
        _pass(held[name])
    with (tmp_path / "fifo").open("wb"):  # it is there, and stands still
        os.kill(fork.pid, signal.SIGKILL)
    assert fork.end()[0] == -signal.SIGKILL
    assert not fork.orphans()
    for gate in held.values():
        gate.unlink(missing_ok=True)
    code, output = server.run(_words(workspace), pipeline=_PIPELINE)
    assert code == 0, output
    assert _left_by(workspace) == expected
    assert not temporaries(workspace)
    if moment == "later":
        assert ("training", "resume") in _actions(workspace)
        assert len(_steps(workspace)) == len(set(_steps(workspace)))


def test_what_began_early_is_shown_and_discarded(
    server: Server, held: dict[str, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Progress that stands on a half-made data set is shown, and discarded with it."""
    workspace = tmp_path / "work"
    assert _stopped_half_way(server, workspace, held)[0] == 75
    options = _words(workspace)[1:]
    code, output = server.run(["progress", "show", *options, "--json"], pipeline=_PIPELINE)
    assert code == 0, output
    assert json.loads(output)["stages"]["training"]["global_step"] == 1
    code, output = server.run(["progress", "reset", "--yes", *options], pipeline=_PIPELINE)
    assert code == 0, output
    assert not list(workspace.rglob("checkpoint-step*"))
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    assert _actions(workspace)[2:4] == [("data_generation", "run"), ("training", "run")]
    assert _left_by(workspace) == expected


def test_its_data_generation_is_killed(
    server: Server, held: dict[str, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Data generation that is killed alone is started again, and training, which has waited, does not notice."""
    workspace = tmp_path / "work"
    held["validation"].unlink()
    fork = _begin(server, workspace, tmp_path / "fifo", pause=_TOLD["later"])
    _pass(held["first"])
    with (tmp_path / "fifo").open("wb"):  # it stands still, so the other side cannot be done
        _stage_process(fork).kill()
    _pass(held["later"])
    code, output = fork.end()
    assert code == 0, output
    assert "died with exit code -9; another one goes on" in " ".join(output.split())  # a long line is wrapped
    assert _left_by(workspace) == expected
    assert _actions(workspace)[:2] == [("data_generation", "run"), ("training", "run")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_stopped_while_it_waits(
    server: Server,
    held: dict[str, Path],
    expected: dict[str, bytes],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    """A signal ends the waiting: both sides keep what they have, and the same command goes on from there."""
    workspace = tmp_path / "work"
    ended, output = _stopped_half_way(server, workspace, held, number)
    assert ended == code, output
    assert list(workspace.glob("checkpoints/training/*/checkpoint-step*"))
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    assert _left_by(workspace) == expected
    assert len(_steps(workspace)) == len(set(_steps(workspace)))


def test_its_data_generation_fails(
    server: Server, held: dict[str, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """When data generation fails, training saves what it has and the error is told once, as that of its stage."""
    workspace = tmp_path / "work"
    held["first"].unlink()
    held["validation"].unlink()
    fork = server.start(_words(workspace), pipeline=_PIPELINE)
    _pass(held["later"], "fail")
    code, output = fork.end()
    assert code == 1, output
    assert "error[T0001]: the gate said so" in output
    failed = [event["stage"] for event in _events(workspace) if event["kind"] == "stage_failed"]
    assert failed == ["data_generation"]
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    assert _left_by(workspace) == expected
    assert len(_steps(workspace)) == len(set(_steps(workspace)))


def test_work_that_may_be_done_already_is_not_begun(server: Server, tmp_path: Path) -> None:
    """A training that was done on data that are made again, or mended, waits for them: they may be the same."""
    workspace = tmp_path / "work"
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    assert server.run([*_words(workspace), "--force-data"], pipeline=_PIPELINE)[0] == 0
    assert _actions(workspace)[3:] == [("data_generation", "run"), ("training", "skip"), ("evaluation", "skip")]
    next(workspace.glob("datasets/*/consolidated_00001.safetensors")).unlink()
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    assert _actions(workspace)[6:] == [("data_generation", "repair"), ("training", "skip"), ("evaluation", "skip")]


def test_finished_work_belongs_to_its_inputs(server: Server, expected: dict[str, bytes], tmp_path: Path) -> None:
    """What has begun on a promise is kept, when it is done, as work on these very chunks, and can be gone back to."""
    workspace = tmp_path / "work"
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    (record,) = workspace.glob("checkpoints/training/*.json")
    (folder,) = (path for path in workspace.glob("checkpoints/training/*") if path.is_dir())
    assert folder.name == record.stem
    for weights in workspace.glob("results/*/model.safetensors"):
        weights.unlink()
    code, output = server.run(_words(workspace), pipeline=_PIPELINE)
    assert code == 0, output
    assert _actions(workspace)[3:] == [("data_generation", "skip"), ("training", "resume"), ("evaluation", "skip")]
    assert "training continues from" in output
    assert _left_by(workspace) == expected


def test_forced_training_notes_its_code_where_it_works(server: Server, held: dict[str, Path], tmp_path: Path) -> None:
    """The note of the code with which work began lies beside the work, also where what was there is discarded first."""
    workspace = tmp_path / "work"
    assert _stopped_half_way(server, workspace, held)[0] == 75
    assert server.run([*_words(workspace), "--dataset-only"], pipeline=_PIPELINE)[0] == 0
    fork = server.start([*_words(workspace), "--force-train"], pause="training metrics", fifo=tmp_path / "fifo",
                        pipeline=_PIPELINE)  # fmt: skip
    with (tmp_path / "fifo").open("wb"):
        os.kill(fork.pid, signal.SIGKILL)
    assert fork.end()[0] == -signal.SIGKILL
    (note,) = workspace.glob("checkpoints/training/*.begun")
    assert note.with_suffix("").is_dir() or not [p for p in note.parent.iterdir() if p.is_dir()]


def test_what_stands_on_other_data_is_not_continued(
    server: Server, held: dict[str, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """A checkpoint of a training whose chunks were then made anew, with other bytes, is set aside, aloud."""
    workspace = tmp_path / "work"
    assert _stopped_half_way(server, workspace, held)[0] == 75
    state = next(workspace.glob("checkpoints/training/*/checkpoint-step*"))
    _train_on_other_chunks(state)
    code, output = server.run(_words(workspace), pipeline=_PIPELINE)
    assert code == 0, output
    assert "it was trained on other chunks" in output
    assert _left_by(workspace) == expected


def _train_on_other_chunks(checkpoint: Path) -> None:
    """Rewrite a checkpoint as if the chunk that it has seen had been another."""
    values = json.loads((checkpoint / VALUES_NAME).read_bytes())
    assert values["parts"]["ground"]["train"]["num_chunks"] == 1
    values["parts"]["ground"]["train"]["xxh3"] = "0" * 32
    data = json.dumps(values).encode()
    (checkpoint / VALUES_NAME).write_bytes(data)
    metadata = load_sealed(checkpoint / METADATA_NAME)
    metadata["files"][VALUES_NAME] = {"size": len(data), "xxh3": digest_bytes(data)}
    save_sealed(checkpoint / METADATA_NAME, metadata)


def test_dataset_only(server: Server, tmp_path: Path) -> None:
    """`--dataset-only` builds the data set and stops; it is then there for the next run."""
    workspace = tmp_path / "work"
    assert server.run([*_words(workspace), "--dataset-only"], pipeline=_PIPELINE)[0] == 0
    assert _actions(workspace) == [("data_generation", "run")]
    assert server.run(_words(workspace), pipeline=_PIPELINE)[0] == 0
    assert _actions(workspace)[1:] == [("data_generation", "skip"), ("training", "run"), ("evaluation", "run")]
    code, output = server.run([*_words(workspace), "--dataset-only", "--until", "training"], pipeline=_PIPELINE)
    assert code == 2
    assert "--dataset-only and --until contradict each other" in output
