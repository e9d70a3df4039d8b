"""Validation: the right figures, and no trace of it in the training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_task import TinyMetrics, TinyTask, tiny_config, tiny_stage

from pipeline.errors import UsageError
from pipeline.interrupts import StopFlag
from stages.chunks.chunk import map_chunk
from stages.training.data import load_data
from stages.training.session import Session, open_session
from stages.training.validation import Validator


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a training that has not begun."""
    _, context = tiny_stage(tmp_path)
    [manifest] = context.input_paths("data_generation", "manifest")
    with open_session(context, tiny_config(), data=load_data(manifest)) as session:
        yield session


def _run(session: Session, *, stop: StopFlag | None = None) -> dict[str, float | None] | None:
    assert isinstance(session.validator, Validator)
    return session.validator.run(session.learner.model, rng=session.rng, stop=stop or StopFlag())


def test_figures_are_those_of_the_whole_split(session: Session, tmp_path: Path) -> None:
    """Over five batches from two chunks the mean is that of all samples at once, every time it is asked for."""
    model = session.learner.model.eval()
    chunks = [map_chunk(tmp_path / "datasets" / "tiny" / f"validation_0000{number}.safetensors") for number in (0, 1)]
    images = torch.cat([torch.tensor(chunk["image"]) for chunk in chunks]).float() / 255
    labels = torch.cat([torch.tensor(chunk["label"]) for chunk in chunks])
    with torch.no_grad():
        expected = float(model(images).softmax(-1).gather(1, labels[:, None]).mean())
    for _ in range(2):
        figures = _run(session)
        assert figures is not None
        assert figures["score"] == pytest.approx(expected, rel=1e-6)
        assert figures["undefined"] is None


def test_training_does_not_notice(session: Session) -> None:
    """Weights, buffers, mode and random generators are as they were; a task may draw while it predicts."""
    before = {name: tensor.clone() for name, tensor in session.learner.model.state_dict().items()}
    generators = torch.get_rng_state()
    _run(session)
    assert all(torch.equal(tensor, before[name]) for name, tensor in session.learner.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators)
    assert session.learner.model.training


def test_a_task_without_figures_has_the_loss_alone(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is near what was asked for, the error names what there is all the same."""
    monkeypatch.setattr(TinyMetrics, "compute", lambda _: {})
    with pytest.raises(UsageError) as caught:
        _run(session)
    assert (caught.value.message, caught.value.hint) == ("the task has no figure 'score'", "figures: loss")


def test_stop_breaks_it_off(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop after a batch it returns nothing, and the model is in training mode again."""
    stop = StopFlag()
    monkeypatch.setattr(TinyTask, "on_predict", lambda: stop.set(15))
    assert _run(session, stop=stop) is None
    assert session.learner.model.training


def test_unknown_metric_is_found_with_a_suggestion(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt metric is a usage error that names the nearest figure."""
    monkeypatch.setattr(session.validator, "_metric", "scores")
    with pytest.raises(UsageError, match="did you mean 'score'") as caught:
        _run(session)
    assert caught.value.hint == "figures: loss, score, undefined"
