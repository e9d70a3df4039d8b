"""The evaluation stage leaves figures, predictions and a results document that can be checked against each other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_detector import bar_image, make_upstream
from fakes import RecordingReporter, make_context
from PIL import Image
from safetensors.torch import save_file

from pipeline.config import RuntimeOptions
from pipeline.errors import IntegrityError, Interrupted, StageFailed, UsageError
from pipeline.events import Event, Kind
from pipeline.fingerprint import digest_file
from pipeline.interrupts import StopFlag
from pipeline.records import StageRecord
from pipeline.sealed import load_sealed
from pipeline.stage import ReadsFiles, StageContext, StageResult
from stages.coco import coco_figures, coco_set, detections_of
from stages.evaluation.config import EvaluationConfig, RealData, TargetConfig
from stages.evaluation.stage import EvaluationStage

CPU = RuntimeOptions(device="cpu")


def evaluate(
    root: Path, *, config: EvaluationConfig | None = None, shift: float = 0.0, **given: Any
) -> tuple[StageContext, StageResult]:
    """Run the stage on bars and the fake detector in the workspace `root`."""
    stage = EvaluationStage(config or EvaluationConfig(batch_size=4))
    inputs: Mapping[str, StageRecord] = given.pop("inputs", None) or make_upstream(root, shift=shift)
    context = make_context(stage, root, inputs=inputs, runtime=CPU, **given)
    return context, stage.execute(context)


def make_real(root: Path, *, classes: tuple[str, str] = ("lying", "standing"), num_images: int = 3) -> RealData:
    """Write a COCO folder of 64 x 64 images with a lying bar each, annotated as of the first class."""
    (root / "images").mkdir(parents=True)
    for number in range(num_images):
        Image.fromarray(bar_image((4, 8, 32, 16), side=64)).save(root / "images" / f"{number}.png")
    document = {
        "images": [{"id": n, "width": 64, "height": 64, "file_name": f"{n}.png"} for n in range(num_images)],
        "categories": [{"id": 5 + place, "name": name} for place, name in enumerate(classes)],
        "annotations": [{"image_id": n, "category_id": 5, "bbox": [4, 8, 32, 16]} for n in range(num_images)],
    }
    (root / "annotations.json").write_text(json.dumps(document))
    return RealData(name="own", path=root)


def outputs_of(result: StageResult, kind: str) -> list[Path]:
    """Return the files of one kind."""
    return [output.path for output in result.outputs if output.kind == kind]


def test_perfect_detector_meets_all_targets(tmp_path: Path) -> None:
    """A detector that finds every box exactly has AP 1 on held-out scenes and on real images of another size."""
    config = EvaluationConfig(batch_size=4, real_data=(make_real(tmp_path / "real"),))
    _, result = evaluate(tmp_path, config=config)
    assert [target.data_set for target in result.targets] == ["synthetic", "synthetic", "own"]
    assert [target.value for target in result.targets] == pytest.approx([1.0] * 3)
    assert all(target.is_met for target in result.targets)
    synthetic = result.metrics["synthetic"]
    assert (synthetic["num_images"], synthetic["num_objects"], synthetic["num_detections"]) == (10, 10, 10)
    assert synthetic["ap_large"] is None
    assert sorted(synthetic["per_class"]) == ["Lying", "standing"]
    assert result.metrics["own"]["per_class"]["Lying"]["ap"] == pytest.approx(1.0)


def test_weights_of_training_are_the_ones_that_are_measured(tmp_path: Path) -> None:
    """Boxes two pixels off, as the weights say, cost AP at high overlaps and miss the target."""
    _, result = evaluate(tmp_path, shift=2.0)
    metrics = result.metrics["synthetic"]
    # Standing bars are 5 wide: 3 of 7 columns shared is IoU 0.43. Lying ones, 12 wide: 10 of 14, IoU 0.71.
    assert metrics["per_class"]["standing"]["ap50"] == 0
    assert metrics["per_class"]["Lying"] == {
        "ap": pytest.approx(0.5),
        "ap50": pytest.approx(1.0),
        "ap75": pytest.approx(0.0),
    }
    assert [target.is_met for target in result.targets] == [False, False]


def test_figures_can_be_computed_again_from_the_documents(tmp_path: Path) -> None:
    """Predictions and annotations of each data set, read as any COCO tool reads them, give the recorded figures."""
    config = EvaluationConfig(batch_size=4, real_data=(make_real(tmp_path / "real"),))
    context, result = evaluate(tmp_path, config=config, shift=1.3)
    for data_set, suffix in (("synthetic", ""), ("own", "_own")):
        document = json.loads((context.results_folder / f"annotations{suffix}.json").read_text())
        rows = json.loads((context.results_folder / f"predictions{suffix}.json").read_text())
        assert all(row["bbox"] == [round(number, 2) for number in row["bbox"]] for row in rows)
        truth = coco_set(document, source="annotations")
        found = detections_of(
            [row["image_id"] for row in rows],
            [[row["bbox"]] for row in rows],
            [[row["category_id"] - 1] for row in rows],
            [[row["score"]] for row in rows],
        )
        ids = [image.id for image in truth.images]
        figures = coco_figures(truth.truth, found, image_ids=ids, classes=truth.classes).to_json()
        assert 0 < figures["ap"] < 1
        assert {name: result.metrics[data_set][name] for name in figures} == figures


@pytest.mark.parametrize(
    ("classes", "per_class", "ap"),
    [(("lying", "dog"), ["Lying"], 1.0), (("cat", "STANDING"), ["standing"], None), (("cat", "dog"), [], None)],
)
def test_classes_that_do_not_match_are_measured_as_one(
    tmp_path: Path, classes: tuple[str, str], per_class: list[str], ap: float | None
) -> None:
    """Figures by class cover the classes that both know; the class-agnostic ones cover all."""
    config = EvaluationConfig(real_data=(make_real(tmp_path / "real", classes=classes),))
    _, result = evaluate(tmp_path, config=config)
    metrics = result.metrics["own"]
    assert list(metrics["per_class"]) == per_class
    assert metrics["ap"] == (ap and pytest.approx(ap))
    assert metrics["agnostic_ap50"] == pytest.approx(1.0)


def test_images_left_out_are_warned_of_and_counted(tmp_path: Path) -> None:
    """One missing of three: measured on two, with a warning that names it."""
    real = make_real(tmp_path / "real")
    (tmp_path / "real" / "images" / "1.png").unlink()
    reporter = RecordingReporter()
    _, result = evaluate(tmp_path, config=EvaluationConfig(real_data=(real,)), reporter=reporter)
    assert result.metrics["own"]["num_images"] == 2
    assert result.metrics["own"]["skipped"] == {"missing": 1}
    assert list(result.warnings) == reporter.texts(Kind.WARNING) == ["own: left out 1 of 3 images (missing): 1.png"]
    assert reporter.of(Kind.PROGRESS)[-1] == {
        "done": 3,
        "total": 3,
        "unit": "images",
        "figures": {"data_set": "own"},
    }


def test_data_set_without_any_usable_image_misses_its_target(tmp_path: Path) -> None:
    """No figure is not a good figure, and no reason to lose the figures of the other data sets."""
    real = make_real(tmp_path / "real")
    for image in (tmp_path / "real" / "images").iterdir():
        image.write_bytes(b"")
    _, result = evaluate(tmp_path, config=EvaluationConfig(real_data=(real,)))
    assert result.metrics["own"]["num_images"] == 0
    assert [target.is_met for target in result.targets] == [True, True, False]


def test_figures_of_each_data_set_are_told_in_a_line(tmp_path: Path) -> None:
    """Whoever watches sees the figures at once; what is undefined is left out."""
    config = EvaluationConfig(real_data=(make_real(tmp_path / "real", classes=("cat", "dog")),))
    reporter = RecordingReporter()
    evaluate(tmp_path, config=config, reporter=reporter)
    assert reporter.texts(Kind.INFO) == [
        "synthetic: ap 1.000, ap50 1.000, agnostic_ap50 1.000 over 10 images",
        "own: agnostic_ap50 1.000 over 3 images",
    ]


def test_results_document_tells_all_about_the_run(tmp_path: Path) -> None:
    """Config, targets, figures, model digest, durations, hashes, memory and environment, under the profile's name."""
    context, result = evaluate(tmp_path)
    (path,) = outputs_of(result, "results")
    document = load_sealed(path)
    weights = context.results_folder / "model.safetensors"
    assert path.parent == tmp_path / "results"
    assert path.name.startswith("test_training_results_20")
    assert document["metrics"] == result.metrics
    assert document["config"] == context.settings
    assert document["model"] == {
        "path": "results/test-00000000/model.safetensors",
        "size": weights.stat().st_size,
        "xxh3": digest_file(weights),
    }
    assert [(row["metric"], row["minimum"], row["is_met"]) for row in document["targets"]] == [
        ("ap", 0.85, True),
        ("ap50", 0.95, True),
    ]
    assert document["stages"]["training"]["config_hash"] == "training-hash"
    assert document["stages"]["data_generation"]["duration_seconds"] == 1.0
    assert document["stages"]["evaluation"]["duration_seconds"] > 0
    assert document["peak_memory_bytes"]["process"] > 10_000_000
    assert document["environment"]["python"]


