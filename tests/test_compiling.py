"""The compiled form of the model: only where it is wanted and can be had, and resumed as exactly as without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import RecordingReporter
from resume import run_interrupted, run_to_the_end
from tiny_task import tiny_config, tiny_stage
from torch import nn

from pipeline.errors import IntegrityError, ResourceExhausted, StageFailed
from pipeline.events import Kind
from stages.training import compiling
from stages.training.checkpoints import open_store
from stages.training.compiling import compiled

_CPU = torch.device("cpu")


class _Capture:
    """Compiles as far as the capture of the graph, which takes a second; the kernels are then those of torch."""

    def __init__(self) -> None:
        self.batch_sizes: set[int] = set()

    def __call__(self, **_: bool) -> Callable[[Any], Any]:
        """Stand for `_compiler`."""
        return lambda target: torch.compile(target, dynamic=False, backend=self._noted)

    def _noted(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.batch_sizes |= {len(tensor) for tensor in inputs if tensor.dim() == 4 and tensor.shape[1:] == (2, 6, 6)}
        return graph.forward


def _none(**_: bool) -> Callable[[Any], Any]:
    def compile_it(_: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nmore of it")

    return compile_it


class _Fragile(_Capture):
    """Compiles what is tried first, and fails for the model itself."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self._problem = problem

    def _noted(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        if any(tensor.dim() == 4 for tensor in inputs):
            raise RuntimeError(self._problem)
        return graph.forward


@pytest.mark.parametrize("wish", ["off", "auto"])
def test_nothing_is_compiled_unasked(wish: compiling.Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting, and on the CPU with `auto`, the compiler is not even tried."""
    monkeypatch.setattr(compiling, "_compiler", _none)
    assert compiled(nn.Linear(1, 1), wish, _CPU, is_deterministic=True, warn=pytest.fail) is None


def test_a_missing_compiler_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes on without, says why once, ends with the same bytes, and remembers that nothing was compiled."""
    expected = run_to_the_end(tmp_path / "plain", tiny_config(epochs=1))
    monkeypatch.setattr(compiling, "_compiler", _none)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path / "wanted", tiny_config(epochs=1, compile="on"), reporter=reporter)
    weights = stage.execute(context).outputs[0].path.read_bytes()
    assert weights == expected.weights
    warnings = [text for text in reporter.texts(Kind.WARNING) if "training.compile" in text]
    assert warnings == [
        "training.compile: nothing can be compiled here, so training goes on without: no C++ compiler found"
    ]
    assert open_store(context).checkpoints()[-1].metadata.environment["compiled"] is False


def test_a_model_that_cannot_be_compiled_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the trial has not shown ends the run as a failed stage that names the setting; want of memory stays that."""
    stage, context = tiny_stage(tmp_path / "bug", tiny_config(epochs=1, compile="on"))
    monkeypatch.setattr(compiling, "_compiler", _Fragile("no lowering for this"))
    with pytest.raises(StageFailed, match=r"cannot be compiled: .*no lowering for this") as caught:
        stage.execute(context)
    assert "--set training.compile=off" in caught.value.hint
    assert caught.value.exit_code == 1
    stage, context = tiny_stage(tmp_path / "memory", tiny_config(epochs=1, compile="on"))
    monkeypatch.setattr(compiling, "_compiler", _Fragile("CUDA out of memory"))
    with pytest.raises(ResourceExhausted, match="out of memory"):
        stage.execute(context)


def test_a_compiled_training_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches take the compiled form, the short ones at the ends of epochs do not; a kill leaves no trace."""
    capture = _Capture()
    monkeypatch.setattr(compiling, "_compiler", capture)
    config = tiny_config(epochs=2, compile="on")
    expected = run_to_the_end(tmp_path / "whole", config)
    assert capture.batch_sizes == {4}
    plain = run_to_the_end(tmp_path / "plain", tiny_config(epochs=2))
    assert expected.weights == plain.weights
    for step in (3, 5, 8):
        root = tmp_path / str(step)
        assert run_interrupted(root, config, kill_after=step, checkpoint_interval_steps=2)
        assert run_to_the_end(root, config, checkpoint_interval_steps=2).weights == expected.weights


def test_what_a_run_began_with_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that began without a compiler goes on without, and one that began with it asks for it again."""
    config = tiny_config(epochs=2, compile="on")
    monkeypatch.setattr(compiling, "_compiler", _none)
    assert run_interrupted(tmp_path / "without", config, stop_after=2)
    wishes: list[str] = []

    def noted(_: nn.Module, wish: compiling.Wish, *__: Any, **___: Any) -> None:
        wishes.append(wish)

    monkeypatch.setattr("stages.training.learner.compiled", noted)
    run_to_the_end(tmp_path / "without", config)
    assert wishes == ["off"]
    monkeypatch.undo()
    monkeypatch.setattr(compiling, "_compiler", _Capture())
    assert run_interrupted(tmp_path / "with", config, stop_after=2)
    monkeypatch.setattr("stages.training.learner.compiled", noted)
    run_to_the_end(tmp_path / "with", config)
    assert wishes == ["off", "on"]


def test_a_compiler_that_is_gone_is_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that began compiled is not continued without a compiler where the environment must be the same."""
    config = tiny_config(epochs=2, compile="on")
    monkeypatch.setattr(compiling, "_compiler", _Capture())
    assert run_interrupted(tmp_path, config, stop_after=2)
    monkeypatch.setattr(compiling, "_compiler", _none)
    with pytest.raises(IntegrityError, match="compiled: True -> False"):
        run_to_the_end(tmp_path, config, strict_env=True)
    run_to_the_end(tmp_path, config)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_on_cuda_resumes_to_the_same_bytes(tmp_path: Path, precision: str) -> None:
    """With `deterministic`, kernels made by the compiler leave no trace of an interruption either."""
    config = tiny_config(epochs=2, precision=precision, compile="on")
    expected = run_to_the_end(tmp_path / "whole", config, device="cuda")
    run_interrupted(tmp_path / "cut", config, stop_after=3, device="cuda")
    run_interrupted(tmp_path / "cut", config, kill_after=7, device="cuda")
    assert run_to_the_end(tmp_path / "cut", config, device="cuda").weights == expected.weights
