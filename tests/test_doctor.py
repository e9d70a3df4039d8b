"""What the doctor finds, and what it makes of that."""

from __future__ import annotations

import errno
import re
import tomllib
from functools import partial
from importlib.metadata import PackageNotFoundError
from itertools import count
from pathlib import Path

import pytest
import toy_command_line
from toy_command_line import Call

from pipeline import files
from pipeline.config import RuntimeOptions
from pipeline.disk import Disk
from pipeline.doctor import installation
from pipeline.doctor.finding import Finding, State
from pipeline.doctor.installation import examine_packages, examine_python
from pipeline.doctor.machine import examine_clock, examine_cores, examine_shared_memory
from pipeline.doctor.storage import examine_disk_clock, examine_locking, examine_space, examine_speed
from stages.checkup import examine, examine_gpus, examine_threads
from stages.torch_facts import ask_torch

call = toy_command_line.call

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_a_sound_machine_has_no_problem(call: Call, tmp_path: Path) -> None:
    """Everything is named with its state; nothing is left behind, not even a folder for the workspace."""
    told = call("doctor --workspace new/folder").out
    names = ["python", "packages", "cores", "shared memory", "disk", "write speed", "locking", "clock", "settings"]
    lines = [line for line in told.splitlines() if not line.lstrip().startswith("->")]
    assert [re.split(r" {2,}", line)[0] for line in lines] == names
    document = call("doctor --json").document
    assert [check["name"] for check in document["checks"]] == names
    assert all(check.keys() == {"name", "state", "told", "advice", "figures"} for check in document["checks"])
    assert document["state"] in {"ok", "advice"}
    assert list(tmp_path.iterdir()) == []


def test_what_will_not_work_ends_with_1(call: Call, tmp_path: Path) -> None:
    """Settings that cannot be used, with the way to learn more; all else is looked at nevertheless."""
    (tmp_path / "pipeline.toml").write_text("[numbers]\ncount = 0\n")
    ended = call("doctor", code=1)
    assert re.search(r"^settings +PROBLEM +a setting cannot be used:", ended.out, re.MULTILINE)
    assert "(`pipeline explain E0210`)" in ended.out
    assert ended.err.startswith("error[E0105]: 1 thing will not work: settings\n")
    document = call("doctor --json", code=1).document
    assert (document["state"], document["error"]["code"]) == ("problem", "E0105")
    assert document["checks"][-2]["name"] == "clock"