def test_old_results_are_kept_and_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    """Evaluating again, even within the same second, adds a results document and changes no prediction."""
    upstream = make_upstream(tmp_path)
    context, first = evaluate(tmp_path, inputs=upstream)
    before = (context.results_folder / "predictions.json").read_bytes()
    _, second = evaluate(tmp_path, inputs=upstream)
    assert outputs_of(first, "results") != outputs_of(second, "results")
    assert len(list((tmp_path / "results").glob("*.json"))) == 2
    assert (context.results_folder / "predictions.json").read_bytes() == before
    assert first.metrics == second.metrics


def test_figures_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    """Batches are a matter of memory."""
    upstream = make_upstream(tmp_path, shift=1.0)
    results = [evaluate(tmp_path, inputs=upstream, config=EvaluationConfig(batch_size=size))[1] for size in (1, 3, 64)]
    assert results[0].metrics == results[1].metrics == results[2].metrics


class _StopAtFirstBatch(RecordingReporter):
    """Asks for a stop, as a signal would, when progress is first told."""

    def __init__(self, stop: StopFlag) -> None:
        super().__init__()
        self._stop = stop

    def emit(self, event: Event) -> None:
        """Keep `event` and ask for a stop."""
        super().emit(event)
        if event.kind == Kind.PROGRESS:
            self._stop.set(signal.SIGTERM)


