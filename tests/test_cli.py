"""The command line: what each command answers, and with which code it ends."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
import toy_command_line
from toy_command_line import Call, actions, states

from pipeline.app import _name_of, app

call = toy_command_line.call

COMMANDS = (
    "run",
    "plan",
    "status",
    "report",
    "compare",
    "ui",
    "reset",
    "gc",
    "validate",
    "import-checkpoint",
    "progress show",
    "progress reset",
    "config show",
    "config schema",
    "doctor",
    "explain",
    "completion",
)


def number_file(folder: Path) -> Path:
    """Return a file that the first toy stage has made."""
    return next(folder.glob("datasets/*/00002.json"))


def test_every_command_is_documented_and_tested() -> None:
    """The table of the README has a line for each that there is, and the tests below know it."""
    groups = {each.name: each.typer_instance for each in app.registered_groups if each.typer_instance}
    known = {_name_of(each) for each in app.registered_commands}
    known |= {f"{group} {_name_of(each)}" for group, inner in groups.items() for each in inner.registered_commands}
    assert known == set(COMMANDS)
    table = (Path(__file__).parent.parent / "README.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    rows = [line.replace("\\|", "|") for line in table.splitlines() if line.startswith("| `pipeline ")]
    for command in COMMANDS:
        words = command.split()
        assert any(
            row.startswith(f"| `pipeline {words[0]}") and words[-1] in re.split(r"[ `|]+", row) for row in rows
        ), f"{command} is not in the README"


@pytest.mark.parametrize("command", ["", *COMMANDS, "progress", "config"])
def test_every_command_has_help(call: Call, command: str) -> None:
    """Help goes to stdout, ends with 0, and says something of each option."""
    ended = call(command, "--help")
    assert ended.out.startswith(f"Usage: pipeline {command}".rstrip())
    assert ended.err == ""
    options = [line for line in ended.out.splitlines() if line.startswith("  --")]
    assert options
    assert not [line for line in options if len(line.split()) == 1 and len(line) < 30]
    arguments = ended.out.partition("\nArguments:\n")[2].partition("\n\n")[0].splitlines()
    assert not re.search(r"[<{]|\[\[", "\n".join([ended.out.splitlines()[0], *arguments])), (
        "types are words of the code"
    )


def test_no_words_ask_for_help(call: Call) -> None:
    """`pipeline` alone tells what there is."""
    assert call().out == call("--help").out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "completion"])
def test_every_command_knows_json_workspace_and_debug(call: Call, command: str) -> None:
    """Three options are everywhere."""
    assert {"--json", "--workspace", "--debug"} <= set(call(command, "--help").out.split())


def test_underscores_are_as_good_as_dashes(call: Call) -> None:
    """`--dataset_size` and its like are taken for every long option."""
    told = [call("plan --json", f"{option} 3").document["stages"] for option in ("--dataset_size", "--dataset-size")]
    assert told[0] == told[1]
    forced = call("plan --force_data --on_code_change rerun --json").document
    assert forced["stages"][0]["reason"] == "FORCED"


def test_a_run_does_everything_once_and_then_nothing(call: Call, tmp_path: Path) -> None:
    """The second run returns with the same results and says why nothing ran."""
    first = call("run")
    results = {path: path.read_bytes() for path in tmp_path.rglob("*.json") if "checkpoints" not in path.parts}
    second = call("run")
    assert re.findall(r"RUN +NEVER_RAN", first.err) == ["RUN     NEVER_RAN"] * 4
    assert len(re.findall(r"SKIP +UP_TO_DATE +config, inputs and every artifact are as recorded", second.err)) == 4
    assert "done in" not in second.err
    assert {path: path.read_bytes() for path in results} == results


def test_results_go_to_stdout_and_talk_to_stderr(call: Call) -> None:
    """--quiet and --json leave no talk; the results are the same."""
    loud, quiet = call("run"), call("run --quiet")
    assert "NEVER_RAN" in loud.err
    assert quiet.err == ""
    assert quiet.out.splitlines()[-1] == loud.out.splitlines()[-1]
    document = call("run --json")
    assert document.err == ""
    assert document.document["results"].endswith(loud.out.split()[-1])


def test_a_run_tells_times_targets_and_results(call: Call) -> None:
    """The document has for each stage action, reason and seconds, and for each target whether it is met."""
    document = call("run --json").document
    assert document.keys() == {
        "schema_version",
        "command",
        "workspace",
        "run",
        "stages",
        "targets",
        "results",
        "report",
    }
    assert document["targets"] == [
        {"data_set": "toy", "metric": "total", "minimum": 10.0, "value": 130.0, "is_met": True}
    ]
    keys = {"stage", "action", "reason", "detail", "may_become_skip", "seconds", "metrics"}
    assert all(stage.keys() == keys for stage in document["stages"])


def test_a_plan_touches_nothing(call: Call, tmp_path: Path) -> None:
    """Not even a folder is made."""
    call("plan")
    call("status")
    call("progress show")
    assert list(tmp_path.iterdir()) == []


def test_status_and_plan_decide_the_same(call: Call, tmp_path: Path) -> None:
    """In every situation status says for each stage what plan says."""

    def both() -> None:
        plan, status = call("plan --json").document, call("status --json").document
        for stage in plan["stages"]:
            del stage["estimate"]  # which only a plan has
        assert plan["stages"] == status["stages"]
        assert plan["run"] == status["run"]

    both()
    call("run --quiet")
    both()
    number_file(tmp_path).unlink()
    both()


def test_status_tells_the_state_of_each_stage(call: Call, tmp_path: Path) -> None:
    """Done, damaged, stale, waiting, not run."""
    assert states(call("status --json")) == {
        "numbers": "not run",
        "squares": "waiting",
        "cubes": "waiting",
        "total": "waiting",
    }
    call("run --quiet")
    assert set(states(call("status --json")).values()) == {"done"}
    assert states(call("status --json --set cubes.mode=signed")) == {
        "numbers": "done",
        "squares": "done",
        "cubes": "stale",
        "total": "waiting",
    }
    number_file(tmp_path).write_text("9")
    assert states(call("status --json"))["numbers"] == "damaged"


def test_a_changed_setting_is_told_with_its_old_and_new_value(call: Call) -> None:
    """The reason names the fields."""
    call("run --quiet")
    assert "draw.low: 1 -> 5" in call("status --set numbers.draw.low=5").out
    assert "CONFIG_CHANGED" in call("plan --set numbers.draw.low=5").out


def test_only_what_is_damaged_is_made_again(call: Call, tmp_path: Path) -> None:
    """A missing file is repaired; what stands on the same bytes stays."""
    call("run --quiet")
    number_file(tmp_path).unlink()
    assert actions(call("run --json")) == {"numbers": "repair", "squares": "skip", "cubes": "skip", "total": "skip"}


def test_until_does_a_stage_and_what_it_needs(call: Call) -> None:
    """The fork's other branch and what comes behind are left alone."""
    assert actions(call("run --json --until squares")) == {"numbers": "run", "squares": "run"}
    assert actions(call("plan --json --until eval")).keys() == {"numbers", "squares", "cubes", "total"}


