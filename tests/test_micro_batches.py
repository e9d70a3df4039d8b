"""Out of memory: stopped with a remedy, or taken in parts that change neither batch nor order; no step in part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import RecordingReporter
from resume import Ending, run_interrupted, run_to_the_end
from tiny_task import TinyTask, tiny_config, tiny_stage

from pipeline.errors import ResourceExhausted
from pipeline.events import Kind
from stages.task import Tensors
from stages.training.checkpoints import open_store
from stages.training.data import load_data
from stages.training.micro_batches import MicroBatches
from stages.training.session import open_session

_ACCUMULATE = {"on_oom": "accumulate"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.fsync", lambda _: None)  # only a power loss needs it, and no test here simulates one
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class _FailingBackward(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")


def _fail(patch: pytest.MonkeyPatch, is_too_much: Callable[[list[int]], bool], *, where: str = "forward") -> None:
    """Let the tiny task run out of memory in training on the samples of which `is_too_much` says so."""
    losses = TinyTask.losses

    def scarce(task: TinyTask, model: torch.nn.Module, batch: Tensors) -> dict[str, torch.Tensor]:
        is_failing = is_too_much(batch["sample_id"].tolist())
        terms = losses(task, model, batch)
        if is_failing and where == "forward":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")
        return {**terms, "class": _FailingBackward.apply(terms["class"])} if is_failing else terms

    patch.setattr(TinyTask, "losses", scarce)


def _once(is_too_much: Callable[[list[int]], bool]) -> Callable[[list[int]], bool]:
    struck: list[bool] = []

    def strike(ids: list[int]) -> bool:
        is_struck = not struck and is_too_much(ids)
        struck.extend([True] * is_struck)
        return is_struck

    return strike


def _more_than(count: int) -> Callable[[list[int]], bool]:
    return lambda ids: len(ids) > count


def _without_state(ending: Ending) -> tuple[bytes, dict[int, list[int]]]:
    return ending.weights, ending.samples


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_without_leave_it_stops_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """By default no step is taken otherwise than asked for: exit code 6, both remedies, the last checkpoint stands."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    root = tmp_path / "scarce"
    with monkeypatch.context() as patch:
        _fail(patch, lambda ids: 16 in ids, where=where)
        stage, context = tiny_stage(root, checkpoint_interval_steps=2, sample_log=True)
        with pytest.raises(ResourceExhausted, match="out of memory: CUDA out of memory") as caught:
            stage.execute(context)
    assert "--batch-size" in caught.value.hint
    assert "training.on_oom=accumulate" in caught.value.hint
    assert stage.partial_work(context).endswith("(step 2 of 15)")
    assert run_to_the_end(root, tiny_config()) == expected


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_batches_are_taken_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, precision: str
) -> None:
    """With leave the training ends, on the same batches in the same order, and says from which step on it was so."""
    config = tiny_config(**_ACCUMULATE, precision=precision)
    whole = run_to_the_end(tmp_path / "whole", config)
    _fail(monkeypatch, _more_than(2), where=where)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path / "scarce", config, reporter=reporter, sample_log=True)
    result = stage.execute(context)
    line = "out of memory at step 1; from there on batches are taken in parts of 2"
    assert result.warnings == (line,)
    assert reporter.texts(Kind.WARNING) == [f"{line}: CUDA out of memory. Tried to allocate 2 MiB"]
    assert run_to_the_end(tmp_path / "scarce", config).samples == whole.samples


