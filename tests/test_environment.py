"""How many cores a process may really use."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.environment import describe_environment, usable_cores


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)


def _cores(folder: Path, *, own: str, files: dict[str, str]) -> int:
    for name, text in files.items():
        path = folder / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return usable_cores(cgroups=folder / "cgroups", own_cgroup=folder / "own")


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
    assert _cores(tmp_path, own=own, files=files) == expected


def test_affinity_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is bound to two of sixteen cores uses two."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 4}, raising=False)
    assert _cores(tmp_path, own="0::/", files={}) == 2


def test_environment_names_versions() -> None:
    """Records tell Python, host, cores and the versions of the packages that decide bits."""
    environment = describe_environment()
    assert {"python", "host", "num_cores", "packages"} <= set(environment)
    packages = environment["packages"]
    assert isinstance(packages, dict)
    assert {"torch", "numpy", "aggdraw"} <= set(packages)
