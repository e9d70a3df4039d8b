"""The loop over stages, with a pipeline of four toy stages that fork and join."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import files, orchestrator
from pipeline.config import RuntimeOptions, StageConfig
from pipeline.decide import Action, Reason
from pipeline.errors import IntegrityError, Interrupted, StageFailed, UsageError, WorkspaceLocked
from pipeline.events import Event, Kind
from pipeline.fingerprint import digest_file
from pipeline.interrupts import StopFlag
from pipeline.lock import LOCK_NAME
from pipeline.orchestrator import Orchestrator, StageOutcome
from pipeline.records import Artifact
from pipeline.stage import Output, Stage, StageContext, StageResult
from pipeline.workspace import Workspace


class NumbersConfig(StageConfig):
    """How many numbers, from where on."""

    count: int = 3
    start: int = 0


class AddConfig(StageConfig):
    """What is added to each number."""

    amount: int = 1


class SumConfig(StageConfig):
    """Nothing to set."""


class Numbers:
    """Writes one file for each number; can go on with missing ones and mend damaged ones."""

    name = "numbers"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {}
    reruns_on_code_change = False

    def __init__(self, config: NumbersConfig) -> None:
        self.config = config
        self.written: list[int] = []
        self.stops_after = 1000

    def execute(self, context: StageContext) -> StageResult:
        """Write what is missing."""
        for number in range(self.config.count):
            if len(self.written) == self.stops_after:
                context.stop.set(signal.SIGTERM)
            context.stop.check(where=f"number {number}")
            if not self._path(context, number).exists():
                files.write_bytes(self._path(context, number), str(self.config.start + number).encode())
                self.written.append(number)
        outputs = [Output("number", self._path(context, number)) for number in range(self.config.count)]
        return StageResult(outputs=outputs, metrics={"count": self.config.count})

    def partial_work(self, context: StageContext) -> str:
        """Count the files."""
        done = sum(self._path(context, number).exists() for number in range(self.config.count))
        return f"{done} of {self.config.count} numbers" if done else ""

    def discard_partial_work(self, context: StageContext) -> None:
        """Remove the files."""
        files.remove(context.state_folder)

    def can_repair(self, damaged: Sequence[Artifact]) -> bool:
        """Any number can be written again."""
        return bool(damaged)

    def repair(self, context: StageContext, damaged: Sequence[Artifact]) -> StageResult:
        """Write the damaged ones again."""
        for artifact in damaged:
            files.remove(context.workspace.resolve(artifact.path))
        return self.execute(context)

    @staticmethod
    def _path(context: StageContext, number: int) -> Path:
        return context.state_folder / f"{number}.txt"


class Add:
    """Adds an amount to every number of its input; knows nothing of resuming or mending."""

    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {"numbers": ("number",)}
    reruns_on_code_change = False

    def __init__(self, name: str, config: AddConfig) -> None:
        self.name = name
        self.config = config
        self.num_runs = 0

    def execute(self, context: StageContext) -> StageResult:
        """Write the list of results."""
        self.num_runs += 1
        numbers = [int(path.read_text()) + self.config.amount for path in context.input_paths("numbers", "number")]
        path = context.results_folder / f"{self.name}.json"
        files.write_bytes(path, json.dumps(numbers).encode())
        return StageResult(outputs=[Output("list", path)])


class Sum:
    """Joins both branches."""

    name = "sum"
    version = 1
    inputs: Mapping[str, tuple[str, ...]] = {"left": (), "right": ("list",)}
    reruns_on_code_change = True

    def __init__(self, config: SumConfig) -> None:
        self.config = config
        self.num_runs = 0

    def execute(self, context: StageContext) -> StageResult:
        """Write the total."""
        self.num_runs += 1
        lists = [json.loads(context.input_paths(name, "list")[0].read_text()) for name in self.inputs]
        path = context.results_folder / "sum.json"
        files.write_bytes(path, json.dumps(sum(map(sum, lists))).encode())
        return StageResult(outputs=[Output("total", path)])


class _Toy:
    """The pipeline of one test: keeps the stages, so that what they did can be asked."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def configure(
        self, *, count: int = 3, start: int = 0, left: int = 1, right: int = 10, reruns_on_code_change: bool = False
    ) -> Orchestrator:
        self.numbers = Numbers(NumbersConfig(count=count, start=start))
        self.left = Add("left", AddConfig(amount=left))
        self.right = Add("right", AddConfig(amount=right))
        self.sum = Sum(SumConfig())
        stages: list[Stage] = [self.sum, self.left, self.right, self.numbers]
        self.events = []
        return Orchestrator(
            stages,
            workspace=self.workspace,
            profile="toy",
            runtime=RuntimeOptions(),
            reporter=self,
            stop=StopFlag(),
            reruns_on_code_change=reruns_on_code_change,
        )

    def run(self, *, forced: Sequence[str] = (), until: str | None = None, **config: Any) -> dict[str, StageOutcome]:
        outcomes = self.configure(**config).run(forced=forced, until=until)
        return {outcome.decision.stage: outcome for outcome in outcomes}

    def file(self, name: str) -> Path:
        return next(self.workspace.root.rglob(name))


