"""What bits depend on: threads that can really run, and what changed since a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.training.environment import describe_environment, environment_changes, usable_threads


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)


def _threads(folder: Path, *, own: str, files: dict[str, str]) -> int:
    for name, text in files.items():
        path = folder / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return usable_threads(cgroups=folder / "cgroups", own_cgroup=folder / "own")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", {"cpu.max": "max 100000"}, 16),
        ("0::/\n", {"cpu.max": "250000 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("4:cpu,cpuacct:/box\n", {"cpu,cpuacct/box/cpu.cfs_quota_us": "400000",
                                  "cpu,cpuacct/box/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/gone\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
    ],
)  # fmt: skip
def test_quota_of_any_group_around_the_process_counts(
    tmp_path: Path, own: str, files: dict[str, str], expected: int
) -> None:
    """Versions 1 and 2 of control groups, nested ones, none, and a container's that shows itself as the root."""
    assert _threads(tmp_path, own=own, files=files) == expected


def test_affinity_and_torch_bound_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest of affinity mask, torch's own number (which heeds OMP_NUM_THREADS) and quota is taken."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 4}, raising=False)
    assert _threads(tmp_path, own="0::/", files={}) == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert usable_threads(cgroups=tmp_path / "none", own_cgroup=tmp_path / "none") == 1


def test_changes_are_named_old_and_new() -> None:
    """Each difference is said; what is the same is not."""
    environment = describe_environment(torch.device("cpu"), precision="fp32")
    assert {"torch", "cpu_capability", "num_threads", "world_size", "precision"} <= set(environment)
    assert environment_changes(environment, environment) == []
    assert environment_changes({**environment, "num_threads": 4}, environment) == ["num_threads: 4 -> 32"]