def test_stopped_evaluation_leaves_nothing_and_starts_over(tmp_path: Path) -> None:
    """A stop between batches is obeyed, says where, and the next run gives the whole result."""
    stop = StopFlag()
    upstream = make_upstream(tmp_path)
    with pytest.raises(Interrupted, match="image 4 of 10 of synthetic"):
        evaluate(tmp_path, inputs=upstream, stop=stop, reporter=_StopAtFirstBatch(stop))
    assert not list((tmp_path / "results").rglob("*.json"))
    _, result = evaluate(tmp_path, inputs=upstream)
    assert result.metrics["synthetic"]["num_images"] == 10


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    """Weights of another model are told by name, with the remedy."""
    upstream = make_upstream(tmp_path)
    weights = tmp_path / "results" / "test-00000000" / "model.safetensors"
    save_file({"other": torch.zeros(1)}, weights)
    with pytest.raises(IntegrityError, match=r"model\.safetensors does not hold the weights"):
        evaluate(tmp_path, inputs=upstream)
    weights.write_bytes(weights.read_bytes()[:-2])
    with pytest.raises(IntegrityError, match=r"model\.safetensors does not hold the weights"):
        evaluate(tmp_path, inputs=upstream)


def test_detector_that_predicts_nan_is_refused(tmp_path: Path) -> None:
    """Figures of a broken model would be nonsense: the stage fails and says so."""
    with pytest.raises(StageFailed, match="NaN"):
        evaluate(tmp_path, shift=float("nan"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_figures_on_cuda_are_those_on_the_cpu(tmp_path: Path) -> None:
    """Where it runs does not count, and the results document tells the memory that it took there."""
    stage = EvaluationStage(EvaluationConfig(batch_size=4))
    upstream = make_upstream(tmp_path, shift=1.0)
    results = [
        stage.execute(make_context(stage, tmp_path, inputs=upstream, runtime=RuntimeOptions(device=device)))
        for device in ("cpu", "cuda")
    ]
    assert results[0].metrics == results[1].metrics
    (path,) = outputs_of(results[1], "results")
    assert load_sealed(path)["peak_memory_bytes"]["cuda"] > 0


def test_missing_device_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """Asking for CUDA where there is none is told before any work."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    stage = EvaluationStage(EvaluationConfig())
    context = make_context(stage, tmp_path, inputs=make_upstream(tmp_path), runtime=RuntimeOptions(device="cuda"))
    with pytest.raises(UsageError, match="CUDA"):
        stage.execute(context)


def test_files_of_real_data_count_as_inputs(tmp_path: Path) -> None:
    """Every image and the annotations are inputs, so that a changed one makes the stage run again."""
    stage = EvaluationStage(EvaluationConfig(real_data=(make_real(tmp_path / "real", num_images=2),)))
    assert isinstance(stage, ReadsFiles)
    (files,) = stage.external_files().values()
    assert [file.name for file in files] == ["annotations.json", "0.png", "1.png"]
    assert EvaluationStage(EvaluationConfig()).external_files() == {}


def test_missing_real_data_is_told_before_any_work(tmp_path: Path) -> None:
    """A path that leads nowhere is a mistake in the settings, named with its remedy."""
    stage = EvaluationStage(EvaluationConfig(real_data=(RealData(name="own", path=tmp_path / "nowhere"),)))
    with pytest.raises(UsageError, match="nowhere") as refusal:
        stage.external_files()
    assert "evaluation.real_data" in refusal.value.hint


def test_own_target_replaces_the_default_ones(tmp_path: Path) -> None:
    """Only the targets of the settings are in the table."""
    target = TargetConfig(data_set="synthetic", metric="agnostic_ap75", minimum=0.5)
    _, result = evaluate(tmp_path, config=EvaluationConfig(targets=(target,)))
    assert [row.metric for row in result.targets] == ["agnostic_ap75"]
    assert [row.value for row in result.targets] == pytest.approx([1.0])


def test_judging_the_stage_loads_nothing_heavy() -> None:
    """The stage and its config are imported for every command, so they bring neither torch nor NumPy."""
    code = (
        "import sys; from stages.evaluation.stage import EvaluationStage as S;"
        "from stages.evaluation.config import EvaluationConfig as C; S(C()).external_files();"
        "print({'torch', 'numpy', 'PIL', 'scipy', 'faster_coco_eval'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "set()"