@pytest.fixture
def toy(workspace: Workspace) -> _Toy:
    """Give a toy pipeline in an empty workspace."""
    return _Toy(workspace)


def _did(outcomes: Mapping[str, StageOutcome]) -> dict[str, tuple[Action, Reason]]:
    return {name: (outcome.decision.action, outcome.decision.reason) for name, outcome in outcomes.items()}


_UP_TO_DATE = (Action.SKIP, Reason.UP_TO_DATE)
_ALL_SKIPPED = dict.fromkeys(["numbers", "left", "right", "sum"], _UP_TO_DATE)


def test_everything_runs_once(toy: _Toy) -> None:
    """A first run runs every stage because none ever ran; a second one runs nothing and says why."""
    first = toy.run()
    assert list(_did(first)) in (["numbers", "left", "right", "sum"], ["numbers", "right", "left", "sum"])
    assert set(_did(first).values()) == {(Action.RUN, Reason.NEVER_RAN)}
    assert toy.file("sum.json").read_text() == str((1 + 2 + 3) + (10 + 11 + 12))
    assert _did(toy.run()) == _ALL_SKIPPED
    assert (toy.numbers.written, toy.left.num_runs, toy.sum.num_runs) == ([], 0, 0)


def test_changed_config_is_told_field_by_field(toy: _Toy) -> None:
    """A changed setting runs its stage and what depends on it, and nothing beside it."""
    toy.run()
    did = toy.run(left=2)
    assert did["left"].decision.detail == "amount: 1 -> 2"
    assert _did(did) == {
        "numbers": _UP_TO_DATE,
        "left": (Action.RUN, Reason.CONFIG_CHANGED),
        "right": _UP_TO_DATE,
        "sum": (Action.RUN, Reason.INPUTS_CHANGED),
    }


def test_going_back_to_an_earlier_config_is_a_cache_hit(toy: _Toy) -> None:
    """After A, B, A nothing runs the third time, down to the last stage, and A's files are the ones on disk."""
    toy.run()
    changed = toy.run(start=100)
    assert Action.SKIP not in {action for action, _ in _did(changed).values()}
    assert _did(toy.run()) == _ALL_SKIPPED
    total = toy.run()["sum"].record.artifacts[0]
    assert toy.workspace.resolve(total.path).read_text() == "39"


def test_same_bytes_from_upstream_leave_the_rest_alone(toy: _Toy) -> None:
    """A forced stage that ends with the same bytes does not make the stages behind it run."""
    toy.run()
    assert _did(toy.run(forced=["numbers"])) == _ALL_SKIPPED | {"numbers": (Action.RUN, Reason.FORCED)}
    assert toy.numbers.written == [0, 1, 2]


def test_damaged_artifacts_are_mended_alone(toy: _Toy) -> None:
    """A damaged file of a stage that can mend is made again alone; nothing behind it runs."""
    toy.run()
    toy.file("1.txt").write_text("7")
    did = toy.run()
    assert _did(did) == _ALL_SKIPPED | {"numbers": (Action.REPAIR, Reason.ARTIFACT_DAMAGED)}
    assert "1.txt was altered" in did["numbers"].decision.detail
    assert toy.numbers.written == [1]
    assert toy.file("1.txt").read_text() == "1"