def test_a_disk_that_cannot_be_written_is_a_problem(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with the folder and the reason."""

    def refuse(_disk: Disk, path: Path) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Disk, "create", refuse)
    ended = call("doctor", code=1)
    assert "2 things will not work: write speed, locking" in ended.err
    assert ended.out.count(": Permission denied") == 2


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10), State.PROBLEM), ((3, 11), State.OK), ((3, 13), State.OK), ((3, 99), State.ADVICE)],
)
def test_python_is_compared_with_what_is_supported(version: tuple[int, int], state: State) -> None:
    """Too old does not work; newer than tested may."""
    assert examine_python(version).state is state


def test_the_supported_range_of_python_is_that_of_the_project() -> None:
    """The bound and the classifiers of pyproject.toml."""
    versions = [
        tuple(map(int, line.rpartition(" ")[2].split(".")))
        for line in _PROJECT["classifiers"]
        if re.search(r":: \d\.\d+$", line)
    ]
    assert (min(versions), max(versions)) == (installation._OLDEST, installation._NEWEST)
    assert _PROJECT["requires-python"] == f">={'.'.join(map(str, min(versions)))}"


@pytest.mark.parametrize(
    ("requirement", "state", "told"),
    [
        ("torch>=2.11", State.OK, "all 1 in the range that is supported"),
        ("torch>=2.15", State.OK, "all 1"),
        ("torch>=2.15.1", State.PROBLEM, "torch is 2.15.0+cu132, and must be >=2.15.1"),
        ("torch>=2.9,<2.15", State.PROBLEM, "torch is 2.15.0+cu132, and must be >=2.9,<2.15"),
        ("torch!=2.15", State.PROBLEM, "must be !=2.15"),
        ("torch~=2.14", State.OK, "all 1"),
        ("torch~=1.14", State.PROBLEM, "must be ~=1.14"),
        ("absent>=1", State.PROBLEM, "absent is missing"),
        ('absent>=1; extra == "tensorboard"', State.OK, "all 0"),
        ('torch<2; extra == "tensorboard"', State.ADVICE, "torch is 2.15.0+cu132, and must be <2"),
        ("torch", State.OK, "all 1"),
        ("torch[opt]>=2", State.OK, "all 1"),
    ],
)
def test_packages_are_compared_with_the_range_that_they_must_be_in(requirement: str, state: State, told: str) -> None:
    """Missing or outside of it, they will not do; what is optional may be missing."""

    def version_of(name: str) -> str:
        if name == "absent":
            raise PackageNotFoundError(name)
        return "2.15.0+cu132"

    found = examine_packages([requirement], version_of=version_of)
    assert found.state is state
    assert told in found.told
    assert bool(found.advice) == (state is not State.OK)


def test_every_requirement_of_the_project_is_understood() -> None:
    """In the form in which pyproject.toml has them."""
    optional = [f'{each}; extra == "x"' for extra in _PROJECT["optional-dependencies"].values() for each in extra]
    assert examine_packages([*_PROJECT["dependencies"], *optional]).state is not State.PROBLEM


@pytest.mark.parametrize(("num_free", "state"), [(10**8, State.PROBLEM), (2 * 10**9, State.ADVICE), (10**10, State.OK)])
def test_free_space_is_judged_by_what_runs_take(tmp_path: Path, num_free: int, state: State) -> None:
    """The document has the number."""
    found = examine_space(tmp_path, num_free=num_free)
    assert (found.state, found.figures["free_bytes"]) == (state, num_free)


@pytest.mark.parametrize(
    ("tick", "state"), [(0.01, State.OK), (0.2, State.ADVICE), (2.0, State.ADVICE)], ids=["quick", "late", "slow"]
)
def test_speed_is_measured_with_what_is_really_written(tmp_path: Path, tick: float, state: State) -> None:
    """64 MiB and a few small writes, each made durable; the file is gone afterwards."""
    ticks = count(0.0, tick)
    found = examine_speed(tmp_path, clock=lambda: next(ticks))
    assert found.state is state
    assert found.figures["bytes_per_second"] == pytest.approx((64 << 20) / tick)
    assert found.figures["sync_seconds"] == pytest.approx(tick)
    assert list(tmp_path.iterdir()) == []


def test_speed_counts_until_what_was_written_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An fsync after the large write, and one after each small one."""
    done: list[str] = []

    class _Noting(Disk):
        def write(self, descriptor: int, data: memoryview) -> int:
            done.append("large" if len(data) > 4096 else "small")
            return super().write(descriptor, data)

        def fsync(self, descriptor: int) -> None:  # noqa: ARG002
            done.append("fsync")

    monkeypatch.setattr(files, "disk", _Noting())
    examine_speed(tmp_path)
    assert " ".join(done).replace("large large", "large") == " ".join(["large", "fsync", *["small", "fsync"] * 5])


def test_locks_are_tried(tmp_path: Path) -> None:
    """Kept out, not known, or given twice: the last would let two runs spoil each other's files."""

    def unknown(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert examine_locking(tmp_path).state is State.OK
    assert examine_locking(tmp_path, lock=unknown).state is State.ADVICE
    assert examine_locking(tmp_path, lock=lambda *_: None).state is State.PROBLEM
    assert list(tmp_path.iterdir()) == []


def test_the_clock_of_the_disk_is_compared_with_that_of_the_machine(tmp_path: Path) -> None:
    """Seconds that it is ahead; less than a tick is none."""
    assert examine_disk_clock(tmp_path) == 0.0
    (tmp_path / "now").touch()
    now = (tmp_path / "now").stat().st_mtime
    assert examine_disk_clock(tmp_path, clock=lambda: now - 100) == pytest.approx(100, abs=10)


def _clock(*, wall: float = 1.8e9, passes: float = 1.0, disk_ahead: float = 0.0) -> Finding:
    """Return what is made of a clock that shows `wall`, and on which time passes at a rate."""
    moments = [0.0, 0.2]
    walls = iter([wall + moment * passes for moment in moments])
    return examine_clock(
        disk_ahead=disk_ahead,
        wall=lambda: next(walls),
        monotonic=iter(moments).__next__,
        sleep=lambda _: None,
        not_before=1.7e9,
    )


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (_clock(wall=0.0), "is before this program was made"),
        (_clock(passes=1.5), "runs +50% off"),
        (_clock(passes=-100.0), "off the time that passes"),
        (_clock(disk_ahead=-7.0), "the clock of the disk is -7 seconds off"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_clock_that_is_wrong_is_told(found: Finding, told: str) -> None:
    """It stops nothing, as nothing is decided by a clock."""
    assert told in found.told
    assert (found.state, bool(found.advice)) == (State.ADVICE, True)


def test_a_clock_that_is_right_is_told_with_its_zone() -> None:
    """Nothing is advised."""
    found = _clock()
    assert (found.state, found.advice) == (State.OK, "")
    assert re.search(r"\(\S+, UTC[+-]\d{4}\)$", found.told)


def test_cores_and_shared_memory_are_told() -> None:
    """A share of the cores is no fault; 64 MiB of shared memory is what a container has that nobody asked for more."""
    assert examine_cores(num_cores=2, num_machine=2).told == "2 usable"
    assert examine_cores(num_cores=2, num_machine=64).told.startswith("2 usable of 64: ")
    assert examine_shared_memory(num_bytes=1 << 30).state is State.OK
    small = examine_shared_memory(num_bytes=64 << 20)
    assert (small.state, "--shm-size" in small.advice) == (State.ADVICE, True)
    assert examine_shared_memory(Path("/absent")).state is State.ADVICE


@pytest.mark.parametrize(("num_threads", "advice"), [(2, ""), (8, "OMP_NUM_THREADS=2"), (1, "OMP_NUM_THREADS=2")])
def test_threads_of_torch_are_compared_with_the_cores(num_threads: int, advice: str) -> None:
    """More wait for each other, fewer leave cores at rest."""
    found = examine_threads("2.15.0", num_threads=num_threads, num_cores=2)
    assert advice in found.advice
    assert bool(found.advice) == bool(advice)


@pytest.mark.parametrize(
    ("gpus", "device", "built_for", "has_driver", "state", "told"),
    [
        ([("H200", 10**11)], "auto", "13.0", True, State.OK, "H200 with 100.0 GB"),
        ([("H200", 10**11)], "cpu", "13.0", True, State.ADVICE, "H200"),
        ([], "auto", "13.0", False, State.ADVICE, "none: no driver of a GPU is loaded"),
        ([], "cuda", "13.0", False, State.PROBLEM, "none: no driver of a GPU is loaded"),
        ([], "auto", "", True, State.ADVICE, "none: this torch was built for the CPU"),
        ([], "auto", "13.0", True, State.ADVICE, "built for CUDA 13.0, finds no device"),
    ],
)
def test_a_gpu_that_is_not_there_is_told_with_the_reason(
    gpus: list[tuple[str, int]], device: str, built_for: str, has_driver: bool, state: State, told: str
) -> None:
    """A problem only where the settings ask for one."""
    found = examine_gpus(gpus, device=device, built_for=built_for, has_driver=has_driver)
    assert found.state is state
    assert told in found.told
    assert bool(found.advice) == (state is not State.OK)


def test_hidden_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable that hides them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = examine_gpus([], device="auto", built_for="13.0", has_driver=True)
    assert found.told == "none: CUDA_VISIBLE_DEVICES hides all of them"


def test_the_built_in_stages_have_torch_and_its_devices_examined() -> None:
    """As they are here."""
    assert [each.name for each in examine(RuntimeOptions())] == ["torch", "gpu"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import os; os.abort()", "importing it killed the process (SIGABRT)"),
        ("import sys; sys.exit('no such processor')", "ended the process with exit code 1: no such processor"),
        ("import time; time.sleep(3600)", "importing it has not come back within 5 s"),
        ("raise ImportError('libc10.so is missing')", "it cannot be imported: libc10.so is missing"),
        ("raise OSError('libc10.so: too short')", "it cannot be imported: libc10.so: too short"),
    ],
    ids=["abort", "exit", "hang", "missing", "broken"],
)
def test_a_torch_that_cannot_be_imported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    """Also one that kills the process or hangs: the doctor outlives it, and goes on with what else there is."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = examine(RuntimeOptions(), ask=partial(ask_torch, patience=5 if "sleep" in source else 60))
    assert told in found.told
    assert (found.name, found.state) == ("torch", State.PROBLEM)
    assert found.advice


def test_the_doctor_goes_on_where_torch_kills_the_process(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is looked at, and the end is that of any other problem."""
    monkeypatch.delenv("PIPELINE_PIPELINE")
    (tmp_path / "fakes" / "torch").mkdir(parents=True)
    (tmp_path / "fakes" / "torch" / "__init__.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(str(tmp_path / "fakes"))
    ended = call("doctor", code=1)
    assert re.search(r"^torch +PROBLEM +importing it killed the process", ended.out, re.MULTILINE)
    assert "\nclock " in ended.out


def test_what_is_written_is_written_through_the_one_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk fails here as it would in a run."""

    class _Full(Disk):
        def write(self, descriptor: int, data: memoryview) -> int:  # noqa: ARG002
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "disk", _Full())
    with pytest.raises(OSError, match="No space left"):
        examine_speed(tmp_path)
    assert list(tmp_path.iterdir()) == []
