"""GPU.md: written from whatever figures there are, with a verdict for each goal, and no place of the machine."""

from __future__ import annotations

from pathlib import Path

import gpu_check
import gpu_check_peers
import pytest
import torch
from gpu_check_goals import goals
from gpu_check_ledger import Figures, Ledger
from gpu_check_report import report
from gpu_check_setting import Setting
from places import without_places

_IDENTITY = {"device": "none", "torch": "0", "tiny": True}
_THROUGHPUT = {
    "bf16_flops": 800e12, "image_flops": 100e9, "batch_size": 64, "images_per_second": [1600.0, 1700.0, 1500.0],
    "waiting_share": 0.01, "first_epoch_seconds": 60.0, "first_epoch_waiting_share": 0.3, "peak_bytes": 2**34,
    "is_compiled": True, "precision": "bf16", "warnings": [],
}  # fmt: skip
_WHOLE = {
    "seconds": 400.0, "killed_after_step": 3125, "seconds_to_targets": 200.0, "peak_bytes": 2**35,
    "figures": {"synthetic": {"ap": 0.9, "ap50": 0.99, "ap75": None, "agnostic_ap50": 0.99}},
    "targets": ["synthetic ap >= 0.85: 0.9"], "are_targets_met": True, "has_real": False, "training_seconds": 350.0,
    "stage_seconds": {"data_generation": 5.0, "training": 200.0}, "steps": 7850, "epochs": 50.0, "samples": 500_000,
}  # fmt: skip


def _invented(name: str) -> Figures:
    """Return figures as the item of this name would, all of them as good as they must be."""
    checks = [{"name": "gather", "value": 0.0, "limit": 0.0, "is_met": True}]
    accuracy = {"samples": 100_000, "training_seconds": 80.0, "ap": 0.8, "ap50": 0.95}
    rates = {key: [1600.0 if key == "ours" else 500.0] for key in ("ours", *gpu_check_peers.PEERS)}
    of_all: dict[str, Figures] = {
        "kernels": {"seed": 7, "checks": checks, "is_met": True},
        "tests": {"passed": 7, "failed": 0, "skipped": 0, "failures": [], "is_met": True},
        "resume": {"kills_after_step": [11, 29], "num_steps": 48, "is_same_samples": True, "is_same_weights": True},
        "throughput": _THROUGHPUT,
        "peers-speed": {
            "images_per_second": rates,
            "times_faster": dict.fromkeys(gpu_check_peers.PEERS, 3.2),
            "is_compiled": True,
        },
        "peers-accuracy": accuracy,
        "whole": _WHOLE,
        "saving": {"bytes": 300e6, **{f"{word}_seconds": [0.1] for word in ("blocked", "lost", "durable")}},
    }
    return next(figures for key, figures in of_all.items() if name.startswith(key))


def test_every_part_of_the_document_can_be_written(tmp_path: Path) -> None:
    """With all figures each goal has a verdict; with any one item missing there is a document still, which names it."""
    setting = Setting(workspace=tmp_path, device=torch.device("cpu"), is_tiny=False, real=None, deadline=0.0)
    items = gpu_check.plan(setting, Ledger(tmp_path / "none", _IDENTITY))
    for missing in ("", *(item.name for item in items)):
        ledger = Ledger(tmp_path / f"without-{missing}", _IDENTITY)
        for item in items:
            if item.name != missing:
                ledger.finish(item.name, _invented(item.name))
        text = report(ledger, items, titles=gpu_check._TITLES)
        assert (f"**Not measured yet:** {missing}." in text) == bool(missing)
        assert "**no**" not in text
        table = text.partition("## Goals")[2].partition("## 1.")[0]
        assert table.count("| yes |") <= 13
        if not missing:
            assert table.count("| yes |") == 13
            assert "images/s in training, at least 1,500 | 1,600 | yes |" in table
            assert "`--real` was not given" in table


_WORSE: dict[str, tuple[str, Figures]] = {
    "agree with float64": ("kernels", {"is_met": False}),
    "tests that need": ("tests", {"is_met": False}),
    "a GPU pass": ("tests", {"passed": 0}),
    "deterministic-eager: same samples, same bits": ("resume-deterministic-eager", {"is_same_weights": False}),
    "free: same samples": ("resume-free", {"is_same_samples": False}),
    "images/s in training": ("throughput-compiled-kept-deterministic-64", {"images_per_second": [1499.0]}),
    "waiting for data": ("throughput-compiled-kept-deterministic-64", {"waiting_share": 0.03}),
    "times the images/s of fcos": ("peers-speed", {"times_faster": dict.fromkeys(gpu_check_peers.PEERS, 2.9)}),
    "at least that of fcos": ("peers-accuracy-fcos_resnet50_fpn", {"ap": 0.81}),
    "50 epochs": ("whole-run", {"training_seconds": 361.0}),
    "targets": ("whole-run", {"are_targets_met": False}),
}


@pytest.mark.parametrize("goal", _WORSE)
def test_a_goal_that_is_missed_is_said_to_be(goal: str) -> None:
    """One figure that is not good enough turns the verdict of its goal, and of none that is about something else."""
    item, worse = _WORSE[goal]
    rows = goals(lambda name: _invented(name) | (worse if name == item else {}))
    missed = [what for what, _, is_met in rows if is_met is False]
    assert any(goal in what for what in missed)
    assert len(missed) == (2 if "times" in goal else 1)


def test_no_place_of_the_machine_is_told() -> None:
    """Paths below the roots become relative, of others only the name stays; what only looks like a path stays."""
    text = "no /a/work/x.log; 5 images/s, see https://e.org/a/b, '/home/me/y.so' (/a/other), ~/z/w and ../v"
    assert without_places(text, roots=(Path("/a/work"),)) == (
        "no x.log; 5 images/s, see https://e.org/a/b, 'y.so' (other), w and ../v"
    )
