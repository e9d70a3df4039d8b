"""The training stage as the orchestrator sees it: what is partial work, how far it is, how it begins again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import RecordingReporter
from resume import KilledError, StepReporter, ending, run_interrupted, run_to_the_end
from tiny_task import tiny_config, tiny_stage
from tracker_contents import of_tensorboard

from pipeline.config import RuntimeOptions
from pipeline.errors import UsageError
from pipeline.events import Event, Kind, Reporter, Reporters
from pipeline.sealed import load_sealed, save_sealed
from pipeline.stage import ReportsProgress, Resumable
from pipeline.trackers.reporter import Trackers
from pipeline.workspace import Workspace
from stages.chunks.manifest import load_manifest, save_manifest
from stages.training.checkpoints import METADATA_NAME, open_store

_KILLED = """
import os, sys
from pathlib import Path
from tiny_task import TinyTask, tiny_config, tiny_stage
num_steps = 0
def count(_):
    global num_steps
    num_steps += 1
    if num_steps == 9:
        os.kill(os.getpid(), 9)
TinyTask.on_losses = count
options = {'checkpoint_interval_steps': 3, 'sample_log': True, 'background_saves': False}
stage, context = tiny_stage(Path(sys.argv[1]), tiny_config(), **options)
stage.execute(context)
"""


def test_stage_keeps_the_protocols(tmp_path: Path) -> None:
    """It is resumable, reports progress, and consumes the chunks of the data stage."""
    stage, context = tiny_stage(tmp_path)
    assert isinstance(stage, Resumable)
    assert isinstance(stage, ReportsProgress)
    assert stage.inputs == {"data_generation": ("train", "validation")}
    assert stage.partial_work(context) == ""
    assert stage.progress_report(context) is None


def test_process_killed_for_real_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """A process that dies of SIGKILL in the middle of a step goes on from its last checkpoint to the same end."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}", "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "killed")], env=environment, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    stage, context = tiny_stage(tmp_path / "killed")
    assert stage.partial_work(context) == "epoch 1, chunk 0, sample 4 (step 6 of 15)"
    assert run_to_the_end(tmp_path / "killed", tiny_config()) == expected


def test_partial_work_reads_only_metadata(tmp_path: Path) -> None:
    """Judging costs no torch and no reading of weights; a checkpoint that lacks a file does not count."""
    run_interrupted(tmp_path, tiny_config(), stop_after=7)
    stage, context = tiny_stage(tmp_path)
    newest = open_store(context).checkpoints()[-1].path
    (newest / "model.safetensors").write_bytes(bytes((newest / "model.safetensors").stat().st_size))
    assert "step 7" in stage.partial_work(context)
    (newest / "model.safetensors").unlink()
    assert "step 5" in stage.partial_work(context)


def test_discarded_work_is_gone_and_training_starts_from_zero(tmp_path: Path) -> None:
    """After it there is no partial work, and the next run takes the first step again."""
    run_interrupted(tmp_path, tiny_config(), stop_after=7)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, reporter=reporter, sample_log=True)
    stage.discard_partial_work(context)
    assert stage.partial_work(context) == ""
    assert not context.state_folder.exists()
    stage.execute(context)
    assert reporter.of(Kind.METRICS)[0]["step"] == 1


def test_progress_has_a_row_for_each_epoch_and_each_chunk_of_the_current_one(tmp_path: Path) -> None:
    """Epochs come first, then chunks in the order of the epoch, with what is trained of each."""
    run_interrupted(tmp_path, tiny_config(), stop_after=8)
    stage, context = tiny_stage(tmp_path)
    report = stage.progress_report(context)
    assert report is not None
    assert report.title == "epoch 1, chunk 2, sample 5 (step 8 of 15)"
    assert [(row.name, row.done, row.total, row.note) for row in report.rows] == [
        ("epoch 0", 18, 18, ""),
        ("epoch 1", 12, 18, ""),
        ("epoch 2", 0, 18, ""),
        ("chunk 0", 7, 7, ""),
        ("chunk 2", 5, 6, "in progress"),
        ("chunk 1", 0, 5, ""),
    ]
    assert report.summary["checkpoint_step"] == 8
    assert report.document["global_step"] == 8


