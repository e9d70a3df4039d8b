"""Checkpoints of older programs: what is taken over of them, what is refused, and that nothing in them is ever run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import RecordingReporter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resume import run_to_the_end, samples_by_step
from tiny_task import tiny_config, tiny_stage

from pipeline.cli import main
from pipeline.errors import IntegrityError, PipelineError, UsageError
from pipeline.events import Kind
from pipeline.stage import ImportsCheckpoints
from stages.determinism import numerics
from stages.training.checkpoints import open_store
from stages.training.config import TrainingConfig
from stages.training.data import load_data
from stages.training.session import Session, open_session

_NUM_STEPS = 15  # three epochs of five
Document = dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Give what a hand-written training script saves: its state after seven steps on other data than ours."""
    session = _session(tmp_path_factory.mktemp("trained"), tiny_config())
    model, optimizer = session.learner.model, session.learner.optimizer
    for _ in range(7):
        optimizer.zero_grad()
        model(torch.rand(4, 2, 6, 6)).square().mean().backward()
        optimizer.step()
    return {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler": {"last_epoch": 7, "_last_lr": [0.1]},
        "global_step": 7,
        "args": {"lr": 0.1},
        "epoch": 1,
    }


def _session(root: Path, config: TrainingConfig) -> Session:
    _, context = tiny_stage(root, config)
    (manifest,) = context.input_paths("data_generation", "manifest")
    with numerics(is_deterministic=True), open_session(context, config, data=load_data(manifest)) as session:
        return session


