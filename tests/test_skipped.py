"""Left-out samples: told, counted, limited, remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from stages.chunks.reader import Damage
from stages.training.skipped import SkippedSamples

_ROOT = Path("/space")


def _new(warnings: list[str]) -> SkippedSamples:
    return SkippedSamples(num_samples=100, max_fraction=0.05, root=_ROOT, warn=warnings.append)


def test_damage_is_told_and_remembered() -> None:
    """File, reason and count are said at once and at the end; a resumed run knows the same samples."""
    warnings: list[str] = []
    skipped = _new(warnings)
    skipped.on_damage(Damage(3, _ROOT / "datasets" / "c3", (31, 30), "altered"))
    skipped.on_damage(Damage(1, Path("/elsewhere/c1"), (12,), "missing"))
    assert warnings == ["datasets/c3 (altered): 2 samples left out", "/elsewhere/c1 (missing): 1 samples left out"]
    assert skipped.warnings() == (warnings[1], warnings[0])
    again = _new([])
    again.load_state_dict(json.loads(json.dumps(skipped.state_dict())))
    assert again.sample_ids == [12, 30, 31]
    assert again.files == ["/elsewhere/c1", "datasets/c3"]
    assert again.warnings() == skipped.warnings()


def test_damage_met_again_is_counted_once() -> None:
    """Another process finds the same chunk damaged, or a little more of it."""
    skipped = _new([])
    for ids in ((1, 2), (1, 2), (2, 3)):
        skipped.on_damage(Damage(0, _ROOT / "c0", ids, "altered"))
    assert skipped.sample_ids == [1, 2, 3]


def test_limit_ends_it() -> None:
    """The sixth of a hundred samples is too many for a limit of 5 %."""
    skipped = _new([])
    skipped.on_damage(Damage(0, _ROOT / "c0", (1, 2, 3, 4, 5), "altered"))
    with pytest.raises(IntegrityError, match=r"6 of 100 samples are lost, and 5 may be: c9 \(missing\): 1 samples"):
        skipped.on_damage(Damage(9, _ROOT / "c9", (90,), "missing"))
