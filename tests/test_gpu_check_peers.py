"""The peers of the GPU check: as exact as they can be in bf16, and continued wherever a call ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu_check_peers
import pytest
import torch
from gpu_check_setting import Setting
from gpu_check_whole import training_seconds
from torchvision.models import detection


def test_all_runs_of_a_training_count(tmp_path: Path) -> None:
    """The time between two of them does not, nor that of a run in which training was already over."""
    events = [
        ("run_started", "", 0), ("stage_started", "training", 10), ("progress", "training", 40),
        ("run_started", "", 100), ("decision", "training", 101), ("stage_started", "training", 102),
        ("metrics", "evaluation", 103), ("stage_finished", "training", 112),
        ("run_started", "", 200), ("decision", "training", 201),
    ]  # fmt: skip
    lines = [
        json.dumps({"kind": kind, "stage": stage, "time": f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00"})
        for kind, stage, second in events
    ]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert training_seconds(tmp_path) == 30 + 10


class _Slice(Setting):
    """A tiny setting whose time is over after so many looks at the clock, and which needs no data."""

    def seconds_left(self) -> float:
        looks: int = self.__dict__.get("looks", 0) + 1
        self.__dict__["looks"] = looks
        return 2.0 - looks

    def manifest(self) -> Path:
        return self.workspace


class _Peer:
    """Trains as `gpu_check_peers._Peer` does, on nothing; a step is of eight images."""

    taken = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        self.step, self.num_images, self.seconds = 0, 0, 0.0

    def steps(self, num_steps: int) -> int:
        _Peer.taken += num_steps
        self.step += num_steps
        self.num_images += 8 * num_steps
        return 8 * num_steps

    def save(self, path: Path) -> None:
        path.write_text(str(self.step))

    def load(self, path: Path) -> None:
        self.step = int(path.read_text())
        self.num_images = 8 * self.step

    def figures(self, _: Path) -> dict[str, float]:
        return {"ap": 0.5, "ap50": 0.6}


def test_a_peer_goes_on_where_the_last_call_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the calls are, no step is taken twice, and in the end there are figures."""
    monkeypatch.setattr(gpu_check_peers, "_Peer", _Peer)
    monkeypatch.setattr(gpu_check_peers, "_STEPS_AT_ONCE", 1)
    monkeypatch.setattr(_Peer, "taken", 0)
    found = None
    for number in range(10):
        setting = _Slice(workspace=tmp_path, device=torch.device("cpu"), is_tiny=True, real=None, deadline=number)
        if (found := gpu_check_peers.accuracy(setting, "fcos_resnet50_fpn")) is not None:
            break
    assert found is not None
    assert (found["samples"], found["ap"], _Peer.taken) == (32, 0.5, 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", gpu_check_peers.PEERS)
def test_boxes_of_the_peers_are_exact_under_autocast(name: str) -> None:
    """A peer that trains in bf16 has the anchors, and gives its losses the boxes, of one that trains in float32."""
    torch.manual_seed(0)
    model = getattr(detection, name)(
        weights=None, weights_backbone=None, num_classes=3, min_size=416, max_size=416, _skip_resize=True
    )
    gpu_check_peers._keep_boxes_exact(model)
    seen: dict[str, Any] = {}
    model.anchor_generator.register_forward_hook(lambda _, __, anchors: seen.update(anchors=anchors))
    model.head.register_forward_hook(lambda _, __, outputs: seen.update(outputs))
    model.train()
    images = [torch.rand(3, 416, 416)]
    targets = [{"boxes": torch.tensor([[10.0, 10, 200, 200]]), "labels": torch.tensor([1])}]
    model(images, targets)
    expected = seen["anchors"][0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model(images, targets)
    assert seen["anchors"][0].dtype == torch.float32
    assert torch.equal(seen["anchors"][0], expected)
    assert {value.dtype for key, value in seen.items() if key != "anchors"} == {torch.float32}
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