def _saved(document: object, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(document, path, **options)
    return path


def _import(root: Path, file: Path, config: TrainingConfig | None = None) -> str:
    stage, context = tiny_stage(root, config)
    assert isinstance(stage, ImportsCheckpoints)
    return stage.import_checkpoint(context, file)


def _state(root: Path) -> dict[str, torch.Tensor]:
    """Return the weights and the optimizer's tensors with which the next step would begin."""
    stage, _ = tiny_stage(root)
    session = _session(root, stage.config)
    state = session.learner.optimizer.state_dict()["state"]
    moments = {f"{key}.{name}": value for key, values in state.items() for name, value in values.items()}
    return {**session.learner.model.state_dict(), **moments}


def _entries(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("step", [0, 1, 4, 5, 7, 14, 15])
def test_training_goes_on_with_the_very_next_sample(trained: Document, step: int, tmp_path: Path) -> None:
    """After an import at any step the samples of all further steps are those of a run that was never interrupted."""
    run_to_the_end(tmp_path / "whole", tiny_config())
    expected = samples_by_step(tmp_path / "whole")
    told = _import(tmp_path / "imported", _saved({**trained, "global_step": step}, tmp_path / "old.pt"))
    assert f"step {step} (its global_step)" in told
    stage, context = tiny_stage(tmp_path / "imported", sample_log=True)
    assert f"(step {step} of {_NUM_STEPS})" in stage.partial_work(context)
    result = stage.execute(context)
    assert result.metrics["steps"] == _NUM_STEPS
    assert result.metrics["samples"] == 54
    log = tmp_path / "imported" / "logs" / "samples.jsonl"
    found = samples_by_step(tmp_path / "imported") if log.exists() else {}
    assert found == {number: ids for number, ids in expected.items() if number > step}


def test_weights_and_moments_are_those_of_the_file(trained: Document, tmp_path: Path) -> None:
    """Every tensor of model and optimizer comes over to the bit; what is not wanted is named."""
    told = _import(tmp_path / "run", _saved(trained, tmp_path / "old.pt"))
    assert "not taken over: args, epoch" in told
    state = _state(tmp_path / "run")
    moments = trained["optimizer_state_dict"]["state"]
    expected = {f"{key}.{name}": value for key, values in moments.items() for name, value in values.items()}
    assert state.keys() == {*trained["model_state_dict"], *expected}
    assert all(torch.equal(state[name], value) for name, value in {**trained["model_state_dict"], **expected}.items())


@pytest.mark.parametrize("key", ["model", "model_state_dict", "state_dict", ""])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_usual_name_of_a_model_is_known(trained: Document, key: str, prefix: str, tmp_path: Path) -> None:
    """The model may lie under the usual keys or be the whole file, with or without the prefix of DDP."""
    model = {f"{prefix}{name}": value for name, value in trained["model_state_dict"].items()}
    told = _import(tmp_path / "run", _saved({key: model} if key else model, tmp_path / "old.pt"))
    assert "no optimizer, which starts anew" in told
    assert "step 0" in told
    state = _state(tmp_path / "run")
    assert all(torch.equal(state[name], value) for name, value in trained["model_state_dict"].items())


def test_missing_optimizer_is_said_again_when_training_goes_on(trained: Document, tmp_path: Path) -> None:
    """An import without the state of the optimizer continues, and the run warns that its result is another one."""
    told = _import(tmp_path / "run", _saved({"model": trained["model_state_dict"], "step": 3.0}, tmp_path / "old.pt"))
    assert "step 3 (its step)" in told
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path / "run", reporter=reporter)
    assert stage.execute(context).metrics["steps"] == _NUM_STEPS
    assert any("only weights" in text for text in reporter.texts(Kind.WARNING))


def test_step_may_come_from_the_scheduler(trained: Document, tmp_path: Path) -> None:
    """Where the file tells no step, that of its scheduler counts, and that is told."""
    document = {key: value for key, value in trained.items() if key != "global_step"}
    assert "step 7 (its scheduler.last_epoch)" in _import(tmp_path / "run", _saved(document, tmp_path / "old.pt"))


def test_sgd_comes_over_too(tmp_path: Path) -> None:
    """The momentum of SGD is taken over as AdamW's moments are."""
    config = tiny_config(optimizer={"name": "sgd"})
    session = _session(tmp_path / "other", config)
    session.learner.model(torch.rand(4, 2, 6, 6)).sum().backward()
    session.learner.optimizer.step()
    document = {"model": session.learner.model.state_dict(), "optimizer": session.learner.optimizer.state_dict()}
    assert "the state of the optimizer" in _import(tmp_path / "run", _saved(document, tmp_path / "old.pt"), config)
    with pytest.raises(IntegrityError, match="its optimizer is not adamw"):
        _import(tmp_path / "adamw", tmp_path / "old.pt")


def _model(trained: Document, **changes: Any) -> Document:
    return {**trained, "model_state_dict": {**trained["model_state_dict"], **changes}}


def _without(trained: Document, name: str) -> Document:
    return {"model": {key: value for key, value in trained["model_state_dict"].items() if key != name}}


_WRONG: dict[str, tuple[Callable[[Document], Any], str]] = {
    "a list": (lambda _: [1, 2], "holds no state by names"),
    "nothing": (lambda _: {}, "holds no model"),
    "no model": (lambda _: {"weights": 3}, "holds no model: it has weights"),
    "shape": (lambda d: _model(d, **{"6.weight": torch.zeros(2, 49)}), r"6.weight has the shape \[2, 49\]"),
    "huge": (lambda d: _model(d, **{"6.weight": torch.zeros(1).expand(10**9)}), r"6.weight has the shape \[1000000000"),
    "missing": (lambda d: _without(d, "6.bias"), "6.bias is missing"),
    "unknown": (lambda d: _model(d, head=torch.zeros(2)), "head is not in this model"),
    "text": (lambda d: _model(d, **{"6.bias": "text"}), "6.bias is missing, or is no plain tensor"),
    "integers": (lambda d: _model(d, **{"6.bias": torch.zeros(2, dtype=torch.int64)}), "of the type torch.int64"),
    "complex": (lambda d: _model(d, **{"6.bias": torch.zeros(2, dtype=torch.complex64)}), "of the type torch.complex"),
    "sparse": (lambda d: _model(d, **{"6.bias": torch.zeros(2).to_sparse()}), "no plain tensor"),
    "meta": (lambda d: _model(d, **{"6.bias": torch.zeros(2, device="meta")}), "no plain tensor"),
    "NaN": (lambda d: _model(d, **{"6.bias": torch.tensor([0.0, torch.nan])}), "6.bias holds NaN"),
    "negative step": (lambda d: {**d, "global_step": -1}, "tells no number of steps: -1"),
    "two steps": (lambda d: {**d, "global_step": torch.zeros(2)}, "tells no number of steps"),
    "groups": (lambda d: {**d, "optimizer_state_dict": {"param_groups": [], "state": {}}}, "other groups"),
    "parameters": (
        lambda d: {**d, "optimizer_state_dict": {"param_groups": [{"params": [0]}], "state": {}}},
        "is not of 8 parameters",
    ),
    "moments": (
        lambda d: {**d, "optimizer_state_dict": {**d["optimizer_state_dict"], "state": {0: {"sum": torch.zeros(1)}}}},
        "its optimizer is not adamw",
    ),
    "moments' shape": (lambda d: {**d, "optimizer_state_dict": _cut_moment(d)}, "exp_avg of parameter 0"),
}  # fmt: skip


def _cut_moment(trained: Document) -> Document:
    state = trained["optimizer_state_dict"]
    return {**state, "state": {**state["state"], 0: {**state["state"][0], "exp_avg": torch.zeros(3)}}}


@pytest.mark.parametrize("case", _WRONG)
def test_what_does_not_fit_is_refused_by_name(trained: Document, case: str, tmp_path: Path) -> None:
    """The error names the file and the first part that does not fit; the workspace is as it was."""
    make, words = _WRONG[case]
    tiny_stage(tmp_path / "run")
    before = _entries(tmp_path / "run")
    with pytest.raises(IntegrityError, match=words) as raised:
        _import(tmp_path / "run", _saved(make(trained), tmp_path / "old.pt"))
    assert str(tmp_path / "old.pt") in raised.value.message
    assert raised.value.hint
    assert _entries(tmp_path / "run") == before


def test_a_step_behind_the_end_is_a_matter_of_settings(trained: Document, tmp_path: Path) -> None:
    """A file from a longer training is refused with the way to make this one longer."""
    with pytest.raises(UsageError, match="is at step 16, and this training ends at step 15") as raised:
        _import(tmp_path / "run", _saved({**trained, "global_step": 16}, tmp_path / "old.pt"))
    assert "--epochs" in raised.value.hint


def _rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], **options: Any) -> Path:
    """Write the zip `source` once more with right checksums, each entry changed by `change`."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", **options) as copy:
        for entry in archive.infolist():
            copy.writestr(entry.filename, change(entry.filename, archive.read(entry)))
    return target


@given(edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pickle_ends_with_our_error_or_with_plain_values(
    trained: Document, edits: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    """However a pickle is mutilated, reading it gives plain values or a PipelineError; nothing else escapes."""
    source = tmp_path / "old.pt"
    if not source.exists():
        _saved(trained, source)

    def mutilate(name: str, data: bytes) -> bytes:
        changed = bytearray(data)
        for place, replacement in edits if name.endswith("data.pkl") else []:
            start = place % len(changed)
            changed[start : start + len(replacement)] = replacement
        return bytes(changed)

    try:
        _import(tmp_path / "run", _rewritten(source, tmp_path / "new.pt", mutilate))
    except PipelineError:
        return
    _, context = tiny_stage(tmp_path / "run")
    open_store(context).discard()


_SMALL = """
profile = "quick"
data_generation = {dataset_size = 6, validation_size = 2, test_size = 2, chunk_size = 3, image_size = 32}
training = {epochs = 1, batch_size = 3}
runtime = {device = "cpu", num_workers = 1, trackers = []}