def test_missed_targets_end_with_3_only_when_required(call: Call) -> None:
    """Also when everything is cached; the results are told all the same."""
    high = "--set=total.minimum=1000"
    assert "MISSED" in call("run", high).out
    for _ in range(2):
        ended = call("run --require-targets", high, code=3)
        assert "MISSED" in ended.out
        assert "error[E0301]: 1 target missed: total on toy\n" in ended.err
    document = call("run --require-targets --json", high, code=3).document
    assert (document["error"]["kind"], document["targets"][0]["is_met"]) == ("TargetsMissed", False)
    assert call("run --require-targets").code == 0


def test_validate_tells_what_was_altered(call: Call, tmp_path: Path) -> None:
    """Damage ends with 4 and names the file."""
    call("run --quiet")
    assert "intact" in call("validate").out
    number_file(tmp_path).write_text("9")
    ended = call("validate", code=4)
    assert number_file(tmp_path).relative_to(tmp_path).as_posix() in ended.out
    assert ended.err.startswith("error[E0401]: 1 problem found in ")
    document = call("validate --deep --json", code=4).document
    assert document["is_deep"] is True
    assert document["error"]["exit_code"] == 4
    assert [len(stage["problems"]) for stage in document["stages"]] == [1, 0, 0, 0]


def test_reset_needs_a_yes(call: Call, tmp_path: Path) -> None:
    """Where nobody can be asked it says what would go, and how to say yes beforehand."""
    call("run --quiet")
    ended = call("reset data", code=2)
    assert "datasets/numbers-" in ended.err
    assert re.search(r"error\[E0206\]: nobody can answer.*Remove \d\.\d kB in 5 files\?", ended.err)
    assert "--yes" in ended.err
    assert number_file(tmp_path).exists()