@pytest.mark.parametrize("content", [None, "", "[1, 2, 4]"], ids=["missing", "cut", "altered"])
def test_damage_that_cannot_be_mended_runs_the_stage_again(toy: _Toy, content: str | None) -> None:
    """A missing, cut or altered file of a plain stage makes that stage run, and is never fed to the next."""
    toy.run()
    path = toy.file("left.json")
    path.unlink() if content is None else path.write_text(content)
    did = toy.run()
    assert _did(did) == _ALL_SKIPPED | {"left": (Action.RUN, Reason.ARTIFACT_DAMAGED)}
    words = {None: "is missing", "": "has 0 bytes instead of 9"}.get(content, "its digest does not match")
    assert words in did["left"].decision.detail
    assert path.read_text() == "[1, 2, 3]"


def test_interrupted_stage_goes_on_where_it_was(toy: _Toy) -> None:
    """A stop leaves no record; the next run resumes and does only what is missing."""
    pipeline = toy.configure()
    toy.numbers.stops_after = 2
    with pytest.raises(Interrupted, match="number 2"):
        pipeline.run()
    assert toy.events[-1].kind is Kind.INTERRUPTED
    did = toy.run()
    assert _did(did)["numbers"] == (Action.RESUME, Reason.INTERRUPTED)
    assert "2 of 3 numbers" in did["numbers"].decision.detail
    assert toy.numbers.written == [2]


