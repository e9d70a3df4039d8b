"""Settings: who wins, where a value comes from, and what is said of those that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from toy_pipeline import PIPELINE

from pipeline.config import StageConfig
from pipeline.errors import UsageError
from pipeline.profiles import (
    FILE_NAME,
    RUNTIME,
    Settings,
    SettingsFile,
    find_settings_file,
    parse_value,
    read_settings_file,
    resolve,
)
from pipeline.settings_schema import settings_schema


class NeedyConfig(StageConfig):
    """A config with a setting that has no default."""

    name: str = Field(description="how it is called")


NEEDY = replace(PIPELINE, configs={"needy": NeedyConfig})


def settle(
    *assignments: str,
    profile: str | None = None,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None,
) -> Settings:
    """Resolve settings of the toy pipeline."""
    return resolve(
        PIPELINE,
        profile=profile,
        file=read_settings_file(config_file),
        environment=environment or {},
        assignments=assignments,
        flags=flags or {},
    )


def refused(*assignments: str, **sources: Any) -> str:
    """Return what is said of settings that cannot be used."""
    with pytest.raises(UsageError) as caught:
        settle(*assignments, **sources)
    return caught.value.message


def toml(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / FILE_NAME
    path.write_text(text)
    return path


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    """Defaults < profile < file < environment < --set < flags, and each value tells its origin."""
    file = toml(tmp_path, "[numbers]\ncount = 5\n")
    environment = {"PIPELINE_NUMBERS__COUNT": "6"}
    flags = {"numbers.count": ("--dataset-size", 8)}
    seen = [
        settle(profile="large"),
        settle(profile="large", config_file=file),
        settle(profile="large", config_file=file, environment=environment),
        settle("numbers.count=7", profile="large", config_file=file, environment=environment),
        settle("numbers.count=7", profile="large", config_file=file, environment=environment, flags=flags),
    ]
    assert [(each.values()["numbers.count"], each.origins["numbers.count"]) for each in seen] == [
        (9, "profile large"),
        (5, str(file)),
        (6, "PIPELINE_NUMBERS__COUNT"),
        (7, "--set"),
        (8, "--dataset-size"),
    ]
    assert seen[0].origins["numbers.draw.low"] == "default"


def test_every_value_has_an_origin() -> None:
    """Each value that is no table has an origin, runtime options too."""
    settings = settle()
    assert settings.values().keys() == settings.origins.keys()
    assert settings.origins["runtime.device"] == "default"
    assert settings.runtime.device == "auto"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({}, "small"),
        ({"config_file": "profile = 'large'"}, "large"),
        ({"config_file": "profile = 'large'", "environment": {"PIPELINE_PROFILE": "small"}}, "small"),
        ({"environment": {"PIPELINE_PROFILE": "small"}, "profile": "large"}, "large"),
        ({"environment": {"PIPELINE_PROFILE": ""}}, "small"),
    ],
)
def test_the_profile_is_chosen_like_a_value(tmp_path: Path, sources: dict[str, Any], expected: str) -> None:
    """A flag wins over the environment, that over the file, that over the pipeline's own choice."""
    if "config_file" in sources:
        sources = {**sources, "config_file": toml(tmp_path, sources["config_file"])}
    assert settle(**sources).profile == expected


def test_a_profile_extends_another_and_own_ones_extend_built_in_ones(tmp_path: Path) -> None:
    """Values of the extended profile stay where nothing is laid over them."""
    file = toml(tmp_path, "[profiles.mine]\nextends = 'large'\n[profiles.mine.numbers.draw]\nlow = 3\n")
    settings = settle(profile="mine", config_file=file)
    values, origins = settings.values(), settings.origins
    assert (values["numbers.count"], origins["numbers.count"]) == (9, "profile large")
    assert (values["numbers.draw.low"], origins["numbers.draw.low"]) == (3, "profile mine")
    assert values["numbers.draw.step"] == 0.5


def test_an_own_profile_of_a_built_in_name_extends_it(tmp_path: Path) -> None:
    """What it does not say is as in the built-in one."""
    settings = settle(profile="large", config_file=toml(tmp_path, "[profiles.large.cubes]\nmode = 'signed'\n"))
    assert settings.values()["cubes.mode"] == "signed"
    assert settings.values()["numbers.count"] == 9