def test_reset_data_takes_the_data_and_leaves_the_rest(call: Call, tmp_path: Path) -> None:
    """When the same bytes come again, what stands on them is skipped."""
    call("run --quiet")
    document = call("reset data --yes --json").document
    assert document["is_removed"] is True
    assert {removal["stage"] for removal in document["removals"]} == {"numbers"}
    assert not list(tmp_path.glob("datasets/*"))
    assert actions(call("run --json")) == {"numbers": "run", "squares": "skip", "cubes": "skip", "total": "skip"}


@pytest.mark.parametrize(("word", "left"), [("total", 3), ("eval", 3), ("all", 0)])
def test_reset_takes_stages_in_short_and_in_full(call: Call, tmp_path: Path, word: str, left: int) -> None:
    """`all` takes everything."""
    call("run --quiet")
    assert call("reset", word, "--yes").out.startswith("removed ")
    assert len(list(tmp_path.glob("checkpoints/*/*.json"))) == left
    assert call("reset", word, "--yes").out == "there is nothing to remove\n"


def test_reset_of_a_named_run_leaves_other_runs(call: Call, tmp_path: Path) -> None:
    """With an option that says which run is meant, only that one goes."""
    call("run --quiet")
    call("run --quiet --profile large")
    asked = call("reset data --profile large", code=2).err
    assert re.search(r"^numbers +9 files +\d+ B +datasets/numbers-\w{8}/\*$", asked, re.MULTILINE)
    call("reset data --yes --profile large")
    assert len(list(tmp_path.glob("datasets/*/*"))) == 4
    assert actions(call("plan --json"))["numbers"] == "skip"
    call("reset data --yes")
    assert not list(tmp_path.glob("datasets/*"))


def test_progress_is_shown_part_by_part_and_can_be_discarded(call: Call, tmp_path: Path) -> None:
    """A bar for each part; a reset asks, and then the stage starts from zero."""
    assert call("progress show").out == "nothing has begun\n"
    call("run --quiet --until data")
    assert "numbers  ████████████████████  4/4  drawn in order" in call("progress show").out
    assert call("progress show --json").document["stages"] == {"numbers": {"done": 4}}
    assert call("progress reset --yes").out == "nothing was discarded\n"  # what is whole is no half-done work
    next(tmp_path.glob("checkpoints/numbers/*.json")).unlink()
    assert "`pipeline progress reset` discards half-done work" in call("reset data --set numbers.count=4 --yes").out
    assert "Discard the progress of numbers?" in call("progress reset", code=2).err
    assert call("progress reset --yes").out == "discarded the progress of numbers\n"
    assert call("progress reset --yes").out == "nothing was discarded\n"
    assert not list(tmp_path.glob("datasets/*"))


def test_config_show_tells_value_and_origin(call: Call) -> None:
    """Of each setting, in text and as JSON."""
    words = ("config show", "--set=numbers.draw.low=3", "--dataset-size", "7")
    assert re.search(r"^numbers.draw.low +--set +3$", call(*words).out, re.MULTILINE)
    settings = call(*words, "--json").document["settings"]
    assert settings["numbers.count"] == {"value": 7, "origin": "--dataset-size"}
    assert settings["numbers.draw.step"] == {"value": 1.0, "origin": "default"}


