"""Inputs that are edited while a stage runs: found whatever size and mtime say, and nothing made of them is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import RecordingReporter
from resume import StepReporter
from test_evaluation_stage import make_real
from tiny_task import TinyTask, tiny_config, write_data

from pipeline import files
from pipeline.config import RuntimeOptions, StageConfig
from pipeline.errors import IntegrityError, StageFailed
from pipeline.events import Event, Kind
from pipeline.interrupts import StopFlag
from pipeline.orchestrator import Orchestrator
from pipeline.stage import Output, StageContext, StageResult
from pipeline.workspace import Workspace
from stages.evaluation.config import EvaluationConfig
from stages.evaluation.stage import EvaluationStage
from stages.training.outcome import deliver
from stages.training.session import Session
from stages.training.stage import TrainingStage


class _Data:
    """Writes the tiny chunks, with a split for each kind of output; a finished one is mended by writing it again."""

    name = "data_generation"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {}
    reruns_on_code_change = False

    def __init__(self) -> None:
        self.config = StageConfig()

    def execute(self, context: StageContext) -> StageResult:
        """Write them."""
        folder = context.workspace.datasets / "tiny"
        manifest = write_data(folder)
        outputs = [Output(path.name.partition("_")[0], path) for path in sorted(folder.glob("*.safetensors"))]
        return StageResult(outputs=[*outputs, Output("manifest", manifest)])


class _ReadsOwnImages:
    """Stands for evaluation: reads the real images that its settings name."""

    name = "evaluation"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {}
    reruns_on_code_change = False

    def __init__(self, config: EvaluationConfig, meddle: Callable[[], None]) -> None:
        self.config = config
        self._meddle = meddle

    def external_files(self) -> Mapping[str, tuple[Path, ...]]:
        """Return those of the real stage."""
        return EvaluationStage(self.config).external_files()

    def execute(self, context: StageContext) -> StageResult:
        """Leave a file, while somebody meddles with the images."""
        self._meddle()
        files.write_bytes(context.results_folder / "figures.json", b"{}")
        return StageResult(outputs=[Output("figures", context.results_folder / "figures.json")])


class _Meddler(StepReporter):
    """Meddles just after a training step, once."""

    def __init__(self, step: int, meddle: Callable[[], None]) -> None:
        super().__init__()
        self._meddle_after = step
        self._meddle = meddle

    def emit(self, event: Event) -> None:
        """Keep `event`, and meddle if it is the one of the step."""
        super().emit(event)
        if event.kind is Kind.METRICS and "loss" in event.data and event.data["step"] == self._meddle_after:
            self._meddle()


def _flip_a_byte(path: Path) -> None:
    """Change a byte in place, and give the file its old mtime back: only its ctime tells."""
    before = path.stat()
    with path.open("r+b") as file:
        content = bytearray(file.read())
        content[-1] ^= 0xFF
        file.seek(0)
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def _orchestrator(root: Path, *stages: Any, reporter: RecordingReporter | None = None) -> Orchestrator:
    return Orchestrator(
        stages,
        workspace=Workspace.at(root),
        profile="test",
        runtime=RuntimeOptions(device="cpu", trackers=(), checkpoint_interval_steps=1),
        reporter=reporter or RecordingReporter(),
        stop=StopFlag(),
    )


def _train(root: Path, reporter: RecordingReporter | None = None) -> bytes:
    """Return the weights that the pipeline of data and training leaves."""
    orchestrator = _orchestrator(root, _Data(), TrainingStage(tiny_config()), reporter=reporter)
    [*_, trained] = orchestrator.run()
    return (root / trained.record.artifacts[0].path).read_bytes()


def _records(root: Path, stage: str) -> list[Path]:
    return list((root / "checkpoints" / stage).glob("*.json"))


def _chunk(root: Path, name: str) -> Path:
    return root / "datasets" / "tiny" / f"{name}.safetensors"


@pytest.mark.parametrize("step", [1, 5, 6, 8, 14])
def test_chunk_edited_under_training_leaves_no_trace(tmp_path: Path, step: int) -> None:
    """Steps that may have read the edit are never saved; mended, the training goes on to the end of a quiet one."""
    expected = _train(tmp_path / "quiet")
    root = tmp_path / "edited"

    def meddle() -> None:
        for number in range(3):
            _flip_a_byte(_chunk(root, f"train_{number:05}"))

    with pytest.raises(IntegrityError, match=r"train_0000\d\.safetensors was altered while it was read"):
        _train(root, _Meddler(step, meddle))
    assert not _records(root, "training")
    assert _train(root) == expected


def test_chunk_edited_at_the_very_end_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last step only the look at all inputs is left: no record is written, and the next run is right."""
    expected = _train(tmp_path / "quiet")
    root = tmp_path / "edited"

    def deliver_meddled(session: Session) -> StageResult:
        _flip_a_byte(_chunk(root, "train_00000"))
        return deliver(session)

    with monkeypatch.context() as patch:
        patch.setattr("stages.training.work.deliver", deliver_meddled)
        with pytest.raises(StageFailed, match=r"inputs of training changed while it ran: .*train_00000"):
            _train(root)
    assert not _records(root, "training")
    assert _train(root) == expected


def test_validation_on_edited_data_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that was measured on other bytes decides about nothing: the run ends, and the next validates again."""
    expected = _train(tmp_path / "quiet")
    root = tmp_path / "edited"
    path = _chunk(root, "validation_00000")
    edits = iter([partial(_flip_a_byte, path)])

    def meddle() -> None:
        for edit in edits:
            edit()

    with monkeypatch.context() as patch:
        patch.setattr(TinyTask, "on_predict", meddle)
        with pytest.raises(IntegrityError, match=r"validation_00000\.safetensors was altered while it was read"):
            _train(root)
    assert _train(root) == expected


def test_real_image_edited_under_evaluation_is_found(tmp_path: Path) -> None:
    """External images are hashed again at the end: the edit of one byte, size and mtime kept, leaves no record."""
    real = make_real(tmp_path / "real")
    image = real.path / "images" / "1.png"
    config = EvaluationConfig(real_data=(real,))
    root = tmp_path / "workspace"
    with pytest.raises(StageFailed, match=r"inputs of evaluation changed while it ran: .*own"):
        _orchestrator(root, _ReadsOwnImages(config, lambda: _flip_a_byte(image))).run()
    assert not _records(root, "evaluation")
    _orchestrator(root, _ReadsOwnImages(config, lambda: None)).run()
    assert len(_records(root, "evaluation")) == 1
