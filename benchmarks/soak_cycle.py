"""One cycle of the soak: a fresh workspace, a run that is killed several times, left to end, and compared."""

from __future__ import annotations

import importlib
import math
import os
import pkgutil
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soak_trace import Phase, Trace, came_out, left_behind, most_steps_lost, num_checkpoints, wrong_samples

# The quick profile with all that it does, two mini-epochs an epoch instead of three, saves also in the middle of a
# mini-epoch and of a chunk, and a threshold so low that the little it learns makes detections, which could differ.
SAVE_EVERY_STEPS = 4  # of five in a mini-epoch: one after the other, each place in it is saved
# A kill finds the newest save still being written at times, and the next waits until it is durable.
_MOST_STEPS_LOST = 2 * SAVE_EVERY_STEPS
SETTINGS = (
    "data_generation.dataset_size=160",
    f"runtime.checkpoint_interval_steps={SAVE_EVERY_STEPS}",
    "training.task.score_threshold=0.001",
)
KEPT_CHECKPOINTS = 3 + 1  # runtime.keep_checkpoints, and the best

_NUM_KILLS = (4, 20)  # in a cycle, whose work without any kill costs as much as eight
_FRESH = 1 / 20  # of the starts are new interpreters, the others forks of this process
_HUNG_SECONDS = 300.0  # a whole run takes 10
_LEAVING_SECONDS = 5.0  # for what a run that has ended had started
_POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Aim:
    """How often a phase is aimed at, at which of its beginnings at the latest, and how long after that at most."""

    weight: int
    times: int
    seconds: float


# The seconds are how long a phase lasts on two cores, or a little more.
_AIMS: dict[Phase | None, Aim] = {
    None: Aim(18, 1, 2.0),  # any time after the start
    Phase.START_UP: Aim(4, 1, 0.1),
    Phase.DATA: Aim(10, 1, 0.12),
    Phase.LOADING: Aim(6, 1, 0.5),
    Phase.STEP: Aim(16, 1, 0.7),
    Phase.VALIDATION: Aim(14, 1, 0.12),
    Phase.BOUNDARY: Aim(12, 2, 0.02),
    Phase.SAVE: Aim(20, 2, 0.4),
    Phase.ROTATION: Aim(4, 1, 0.02),
    Phase.DELIVERY: Aim(6, 1, 0.2),
    Phase.EVALUATION: Aim(6, 1, 0.6),
}
_IMPORT_SECONDS = 3.0  # of torch, in a new interpreter
_PLACE = {phase: place for place, phase in enumerate(Phase)}
# Training goes back to each of these; old checkpoints are there to remove only after a while.
_IN_TURNS = {Phase.LOADING, Phase.STEP, Phase.VALIDATION, Phase.BOUNDARY, Phase.SAVE, Phase.ROTATION}


@dataclass(frozen=True)
class Moment:
    """Some time after `phase` began for the `times`-th time since the process started; None: since it started.

    Attributes:
        part: of the longest wait for this phase, from 0 to 1.
    """

    phase: Phase | None
    times: int
    part: float

    def is_past(self, phase: Phase) -> bool:
        """Whether it comes no more in a process that has come to `phase`."""
        if self.phase is None or phase is Phase.BETWEEN or {self.phase, phase} <= _IN_TURNS:
            return False
        return _PLACE[phase] > _PLACE[self.phase]

    def seconds(self, *, is_fresh: bool) -> float:
        """Return how long to wait once the phase has begun."""
        is_early = self.phase in {None, Phase.START_UP}
        return self.part * (_AIMS[self.phase].seconds + (_IMPORT_SECONDS if is_fresh and is_early else 0.0))