def test_config_schema_is_json_with_and_without_json(call: Call) -> None:
    """Editors take it as it is."""
    assert call("config schema").document == call("config schema --json").document
    assert call("config schema").document["$schema"].startswith("https://json-schema.org/")


def test_an_own_pipeline_is_found_beside_its_settings(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pipeline = "module:attribute"` may name a module of the current folder; nothing else is looked for there."""
    monkeypatch.delenv("PIPELINE_PIPELINE")
    call("config schema")
    assert str(tmp_path) not in sys.path
    (tmp_path / "my_own_pipeline.py").write_text("from toy_pipeline import PIPELINE\n")
    (tmp_path / "pipeline.toml").write_text('pipeline = "my_own_pipeline:PIPELINE"\nprofile = "large"\n')
    assert call("status --json").document["run"].startswith("large-")


def test_a_settings_file_is_read_once(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit while a command begins, here by the pipeline that it loads, does not give it one half of each version."""
    monkeypatch.delenv("PIPELINE_PIPELINE")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pipeline.toml"
    file.write_text('pipeline = "editing_pipeline:PIPELINE"\nprofile = "large"\n')
    (tmp_path / "editing_pipeline.py").write_text(
        "from pathlib import Path\n\nfrom toy_pipeline import PIPELINE\n\n"
        f"Path({str(file)!r}).write_text('profile = \"small\"\\n')\n"
    )
    assert call("status --json").document["run"].startswith("large-")


def test_the_environment_names_workspace_and_file(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIPELINE_WORKSPACE and PIPELINE_CONFIG stand for the options; the options win."""
    (tmp_path / "mine.toml").write_text("[numbers]\ncount = 2\n")
    monkeypatch.setenv("PIPELINE_CONFIG", "mine.toml")
    monkeypatch.setenv("PIPELINE_WORKSPACE", "there")
    call("run --quiet --until data")
    call("run --quiet --until data --workspace elsewhere")
    for workspace in ("there", "elsewhere"):
        assert len(list(tmp_path.glob(f"{workspace}/datasets/*/*"))) == 2


@pytest.mark.parametrize("command", ["reset all --yes", "gc --yes", "run", "compare one two"])
@pytest.mark.parametrize("option", ["--workspace ''", "--workspace="])
def test_an_empty_workspace_is_not_the_current_folder(call: Call, tmp_path: Path, command: str, option: str) -> None:
    """`--workspace "$WS"` with a variable that is not set is refused, and nothing is touched."""
    call("run --quiet")
    before = sorted(tmp_path.rglob("*"))
    told = call(command, option, code=2).err
    assert "error[E0229]: --workspace is empty, as with a variable that is not set\nhint: give the variable" in told
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_variable_for_the_workspace_counts_as_not_set(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is how a shell takes one back."""
    monkeypatch.setenv("PIPELINE_WORKSPACE", "")
    assert call("status --json").document["workspace"] == str(tmp_path)


def test_the_log_tells_what_was_asked_for(call: Call, tmp_path: Path) -> None:
    """The words of the command line, which process carries them out, and what it aims at."""
    call("run --until numbers --quiet")
    first = json.loads((tmp_path / "logs" / "events.jsonl").read_text().splitlines()[0])
    assert first["kind"] == "run_started"
    assert first["data"]["command"] == ["pipeline", "run", "--until", "numbers", "--quiet"]
    assert first["data"]["pid"] == os.getpid()


def test_the_time_of_a_part_is_told_as_that(call: Call, tmp_path: Path) -> None:
    """What was repaired, or continued, took longer than its record says, which has the time of the last attempt."""
    call("run --quiet")
    next(tmp_path.glob("datasets/*/00002.json")).unlink()
    assert actions(call("run --json"))["numbers"] == "repair"
    [numbers] = (line for line in call("status").out.splitlines() if line.startswith("numbers "))
    assert ", its repair took " in numbers