def test_what_failed_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step begun again ends as if it had been taken in parts at once: generators and running means are back."""
    config = tiny_config(**_ACCUMULATE)
    start = MicroBatches.__init__

    def start_in_parts(self: MicroBatches, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self.load_state_dict({"size": 1, "halvings": []})

    with monkeypatch.context() as patch:
        patch.setattr(MicroBatches, "__init__", start_in_parts)
        expected = run_to_the_end(tmp_path / "parts", config)
    # The whole fails, then the second of two parts: gradients, generators and running means have moved by then.
    calls = itertools.count(1)
    _fail(monkeypatch, lambda _: next(calls) in (1, 3), where="backward")
    found = run_to_the_end(tmp_path / "scarce", config)
    assert _without_state(found) == _without_state(expected)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_interrupted_after_it_ran_out_it_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """The size of the parts is part of the state: interrupted at any step, the run ends as if nothing had happened."""
    config = tiny_config(**_ACCUMULATE, epochs=2)
    at_step_7 = {5, 3, 6, 2}

    def run(root: Path, *, interrupted_at: int = 0) -> Ending:
        with monkeypatch.context() as patch:
            _fail(patch, lambda ids: len(ids) > 2 and len(at_step_7 & set(ids)) > 1)
            if interrupted_at:
                assert run_interrupted(root, config, **{"kill_after" if is_killed else "stop_after": interrupted_at})
            return run_to_the_end(root, config)

    expected = run(tmp_path / "whole")
    for step in range(1, 10):
        assert run(tmp_path / f"at{step}", interrupted_at=step) == expected, f"interrupted after step {step}"


def test_parts_stay_small_when_memory_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is continued where there is more memory goes on in the same parts, to the same bytes."""
    config = tiny_config(**_ACCUMULATE)
    with monkeypatch.context() as patch:
        _fail(patch, _once(_more_than(3)))
        expected = run_to_the_end(tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        _fail(patch, _once(_more_than(3)))
        assert run_interrupted(tmp_path / "cut", config, stop_after=7)
    assert run_to_the_end(tmp_path / "cut", config) == expected


def test_one_sample_that_does_not_fit_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four, two, one, and no further: exit code 6, and the last checkpoint stands."""
    _fail(monkeypatch, lambda ids: 16 in ids)
    reporter = RecordingReporter()
    stage, context = tiny_stage(tmp_path, tiny_config(**_ACCUMULATE), reporter=reporter, checkpoint_interval_steps=1)
    with pytest.raises(ResourceExhausted, match="at step 4 with one sample at a time: CUDA out of memory"):
        stage.execute(context)
    assert [text.split(": ")[0][-1] for text in reporter.texts(Kind.WARNING)] == ["2", "1"]
    assert stage.partial_work(context).endswith("(step 3 of 15)")


@pytest.mark.parametrize("what", ["optimizer", "schedule", "average"])
def test_nothing_is_begun_again_once_the_optimizer_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Out of memory in the step itself is never retried, leave or not: exit code 6, the same end afterwards."""
    config = tiny_config(**_ACCUMULATE)
    expected = run_to_the_end(tmp_path / "whole", config)
    place = {
        "optimizer": "torch.optim.AdamW.step",
        "schedule": "stages.training.schedule.Schedule.step",
        "average": "stages.training.averaging.WeightAverage.after_step",
    }[what]
    num_tries = 0

    def fail(*_: Any, **__: Any) -> None:
        nonlocal num_tries
        num_tries += 1
        raise MemoryError

    assert run_interrupted(tmp_path / "scarce", config, stop_after=6)
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        stage, context = tiny_stage(tmp_path / "scarce", config, checkpoint_interval_steps=1)
        with pytest.raises(ResourceExhausted, match="out of memory: MemoryError"):
            stage.execute(context)
    assert num_tries == 1
    assert stage.partial_work(context).endswith("(step 6 of 15)")
    assert run_to_the_end(tmp_path / "scarce", config) == expected


def test_too_little_memory_to_load_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that does not fit into memory now is not set aside: exit code 6, and it stays what is continued."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    root = tmp_path / "scarce"
    assert run_interrupted(root, tiny_config(), stop_after=6)
    stage, context = tiny_stage(root)
    [*_, newest] = open_store(context).checkpoints()
    for place in (
        "torch.nn.Module.load_state_dict",
        "safetensors.torch.load",
        "stages.training.checkpoints.read_regular",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, _refuse_memory)
            with pytest.raises(ResourceExhausted, match="out of memory"):
                stage.execute(context)
        assert newest.path.is_dir(), place
    assert run_to_the_end(root, tiny_config()).state == expected.state


def _refuse_memory(*_: Any, **__: Any) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 8 bytes")


class _PlainTask(TinyTask):
    """No dropout, no batch norm, no noise: losses that are means over samples."""

    def build_model(self) -> torch.nn.Module:
        """Return a linear model."""
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 2))

    def losses(self, model: torch.nn.Module, batch: Tensors) -> dict[str, torch.Tensor]:
        """Return two terms."""
        logits = model(batch["image"])
        mean = torch.nn.functional.cross_entropy(logits, batch["label"])
        return {"class": mean, "size": logits.square().mean()}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradient_of_the_parts_is_that_of_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Weighted by their share, parts of unequal sizes add up to the loss, the terms and the gradient of the whole."""
    monkeypatch.setattr("tiny_task.TinyTask", _PlainTask)
    config = tiny_config(**_ACCUMULATE)
    _, context = tiny_stage(tmp_path, config)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, config, data=load_data(manifest)) as session:
        micro_batches, parameters = session.micro_batches, session.learner.parameters
        batch = session.feed.next(session.tracker.get_resume_position())
        assert batch is not None
        terms, loss = micro_batches.backward(batch, step=1)
        gradients = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        micro_batches.load_state_dict({"size": size, "halvings": []})
        terms_of_parts, loss_of_parts = micro_batches.backward(batch, step=1)
        assert len(gradients) == len(parameters) == 2
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
        torch.testing.assert_close(terms_of_parts, {name: term.detach() for name, term in terms.items()})
        torch.testing.assert_close(loss_of_parts, loss.detach())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_that_really_runs_out_goes_on_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch itself raises on the device: exit code 6 without leave; with it the training ends."""
    losses = TinyTask.losses
    per_sample = torch.cuda.get_device_properties(0).total_memory // 3  # two need a third, four all

    def hungry(task: TinyTask, model: torch.nn.Module, batch: Tensors) -> dict[str, torch.Tensor]:
        if model.training:
            torch.empty(per_sample * max(0, len(batch["sample_id"]) - 1), dtype=torch.uint8, device="cuda")
        return losses(task, model, batch)

    monkeypatch.setattr(TinyTask, "losses", hungry)
    stage, context = tiny_stage(tmp_path, device="cuda")
    with pytest.raises(ResourceExhausted, match="out of memory"):
        stage.execute(context)
    stage, context = tiny_stage(tmp_path, tiny_config(**_ACCUMULATE), device="cuda")
    result = stage.execute(context)
    assert result.metrics["steps"] == 15
    assert result.warnings == ("out of memory at step 1; from there on batches are taken in parts of 2",)