[profiles.quick.data_generation]
min_extent = 0.25
"""


def _call(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Mapping[str, Any]]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_takes_over_what_run_then_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without data it ends with 2, then it imports, then a second import ends with 2, and `run` goes on from there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text(_SMALL)
    file = tmp_path / "old.pt"
    file.write_bytes(b"PK\x03\x04")
    code, answer = _call("import-checkpoint", str(file), capsys=capsys)
    assert (code, answer["error"]["hint"]) == (
        2,
        "first run it with the same options: pipeline run --until data_generation",
    )
    assert _call("run", "--until", "training", capsys=capsys)[0] == 0
    weights = _final_model(tmp_path)
    torch.save({"model": weights, "step": 1}, file)
    code, answer = _call("import-checkpoint", str(file), capsys=capsys)
    assert code == 2
    assert "has already begun" in answer["error"]["message"]
    assert _call("reset", "training", "--yes", capsys=capsys)[0] == 0
    code, answer = _call("import-checkpoint", str(file), capsys=capsys)
    assert code == 0
    assert answer["stage"] == "training"
    code, answer = _call("plan", capsys=capsys)
    assert [(stage["action"], stage["reason"]) for stage in answer["stages"][:2]] == [
        ("skip", "UP_TO_DATE"),
        ("resume", "INTERRUPTED"),
    ]
    assert _call("import-checkpoint", str(file), capsys=capsys)[0] == 2
    code, answer = _call("run", "--until", "training", capsys=capsys)
    assert (code, answer["stages"][1]["action"]) == (0, "resume")


def test_a_pipeline_without_such_a_stage_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's own pipeline need not know imports; the command then ends with 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_PIPELINE", "toy_pipeline:PIPELINE")
    code, answer = _call("import-checkpoint", "old.pt", capsys=capsys)
    assert code == 2
    assert "no stage of this pipeline" in answer["error"]["message"]


def _final_model(root: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next(root.glob("results/*/model.safetensors")))