@pytest.mark.parametrize(
    ("text", "profile", "said"),
    [
        ("", "larg", "there is no profile 'larg'; did you mean 'large'?"),
        ("[profiles.a]\nextends = 'b'\n[profiles.b]\nextends = 'a'\n", "a", "extends itself in a circle"),
        ("[profiles.a]\nextends = 3\n", "a", "extends = 3 must be the name of a profile"),
        ("[profiles.'../a']\n", "../a", "profile name '../a' cannot be used"),
        ("profiles = 3\n", "small", "profiles must be tables"),
        ("profile = 3\n", None, "profile = 3 must be text"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named(tmp_path: Path, text: str, profile: str | None, said: str) -> None:
    """The sentence names the profile and what is wrong with it."""
    assert said in refused(profile=profile, config_file=toml(tmp_path, text))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (
            {"assignments": ["numbers.cuont=1"]},
            "there is no setting numbers.cuont (--set); did you mean 'numbers.count'",
        ),
        ({"assignments": ["step=1"]}, "there is no setting step (--set); did you mean 'numbers.draw.step'?"),
        ({"assignments": ["numbers.step=1"]}, "did you mean 'numbers.draw.step'?"),
        ({"assignments": ["zzz=1"]}, "there is no setting zzz (--set)"),
        (
            {"environment": {"PIPELINE_NUMBRS__COUNT": "3"}},
            "there is no setting numbrs.count (PIPELINE_NUMBRS__COUNT); did you mean 'numbers.count'?",
        ),
        ({"environment": {"PIPELINE_PROFIL": "x"}}, "there is no setting profil (PIPELINE_PROFIL)"),
        ({"config_file": "[runtime]\ndevise = 'cpu'\n"}, "; did you mean 'runtime.device'?"),
        ({"config_file": "[numbrs]\ncount = 1\n[numbrs.draw]\nlow = 1\n"}, "there is no setting numbrs ("),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path: Path, sources: dict[str, Any], said: str) -> None:
    """The sentence names the key, where it was written, and the nearest key there is."""
    sources = dict(sources)
    if "config_file" in sources:
        sources["config_file"] = toml(tmp_path, sources["config_file"])
    assert said in refused(*sources.pop("assignments", ()), **sources)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("numbers.count=0", "numbers.count = 0 (--set): must be a whole number, at least 1 and at most 1000"),
        ("numbers.count=-3", "numbers.count = -3 (--set): must be a whole number, at least 1"),
        ("numbers.count=1e9", "numbers.count = 1000000000.0 (--set): must be a whole number"),
        ("numbers.count=true", "numbers.count = true (--set): must be a whole number"),
        ("numbers.count=many", 'numbers.count = "many" (--set): must be a whole number'),
        ("numbers.count=null", "numbers.count = null (--set): must be a whole number"),
        ("numbers.draw.step=nan", "numbers.draw.step = NaN (--set): must be a finite number, more than 0"),
        ("numbers.draw.step=-inf", "must be a finite number, more than 0 and at most 100; distance between two"),
        ("numbers.draw.step=true", "must be a finite number"),
        ("numbers.draw=3", "numbers.draw = 3 (--set): must be a table"),
        ("numbers=3", "numbers = 3 (--set): must be a table"),
        ("numbers.count.x=3", "numbers.count = {…} (--set): must be a whole number"),
        ("squares.is_signed=1", "squares.is_signed = 1 (--set): must be true or false"),
        ("squares.label=3", "squares.label = 3 (--set): must be text"),
        ("cubes.mode=odd", 'cubes.mode = "odd" (--set): must be one of "plain", "signed"'),
        ("total.names=['a', 3]", "total.names.1 = 3 (--set): must be text"),
        ("total.names=a", 'total.names = "a" (--set): must be a list'),
        ("runtime.trackers=['?']", """runtime.trackers.0 = "?" (--set): must match '^(tensorboard|wandb"""),
        (f"squares.is_signed='{'x' * 500}'", "…"),
        ("runtime.num_workers=1000", "at least 0 and at most 256; processes for data generation"),
        ("runtime.log_interval_seconds=0", "must be a finite number, more than 0 and at most 3600"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_bounds(assignment: str, said: str) -> None:
    """The sentence names field, value, origin, and what the field must be."""
    message = refused(assignment)
    assert said in message
    assert len(message) < 300


def test_all_values_that_cannot_be_used_are_named_at_once() -> None:
    """Nobody has to mend one after the other."""
    message = refused("numbers.count=0", "numbers.draw.step=nan", "cubes.mode=odd", "runtime.devise=cpu")
    assert message.startswith("4 settings cannot be used:\n")
    assert len(message.splitlines()) == 5


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("numbers.draw.step=2", "numbers.draw.step", 2.0),
        ("total.names=['a', 'b']", "total.names", ["a", "b"]),
        ("squares.label=plain words", "squares.label", "plain words"),
        ("squares.label='3'", "squares.label", "3"),
        ("squares.label=a=b", "squares.label", "a=b"),
        (" numbers.count = 1_0 ", "numbers.count", 10),
        ("numbers.draw={low = 2, step = 3.5}", "numbers.draw.low", 2),
    ],
)
def test_values_are_read_as_toml_else_as_text(assignment: str, key: str, value: object) -> None:
    """Numbers, lists and tables are written as in a file; text needs no quotes."""
    settings = settle(assignment)
    assert settings.values()[key] == value
    assert settings.origins[key] == "--set"


@pytest.mark.parametrize("assignment", ["numbers.count", "=3", "numbers..count=3", ""])
def test_what_is_no_assignment_is_refused(assignment: str) -> None:
    """--set wants a key, an equals sign and a value."""
    assert "is no assignment" in refused(assignment)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[numbers]\ncount = = 3\n", "line 2, column 9"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = 1\na = 2\n", "line 2"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    """The sentence names the file, and line and column where there are some."""
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    message = refused(config_file=path)
    assert said in message
    assert str(path) in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The sentence names the file and why; what would never end, or never begin, is not read."""
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path, tmp_path / "pipe.toml", Path("/dev/zero")):
        assert f"{path} is no regular file" in refused(config_file=path)
    assert f"{tmp_path / 'absent.toml'} cannot be read: " in refused(config_file=tmp_path / "absent.toml")


def test_a_settings_file_that_cannot_be_used_is_not_passed_over(tmp_path: Path) -> None:
    """A folder of that name, or a link to nothing, is found where the file would be, and refused like a named one."""
    folder, link = tmp_path / "one" / FILE_NAME, tmp_path / "other" / FILE_NAME
    folder.mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to(tmp_path / "absent.toml")
    for path, said in ((folder, "is no regular file"), (link, "cannot be read: No such file or directory")):
        assert find_settings_file(None, workspace=path.parent, environment={}) == path
        with pytest.raises(UsageError) as caught:
            read_settings_file(path)
        assert caught.value.code == "E0212"
        assert f"{path} {said}" in caught.value.message


def test_the_settings_file_is_the_named_one_else_the_workspace_s_else_the_current_folder_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config wins over PIPELINE_CONFIG, that over the two places that are looked at."""
    workspace, here = tmp_path / "workspace", tmp_path / "here"
    for folder in (workspace, here):
        folder.mkdir()
    monkeypatch.chdir(here)

    def find(config: Path | None = None, **environment: str) -> Path | None:
        return find_settings_file(config, workspace=workspace, environment=environment)

    assert find() is None
    toml(here, "")
    assert find() == Path(FILE_NAME)
    toml(workspace, "")
    assert find() == workspace / FILE_NAME
    assert find(PIPELINE_CONFIG="other.toml") == Path("other.toml")
    assert find(Path("given.toml"), PIPELINE_CONFIG="other.toml") == Path("given.toml")


def test_no_file_says_nothing() -> None:
    """Without a file there are no sections, no profiles, no pipeline."""
    file = read_settings_file(None)
    assert (file.pipeline, file.profile, file.sections, file.profiles) == ("", "", {}, {})


@given(st.text())
def test_any_text_is_a_value(text: str) -> None:
    """Reading a value never fails, and gives nothing but what was written on its line."""
    parse_value(text)


@given(key=st.text(max_size=20), value=st.text(max_size=20))
def test_any_assignment_is_either_used_or_refused(key: str, value: str) -> None:
    """No words after --set end in anything but settings or a UsageError."""
    try:
        settle(f"{key}={value}", f"numbers.{key}={value}")
    except UsageError as error:
        assert error.message


def test_the_schema_knows_every_setting() -> None:
    """Each key that `config show` lists is in the JSON Schema, and nothing else may be written."""
    schema = settings_schema(PIPELINE)
    for key in settle().values():
        part = schema
        for name in key.split("."):
            reference = part.get("$ref") or part.get("allOf", [{}])[0].get("$ref")
            part = schema["$defs"][reference.removeprefix("#/$defs/")] if reference else part
            assert part["additionalProperties"] is False
            part = part["properties"][name]
    assert {"pipeline", "profile", "profiles", RUNTIME, "numbers"} <= schema["properties"].keys()
    assert "extends" in schema["properties"]["profiles"]["additionalProperties"]["properties"]


def test_the_schema_tells_bounds_and_lets_values_be_left_out() -> None:
    """Editors complain of what `run` would refuse, and of nothing that a file may leave to a profile."""
    assert settings_schema(PIPELINE)["$defs"]["NumbersConfig"]["properties"]["count"]["minimum"] == 1
    assert "required" not in settings_schema(NEEDY)["$defs"]["NeedyConfig"]


def test_a_value_that_nobody_gave_is_named() -> None:
    """A config may insist on being told."""
    with pytest.raises(UsageError) as caught:
        resolve(NEEDY, profile="small", file=SettingsFile(), environment={}, assignments=["needy.x=1"], flags={})
    assert "needy.name is missing: it must be text; how it is called" in caught.value.message