def test_only_a_forced_run_discards_work(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that cannot be read, e.g. of a newer version, is left to the stage: it is never removed unseen."""
    discarded: list[str] = []
    monkeypatch.setattr(Numbers, "discard_partial_work", lambda _, context: discarded.append(context.stage))
    toy.run()
    toy.run(start=100)
    assert discarded == []
    toy.run(forced=["numbers"])
    assert discarded == ["numbers"]


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 99}'])
def test_unreadable_record_counts_as_none(toy: _Toy, text: str) -> None:
    """A record that does not verify is told and not believed; partial work is used."""
    toy.run()
    next((toy.workspace.checkpoints / "numbers").glob("*.json")).write_text(text)
    next((toy.workspace.checkpoints / "left").glob("*.json")).write_text(text)
    did = _did(toy.run())
    assert did["numbers"] == (Action.RESUME, Reason.RECORD_UNREADABLE)
    assert did["left"] == (Action.RUN, Reason.RECORD_UNREADABLE)
    assert did["sum"] == _UP_TO_DATE


def test_until_leaves_the_rest_alone(toy: _Toy) -> None:
    """`--until left` runs left and what it needs."""
    assert list(toy.run(until="left")) == ["numbers", "left"]


def test_plan_tells_what_run_does_and_touches_nothing(toy: _Toy) -> None:
    """A plan creates no file; behind a stage that would run, the rest is open."""
    plans = {plan.decision.stage: plan.decision for plan in toy.configure().plan()}
    assert plans["numbers"].reason is Reason.NEVER_RAN
    assert plans["sum"].reason is Reason.UPSTREAM_PENDING
    assert plans["sum"].may_become_skip
    assert not toy.workspace.root.exists()
    toy.run()
    before = {path: path.stat().st_mtime_ns for path in toy.workspace.root.rglob("*")}
    assert {plan.decision.action for plan in toy.configure().plan()} == {Action.SKIP}
    assert before == {path: path.stat().st_mtime_ns for path in toy.workspace.root.rglob("*")}


def test_record_goes_before_work_begins(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stage works it has no record: a kill at any moment leaves it not whole."""
    toy.run()
    pipeline = toy.configure()

    def look(context: StageContext) -> StageResult:
        assert not list((context.workspace.checkpoints / "left").glob("*.json"))
        raise StageFailed("on purpose")

    monkeypatch.setattr(toy.left, "execute", look)
    with pytest.raises(StageFailed, match="on purpose"):
        pipeline.run(forced=["left"])
    assert toy.events[-1].kind is Kind.STAGE_FAILED
    assert _did(toy.run())["left"][0] is Action.RUN


def test_any_failure_is_in_the_log_of_events(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that dies of a bug or of memory leaves an event that says so, and no record."""
    pipeline = toy.configure()

    def fail(_context: StageContext) -> StageResult:
        raise MemoryError("no more")

    monkeypatch.setattr(toy.left, "execute", fail)
    with pytest.raises(MemoryError):
        pipeline.run()
    assert toy.events[-1] == Event(Kind.STAGE_FAILED, "left", {"error": "MemoryError: no more"})
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_inputs_edited_while_a_stage_runs_are_found(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage whose inputs changed under it fails and leaves neither a record nor a result."""
    pipeline = toy.configure()
    execute = toy.left.execute

    def meddle(context: StageContext) -> StageResult:
        result = execute(context)
        toy.file("0.txt").write_text("5")
        return result

    monkeypatch.setattr(toy.left, "execute", meddle)
    with pytest.raises(StageFailed, match=r"inputs of left changed while it ran: .*0\.txt"):
        pipeline.run()
    assert not list(toy.workspace.results.rglob("left*"))
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_mended_stage_still_tells_of_changed_code(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair by edited code warns, and so does every run after it: the rest was made by the earlier code."""
    digests = {"toys": "first"}
    monkeypatch.setattr(orchestrator, "code_digests", lambda *_, **__: dict(digests))
    toy.run(until="numbers")
    digests["toys"] = "edited"
    toy.file("1.txt").unlink()
    for action in (Action.REPAIR, Action.SKIP):
        toy.events.clear()
        assert toy.run(until="numbers")["numbers"].decision.action is action
        assert [event.stage for event in toy.events if event.kind is Kind.WARNING] == ["numbers"]


def test_changed_code_warns_or_runs_again(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that asks for it runs again when its code changed; the others stay skipped and name the function."""
    digests = {"toys.{}": "first"}
    monkeypatch.setattr(
        orchestrator,
        "code_digests",
        lambda stage, **_: {name.format(stage.name): code for name, code in digests.items()},
    )
    toy.run()
    digests["toys.{}"] = "edited"
    did = toy.run()
    assert _did(did) == _ALL_SKIPPED | {"sum": (Action.RUN, Reason.CODE_CHANGED)}
    assert "toys.sum" in did["sum"].decision.detail
    warned = [event for event in toy.events if event.kind is Kind.WARNING]
    assert {event.stage for event in warned} == {"numbers", "left", "right"}
    assert "toys.left" in next(event.data["text"] for event in warned if event.stage == "left")
    assert _did(toy.run(reruns_on_code_change=True)) == {
        **dict.fromkeys(["numbers", "left", "right"], (Action.RUN, Reason.CODE_CHANGED)),
        "sum": _UP_TO_DATE,
    }
    assert _did(toy.run(reruns_on_code_change=True)) == _ALL_SKIPPED


def test_work_continued_with_other_code_is_told_and_stays_known(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the code changed between a stop and its continuation the run says so, and so does the next one."""
    version = ["first"]
    monkeypatch.setattr(orchestrator, "code_digests", lambda stage, **_: {f"toys.{stage.name}": version[0]})
    pipeline = toy.configure()
    toy.numbers.stops_after = 2
    with pytest.raises(Interrupted):
        pipeline.run()
    version[0] = "edited"
    assert toy.configure().plan()[0].code_changes == ("toys.numbers",)
    assert toy.configure(reruns_on_code_change=True).plan()[0].decision.reason is Reason.CODE_CHANGED
    for _ in range(2):
        toy.run()
        warned = [event.stage for event in toy.events if event.kind is Kind.WARNING]
        assert warned == ["numbers"]
    assert not list(toy.workspace.root.rglob("*.begun"))


def test_only_one_run_at_a_time(toy: _Toy) -> None:
    """A run in a locked workspace fails before it touches anything."""
    pipeline = toy.configure()
    with toy.workspace.locked(), pytest.raises(WorkspaceLocked):
        pipeline.run()
    assert toy.events == []


def test_artifact_that_cannot_be_had_now_is_not_taken_for_damaged(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, say, ends the run; nothing is done again because of it."""
    toy.run()
    before = toy.file("0.txt").stat().st_mtime_ns
    opened = os.open

    def fail(path: Any, *arguments: Any) -> int:
        if os.fspath(path).endswith("0.txt"):
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return opened(path, *arguments)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
        patch.setattr(os, "open", fail)
        toy.configure().run()
    assert toy.file("0.txt").stat().st_mtime_ns == before
    assert _did(toy.run()) == _ALL_SKIPPED


def test_workspace_that_was_moved_is_not_begun_anew(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose workspace goes away says so, whatever its stage fails of, and leaves nothing where it was."""
    pipeline = toy.configure()
    moved = toy.workspace.root.with_name("moved")

    def move(context: StageContext) -> StageResult:
        toy.workspace.root.rename(moved)
        raise FileNotFoundError(errno.ENOENT, "No such file", str(context.results_folder))

    monkeypatch.setattr(toy.left, "execute", move)
    with pytest.raises(IntegrityError, match="moved or removed"):
        pipeline.run()
    assert not toy.workspace.root.exists()


def test_disk_that_stores_other_bytes_gets_no_record(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage meant to write is what a record vouches for: other bytes of the right length are found."""
    pipeline = toy.configure()
    execute = toy.left.execute

    def spoil(context: StageContext) -> StageResult:
        [output] = execute(context).outputs
        meant = digest_file(output.path)
        output.path.write_bytes(output.path.read_bytes().replace(b"1", b"3"))
        return StageResult(outputs=[Output(output.kind, output.path, meant)])

    monkeypatch.setattr(toy.left, "execute", spoil)
    with pytest.raises(IntegrityError, match="holds other bytes than were written"):
        pipeline.run()
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_note_of_a_run_that_was_killed_after_its_record_goes(toy: _Toy) -> None:
    """A kill between the record and the end of its note leaves no note behind the next run."""
    toy.run()
    record = next((toy.workspace.checkpoints / "left").glob("*.json"))
    toy.workspace.records.begin(record, code={"some": "code"})
    assert list(toy.workspace.root.rglob("*.begun"))
    toy.run()
    assert not list(toy.workspace.root.rglob("*.begun"))


def test_no_record_without_the_lock(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that comes to its end when the workspace is no longer this run's leaves no record."""
    pipeline = toy.configure()
    execute = toy.left.execute

    def lose(context: StageContext) -> StageResult:
        result = execute(context)
        (toy.workspace.root / LOCK_NAME).unlink()
        return result

    monkeypatch.setattr(toy.left, "execute", lose)
    with pytest.raises(IntegrityError, match="moved or removed"):
        pipeline.run()
    assert not list((toy.workspace.checkpoints / "left").glob("*.json"))


def test_leftovers_of_killed_writers_are_swept(toy: _Toy) -> None:
    """A run removes the temporaries that a kill left."""
    torn = toy.workspace.results / f"{files.TEMPORARY_PREFIX}torn"
    files.make_folder(torn.parent)
    torn.write_bytes(b"1")
    toy.run()
    assert not torn.exists()


def test_overwritten_results_take_their_record_along(toy: _Toy) -> None:
    """When other bytes take the place of a run's results, its record goes: a record never vouches for what is gone."""
    toy.run()
    old = next((toy.workspace.checkpoints / "left").glob("*.json"))
    toy.file("0.txt").write_text("5")
    numbers = next((toy.workspace.checkpoints / "numbers").glob("*.json"))
    numbers.unlink()  # as if the code of the first stage had changed: same config, other bytes
    toy.run()
    assert not old.exists()
    assert len(list((toy.workspace.checkpoints / "left").glob("*.json"))) == 1


def test_missing_external_files_are_told_before_any_work(toy: _Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path in the settings of the last stage stops the run before the first stage begins."""
    pipeline = toy.configure()

    def missing() -> dict[str, tuple[Path, ...]]:
        raise UsageError("there is no folder 'photos'")

    monkeypatch.setattr(toy.sum, "external_files", missing, raising=False)
    for attempt in (pipeline.run, pipeline.plan):
        with pytest.raises(UsageError, match="photos"):
            attempt()
    assert toy.numbers.written == []


def test_changed_external_files_run_the_stage_again(toy: _Toy, tmp_path: Path) -> None:
    """The contents of files from outside the workspace count as inputs of the stage that reads them."""
    photo = tmp_path / "photo.png"

    def run() -> dict[str, StageOutcome]:
        pipeline = toy.configure()
        toy.sum.external_files = lambda: {"photos": (photo,)}  # type: ignore[attr-defined]
        return {outcome.decision.stage: outcome for outcome in pipeline.run()}

    photo.write_bytes(b"1")
    run()
    assert _did(run()) == _ALL_SKIPPED
    photo.write_bytes(b"2")
    again = run()
    assert _did(again) == _ALL_SKIPPED | {"sum": (Action.RUN, Reason.INPUTS_CHANGED)}
    assert again["sum"].decision.detail == "it ran with other inputs: photos"


def test_validate_names_what_is_damaged(toy: _Toy) -> None:
    """Validation counts files and bytes and names each artifact that is not as recorded."""
    pipeline = toy.configure()
    pipeline.run()
    good = {found.stage: found for found in pipeline.validate(is_deep=True)}
    assert (good["numbers"].num_files, good["numbers"].num_bytes, good["numbers"].problems) == (3, 3, ())
    toy.file("2.txt").unlink()
    bad = {found.stage: found for found in pipeline.validate(is_deep=False)}
    assert "2.txt is missing" in bad["numbers"].problems[0]
    assert bad["left"].problems == ()


def test_reset_takes_one_stage_with_its_record(toy: _Toy) -> None:
    """A reset names what goes with its size; after it that stage runs again and the others stay skipped."""
    toy.run()
    pipeline = toy.configure()
    removals = pipeline.removals(["numbers"], only_this_run=False)
    assert sum(removal.num_files for removal in removals) == 4  # three numbers and the record
    pipeline.reset(removals)
    assert _did(toy.run()) == _ALL_SKIPPED | {"numbers": (Action.RUN, Reason.NEVER_RAN)}


def test_reset_of_one_config_leaves_the_others(toy: _Toy) -> None:
    """A reset of the run that the settings name leaves the runs of other settings."""
    toy.run()
    toy.run(left=2)
    pipeline = toy.configure(left=2)
    pipeline.reset(pipeline.removals(["left"], only_this_run=True))
    assert _did(toy.run()) == _ALL_SKIPPED
    assert _did(toy.run(left=2))["left"][0] is Action.RUN


def test_reset_of_one_config_leaves_files_that_another_vouches_for(toy: _Toy) -> None:
    """Artifacts that two configs share stay with the one that is left."""
    record = toy.run()["left"].record
    toy.workspace.records.save(record.model_copy(update={"config_hash": "f" * 32}))
    pipeline = toy.configure()
    removals = pipeline.removals(["left"], only_this_run=True)
    assert [removal.path.suffix for removal in removals] == [".json"]
    assert removals[0].path.parent == toy.workspace.checkpoints / "left"
    pipeline.reset(removals)
    assert toy.file("left.json").exists()


def test_link_in_place_of_an_artifact_is_damage(toy: _Toy, tmp_path: Path) -> None:
    """An artifact that became a link out of the workspace is not believed, and is made again without following it."""
    toy.run()
    precious = tmp_path / "precious.txt"
    precious.write_text("1")
    toy.file("1.txt").unlink()
    (next(toy.workspace.root.rglob("0.txt")).parent / "1.txt").symlink_to(precious)
    assert toy.run()["numbers"].decision.reason is Reason.ARTIFACT_DAMAGED
    assert not toy.file("1.txt").is_symlink()
    assert precious.read_text() == "1"


def test_unreadable_record_is_set_aside(toy: _Toy) -> None:
    """What does not verify is kept under another name, for whoever wants to know what happened."""
    toy.run()
    path = next((toy.workspace.checkpoints / "left").glob("*.json"))
    path.write_text("torn")
    toy.run()
    assert path.with_name(f"{path.name}.corrupt-0").read_text() == "torn"


def test_half_done_work_is_what_has_no_record(toy: _Toy) -> None:
    """A finished stage is not half-done; one that was stopped is, and its work can be discarded."""
    pipeline = toy.configure()
    toy.numbers.stops_after = 2
    with pytest.raises(Interrupted):
        pipeline.run()
    assert toy.configure().half_done() == {"numbers": "2 of 3 numbers"}
    toy.configure().discard_partial_work("numbers")
    assert toy.configure().half_done() == {}
    toy.run()
    assert toy.configure().half_done() == {}


def test_reset_of_all_leaves_nothing(toy: _Toy) -> None:
    """After a reset of all stages no file of theirs is left, results of earlier runs included."""
    toy.run()
    toy.run(left=2)
    files.write_bytes(toy.workspace.results / "toy_results_1.json", b"{}")
    pipeline = toy.configure()
    removals = pipeline.removals([stage.name for stage in pipeline.stages], only_this_run=False)
    pipeline.reset(removals)
    left = [path for path in toy.workspace.root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert left == []


def test_records_tell_all_there_is_to_know(toy: _Toy) -> None:
    """A record has config, inputs, artifacts with digests, environment and times."""
    record = toy.run()["left"].record
    assert record.config == {"amount": 1}
    assert set(record.inputs) == {"numbers"}
    assert record.artifacts[0].size == len("[1, 2, 3]")
    assert "python" in record.environment
    assert record.started_at <= record.finished_at
    document: Any = json.loads(next((toy.workspace.checkpoints / "left").glob("*.json")).read_text())
    assert document["schema_version"] == 2
