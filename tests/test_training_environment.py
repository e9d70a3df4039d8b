"""What a checkpoint remembers of where it was made, and what changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toy_command_line
from fakes import RecordingReporter
from resume import run_interrupted, run_to_the_end
from tiny_task import tiny_config, tiny_stage
from toy_command_line import Call

from pipeline.errors import IntegrityError
from pipeline.events import Kind
from stages.training.checkpoints import TrainingFacts, open_store
from stages.training.environment import Environments, describe_environment, environment_changes

call = toy_command_line.call


def test_changes_are_named_old_and_new() -> None:
    """Each difference is said; what is the same is not."""
    environment = describe_environment(torch.device("cpu"), precision="fp32")
    assert {"torch", "cpu", "cpu_capability", "num_threads", "world_size", "precision"} <= set(environment)
    assert environment_changes(environment, environment) == []
    assert environment_changes({**environment, "num_threads": 999}, environment) == [
        f"num_threads: 999 -> {torch.get_num_threads()}"
    ]


def test_what_an_older_program_did_not_note_is_no_change(tmp_path: Path) -> None:
    """A field that came later is not known of an older checkpoint; a machine without /proc has a processor too."""
    old = describe_environment(torch.device("cpu"), precision="fp32", cpu_info=tmp_path / "none")
    assert old.pop("cpu")
    assert environment_changes(old, {**old, "cpu": "another"}) == []


def test_environments_are_kept_in_order_and_once() -> None:
    """Many interruptions in one environment are one entry; each change is told with its step, and survives a file."""
    one, other = {"torch": "1", "num_threads": 1}, {"torch": "2", "num_threads": 1}
    environments = Environments()
    environments.begin(one)
    for environment, step in ((one, 5), (other, 7), (other, 9), (one, 12)):
        environments.enter(environment, after_step=step)
    again = Environments()
    again.load_state_dict(environments.state_dict())
    assert again.warnings() == (
        "computed in another environment after step 7, so its last bits may differ: torch: '1' -> '2'",
        "computed in another environment after step 12, so its last bits may differ: torch: '2' -> '1'",
    )


def _pretend(patch: pytest.MonkeyPatch, **differences: object) -> None:
    def describe(device: torch.device, *, precision: str) -> dict[str, object]:
        return {**describe_environment(device, precision=precision), **differences}

    patch.setattr("stages.training.session.describe_environment", describe)


def _elsewhere(patch: pytest.MonkeyPatch, root: Path, *, stop_after: int) -> None:
    """Train in `root` until the given step, in an older torch on a processor with less."""
    with patch.context() as inner:
        _pretend(inner, torch="1.0", cpu_capability="AVX2")
        assert run_interrupted(root, tiny_config(), stop_after=stop_after)


def test_all_environments_of_a_training_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of a training that moved says after which step, through any number of further interruptions."""
    _elsewhere(monkeypatch, tmp_path, stop_after=4)
    assert run_interrupted(tmp_path, tiny_config(), stop_after=9)
    stage, context = tiny_stage(tmp_path)
    [warning] = stage.execute(context).warnings
    assert warning.startswith("computed in another environment after step 4, ")
    assert "torch: '1.0' -> " in warning
    assert "cpu_capability: 'AVX2' -> " in warning
    _pretend(monkeypatch, torch="3.0")
    assert stage.execute(context).warnings == (warning,), "what is over was not computed elsewhere"


def test_checkpoint_of_the_first_format_tells_its_one_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without the history of environments stands for the one that its metadata tell; its batches are whole."""
    _elsewhere(monkeypatch, tmp_path, stop_after=4)
    stage, context = tiny_stage(tmp_path)
    store = open_store(context)
    [checkpoint] = store.checkpoints()
    contents = checkpoint.read()
    values = json.loads(contents["trainer_state.json"])
    del values["parts"]["environments"], values["parts"]["micro_batches"]
    contents["trainer_state.json"] = json.dumps(values).encode()
    facts = {name: getattr(checkpoint.metadata, name) for name in TrainingFacts.model_fields}
    store.save(contents.items(), TrainingFacts(**facts))
    [warning] = stage.execute(context).warnings
    assert "after step 4" in warning
    assert "torch: '1.0' -> " in warning


@pytest.mark.parametrize("is_damaged", [False, True])
def test_strict_environment_refuses_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    """Exit code 4 with each difference and all remedies; not a byte of the checkpoints is changed, damaged or not."""
    _elsewhere(monkeypatch, tmp_path, stop_after=7)
    stage, context = tiny_stage(tmp_path, strict_env=True)
    if is_damaged:
        (open_store(context).checkpoints()[-1].path / "model.safetensors").write_bytes(b"?")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(
        IntegrityError, match=r"step000007.* another environment: .*torch: '1.0' -> .*'AVX2' -> "
    ) as caught:
        stage.execute(context)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert all(remedy in caught.value.hint for remedy in ("OMP_NUM_THREADS", "--strict-env", "--force-train"))
    assert caught.value.exit_code == 4


def test_flag_and_setting_ask_for_the_same(call: Call, tmp_path: Path) -> None:
    """`--strict-env` and `runtime.strict_env` are one thing, and neither makes another run of it."""
    for words in ("--strict-env", "--set runtime.strict_env=true", ""):
        call("run --force-all", words)
        records = [json.loads(path.read_text()) for path in (tmp_path / "checkpoints").glob("*/*.json")]
        assert {record["runtime"]["strict_env"] for record in records} == {bool(words)}


def test_strict_environment_looks_at_what_is_really_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the newest checkpoint was made here but is damaged, the older one from elsewhere is refused too."""
    _elsewhere(monkeypatch, tmp_path, stop_after=4)
    assert run_interrupted(tmp_path, tiny_config(), stop_after=7)
    stage, context = tiny_stage(tmp_path, strict_env=True)
    for checkpoint in open_store(context).checkpoints()[1:]:
        (checkpoint.path / "model.safetensors").write_bytes(b"?")
    with pytest.raises(IntegrityError, match=r"step000004.* another environment"):
        stage.execute(context)


def test_strict_environment_says_nothing_in_the_same_one(tmp_path: Path) -> None:
    """A training that is continued where it began ends as ever."""
    expected = run_to_the_end(tmp_path / "whole", tiny_config())
    assert run_interrupted(tmp_path / "cut", tiny_config(), stop_after=7)
    reporter = RecordingReporter()
    assert run_to_the_end(tmp_path / "cut", tiny_config(), strict_env=True, reporter=reporter) == expected
    assert reporter.texts(Kind.WARNING) == []