class Ambush:
    """Tells when a process is to be killed: at the first of `waiting` still to come; takes it out, and those past."""

    def __init__(self, waiting: deque[Moment], trace: Trace, *, is_fresh: bool) -> None:
        self._waiting = waiting
        self._trace = trace
        self._is_fresh = is_fresh
        self._begun: Counter[Phase] = Counter()
        self._last: Phase | None = None
        self._kill_at = math.inf

    def is_now(self) -> bool:
        """Whether the moment has come; ask every few milliseconds."""
        if self._kill_at == math.inf:
            self._look()
        return time.monotonic() >= self._kill_at

    def _look(self) -> None:
        phase = self._trace.phase()
        self._begun[phase] += phase is not self._last
        self._last = phase
        while self._waiting and self._waiting[0].is_past(phase):
            self._waiting.popleft()
        if self._waiting and self._is_begun():
            self._kill_at = time.monotonic() + self._waiting.popleft().seconds(is_fresh=self._is_fresh)

    def _is_begun(self) -> bool:
        moment = self._waiting[0]
        return moment.phase is None or self._begun[moment.phase] >= moment.times


@dataclass(frozen=True)
class Kill:
    """A SIGKILL that found the process alive."""

    phase: Phase
    is_fresh: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a cycle; without problems its end is bit-identical."""

    cycle: int
    kills: tuple[Kill, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """What the run that was never killed came to."""

    settings: tuple[str, ...]
    boundaries: frozenset[int]
    end: dict[str, str]


class CycleFailed(Exception):
    """A run ended otherwise than it should."""


def import_stages() -> None:
    """Import all that a run imports, so that forks of this process need not; no thread is started by that."""
    for name in ("pipeline", "stages"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in ("torch.utils.tensorboard", "faster_coco_eval"):
        importlib.import_module(name)


def moments(random_: random.Random, *, num_kills: int) -> deque[Moment]:
    """Draw when the processes of a cycle are killed, in an order in which each phase can still come."""
    drawn: list[tuple[float, Moment]] = []
    for phase in random_.choices(list(_AIMS), weights=[aim.weight for aim in _AIMS.values()], k=num_kills):
        moment = Moment(phase, random_.randint(1, _AIMS[phase].times), random_.random())
        # Start-up comes again and again, and any time is any time.
        if phase is None or phase is Phase.START_UP:
            place = random_.uniform(0, len(Phase))
        else:
            place = _PLACE[Phase.LOADING if phase in _IN_TURNS - {Phase.ROTATION} else phase]
        drawn.append((place, moment))
    return deque(moment for _, moment in sorted(drawn, key=lambda item: item[0]))


def run_cycle(cycle: int, *, seed: int, workspace: Path, expected: Expected) -> Outcome:
    """Kill a run several times, let it end, and compare; the workspace is removed unless something is wrong."""
    random_ = random.Random(f"{seed}-{cycle}")  # noqa: S311 - a seed, not a secret
    waiting = moments(random_, num_kills=random_.randint(*_NUM_KILLS))
    kills: list[Kill] = []
    try:
        while waiting:
            kill = _start_and_kill(workspace, waiting, expected, is_fresh=random_.random() < _FRESH)
            if kill is None:  # it came to its end before that
                break
            kills.append(kill)
        finish(workspace, expected.settings)
        problems = judge(workspace, expected)
    except (CycleFailed, ValueError, KeyError, OSError) as error:  # a file that cannot be read is a finding, too
        problems = [f"{type(error).__name__}: {error}"]
    if not problems:
        remove(workspace)
    return Outcome(cycle, tuple(kills), tuple(problems))


def finish(workspace: Path, settings: Sequence[str], *, is_fresh: bool = False) -> None:
    """Run to the end; raises CycleFailed unless that ends well and leaves no process."""
    _check_end(workspace, *_wait(_start(workspace, settings, is_fresh=is_fresh)))


def judge(workspace: Path, expected: Expected) -> list[str]:
    """Return what is wrong with an ended run, after another one that has nothing to do."""
    end, times = came_out(workspace), _times(workspace)
    names = sorted({*end, *expected.end})
    problems = [f"differs: {name}" for name in names if end.get(name) != expected.end.get(name)]
    problems += wrong_samples(workspace)
    if (lost := most_steps_lost(workspace)) > _MOST_STEPS_LOST:
        problems.append(f"a kill has cost {lost} steps")
    finish(workspace, expected.settings)
    problems += [f"the next run changed {name}" for name, _ in sorted(times ^ _times(workspace))]
    problems += [f"left behind: {name}" for name in left_behind(workspace)]
    if (kept := num_checkpoints(workspace)) > KEPT_CHECKPOINTS:
        problems.append(f"{kept} checkpoints are kept")
    return problems


def remove(workspace: Path) -> None:
    """Remove a workspace with the output of its runs."""
    shutil.rmtree(workspace)
    _output(workspace).unlink()


def _start_and_kill(workspace: Path, waiting: deque[Moment], expected: Expected, *, is_fresh: bool) -> Kill | None:
    """Start the run and kill its whole process group at the next moment; None if it ended before that."""
    trace = Trace(workspace, boundaries=expected.boundaries)
    process = _start(workspace, expected.settings, is_fresh=is_fresh)
    _, status = _wait(process, is_time=Ambush(waiting, trace, is_fresh=is_fresh).is_now)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Kill(trace.phase(), is_fresh)
    _check_end(workspace, process, status)
    return None


def _start(workspace: Path, settings: Sequence[str], *, is_fresh: bool) -> int:
    """Start a run in a process group of its own and return its id."""
    arguments = ["run", "--profile", "quick", "--workspace", str(workspace), "--set", "runtime.sample_log=true"]
    for setting in settings:
        arguments += ["--set", setting]
    output = os.open(_output(workspace), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if is_fresh:
            command = [sys.executable, "-m", "pipeline", *arguments]
            redirected = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
            return os.posix_spawn(sys.executable, command, os.environ, file_actions=redirected, setpgroup=0)
        process = os.fork()
        if not process:
            _be_run(arguments, output=output)
        os.setpgid(process, process)  # here as well as there: whichever comes first
        return process
    finally:
        os.close(output)


def _be_run(arguments: Sequence[str], *, output: int) -> None:
    """Be, as a fork, what `python -m pipeline` is; does not return."""
    code = 101
    try:
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        from pipeline.cli import main

        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(process: int, *, is_time: Callable[[], bool] = lambda: False) -> tuple[int, int]:
    """Wait until a run ends, or kill its group when it `is_time`; return its id and wait status."""
    hung_at = time.monotonic() + _HUNG_SECONDS
    try:
        while not (ended := os.waitpid(process, os.WNOHANG))[0]:
            if time.monotonic() > hung_at:
                raise CycleFailed(f"a run still works after {_HUNG_SECONDS:.0f} s")
            if is_time():
                os.killpg(process, signal.SIGKILL)
                return os.waitpid(process, 0)
            time.sleep(_POLL_SECONDS)
    except BaseException:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise
    return ended


def _check_end(workspace: Path, process: int, status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code:
        tail = " / ".join(_output(workspace).read_text().splitlines()[-3:])
        raise CycleFailed(f"a run ended with {code}: {tail}")
    # Python's resource tracker leaves when it reads the end of a pipe that the run has held: a moment later.
    gone_at = time.monotonic() + _LEAVING_SECONDS
    while time.monotonic() < gone_at:
        try:
            os.killpg(process, 0)
        except ProcessLookupError:
            return
        time.sleep(_POLL_SECONDS)
    os.killpg(process, signal.SIGKILL)
    raise CycleFailed("a run left processes behind")


def _times(workspace: Path) -> set[tuple[str, int]]:
    """Return (name, time of change) of every record, chunk, checkpoint and result."""
    made = [*workspace.rglob("*.json"), *workspace.rglob("*.safetensors")]
    return {(str(path.relative_to(workspace)), path.stat().st_mtime_ns) for path in made}


def _output(workspace: Path) -> Path:
    return workspace.with_suffix(".log")