def test_live_position_that_is_damaged_costs_nothing(tmp_path: Path) -> None:
    """The copy for people is not what training continues from."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    run_interrupted(tmp_path / "hurt", tiny_config(), stop_after=8)
    stage, context = tiny_stage(tmp_path / "hurt")
    (context.state_folder / "training_progress.json").write_text("{")
    assert stage.progress_report(context) is None
    assert run_to_the_end(tmp_path / "hurt", tiny_config()) == expected


def test_other_environment_is_told_on_resume(tmp_path: Path) -> None:
    """A checkpoint of another torch, thread count or precision is used, and the difference said; precision is kept."""
    run_interrupted(tmp_path, tiny_config(), stop_after=7)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, reporter=reporter)
    path = open_store(context).checkpoints()[-1].path / METADATA_NAME
    document = load_sealed(path)
    document["environment"] |= {"torch": "1.0", "precision": "bf16"}
    save_sealed(path, document)
    result = stage.execute(context)
    [warning] = [text for text in reporter.texts(Kind.WARNING) if "another environment" in text]
    assert "torch: '1.0' -> " in warning
    assert result.metrics["precision"] == "bf16"


def test_data_without_validation_train_too(tmp_path: Path) -> None:
    """Without a validation split there are no figures and no best, which is said; the rest is as ever."""
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, tiny_config(early_stopping={"patience": 1}), reporter=reporter)
    [path] = context.input_paths("data_generation", "manifest")
    manifest = load_manifest(path)
    save_manifest(path, manifest.model_copy(update={"chunks": manifest.split("train")}))
    result = stage.execute(context)
    assert any("no validation split" in text for text in reporter.texts(Kind.WARNING))
    assert (result.metrics["steps"], result.metrics["best"]) == (15, None)


def test_data_with_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    """A manifest without the training split, and a data stage that left no manifest at all."""
    stage, context = tiny_stage(tmp_path)
    [path] = context.input_paths("data_generation", "manifest")
    manifest = load_manifest(path)
    save_manifest(path, manifest.model_copy(update={"chunks": manifest.split("validation")}))
    with pytest.raises(UsageError, match="has no chunks of the split 'train'"):
        stage.execute(context)
    record = context.inputs["data_generation"].model_copy(update={"artifacts": ()})
    with pytest.raises(UsageError, match="data_generation left 0 manifests; training needs exactly one"):
        stage.execute(replace(context, inputs={"data_generation": record}))


def test_figure_that_the_task_lacks_is_a_usage_error(tmp_path: Path) -> None:
    """The error names the nearest figure, and all that there are."""
    stage, context = tiny_stage(tmp_path, tiny_config(validation={"metric": "scor"}))
    with pytest.raises(UsageError, match="no figure 'scor'; did you mean 'score'") as caught:
        stage.execute(context)
    assert caught.value.hint == "figures: loss, score, undefined"


def test_validation_by_loss_needs_no_predictions(tmp_path: Path) -> None:
    """With metric "loss" the sum of the loss terms on the validation split is the figure, and less of it is better."""
    stage, context = tiny_stage(tmp_path, tiny_config(validation={"metric": "loss", "goal": "min"}))
    metrics = stage.execute(context).metrics
    losses = [entry["figures"]["loss"] for entry in metrics["history"]]
    assert metrics["best"]["figures"]["loss"] == min(losses)


def test_curves_and_sample_log_continue_after_a_kill(tmp_path: Path) -> None:
    """TensorBoard shows each step once, though those after the last checkpoint were taken and written twice."""
    pytest.importorskip("tensorboard")
    killed = StepReporter(kill_after=8)
    with pytest.raises(KilledError), closing(_tracked(tmp_path, killed)) as reporter:
        stage, context = tiny_stage(tmp_path, reporter=reporter, sample_log=True)
        stage.execute(context)
    with closing(_tracked(tmp_path, StepReporter())) as reporter:
        stage, context = tiny_stage(tmp_path, reporter=reporter, sample_log=True)
        result = stage.execute(context)
    curves = of_tensorboard(context.workspace.logs, context.run)[context.run]["curves"]
    assert [step for step, _ in curves["loss"]] == list(range(1, 16))
    assert [step for step, _ in curves["validation_score"]] == [5, 10, 15]
    assert len((context.workspace.logs / "samples.jsonl").read_text().splitlines()) == 8 + 10
    assert ending(tmp_path, context, result).samples.keys() == set(range(1, 16))


def _tracked(root: Path, reporter: Reporter) -> Reporters:
    """Return what passes events on to TensorBoard and then to `reporter`, of a run whose training has just begun."""
    trackers = Trackers(RuntimeOptions(), config={}, workspace=Workspace.at(root), tell=pytest.fail)
    reporters = Reporters(trackers, reporter)
    reporters.emit(Event(Kind.RUN_STARTED, "", {"run": "test-00000000"}))
    reporters.emit(Event(Kind.STAGE_STARTED, "training", {"action": "run"}))
    return reporters
