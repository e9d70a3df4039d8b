"""The reference of the documentation is that of the code: nothing is missing in it, and nothing is made up."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from generators.commands import all_commands
from generators.pages import complete
from generators.settings import all_settings
from pydantic import BaseModel
from raise_sites import FOLDERS, ROOT

from pipeline import __version__
from pipeline.app import app
from pipeline.decide import Reason
from pipeline.descriptions import AT_WORK, STATES
from pipeline.explanation import load_explanation
from pipeline.profiles import SettingsFile, resolve
from pipeline.records import SCHEMA as RECORD_SCHEMA
from pipeline.records import Artifact, StageRecord
from stages.catalog import PIPELINE
from stages.chunks.manifest import SCHEMA as MANIFEST_SCHEMA
from stages.chunks.manifest import ChunkEntry, Manifest
from stages.evaluation.results import SCHEMA_VERSION as RESULTS_VERSION
from stages.training.checkpoints import SCHEMA as CHECKPOINT_SCHEMA
from stages.training.checkpoints import CheckpointMetadata
from stages.training.progress import SCHEMA as PROGRESS_SCHEMA

_FOLDER = ROOT / "docs" / "reference"


def _page(name: str) -> str:
    return complete((_FOLDER / f"{name}.md").read_text())


def test_every_command_has_a_section_with_all_its_options() -> None:
    """Each word that `--help` shows for a command stands in its section."""
    page = _page("commands")
    root: Any = typer.main.get_command(app)
    names = [
        f"{name} {inner}" if inner else name
        for name, command in root.commands.items()
        for inner in getattr(command, "commands", None) or [""]
    ]
    assert [name for name, _ in all_commands()] == names
    assert re.findall(r"^## `pipeline (.+)`$", page, re.MULTILINE) == names
    for name, command in all_commands():
        section = page.partition(f"## `pipeline {name}`\n")[2].partition("\n## ")[0]
        shown = {option for each in command.params if each.param_type_name == "option" for option in each.opts}
        assert shown
        assert set(re.findall(r"^\| `(--[\w-]+)", section, re.MULTILINE)) == shown | {"--help"}
        assert section.startswith(f"\n```text\npipeline {name} ")


def test_every_case_of_a_decision_is_in_the_table() -> None:
    """Each reason that there is, in the table that is drawn from the code."""
    page = complete((ROOT / "docs" / "explanation" / "how-it-decides.md").read_text())
    rows = re.findall(r"^\| .+ \| .+ \| ([A-Z_]+)\b.* \|$", page, re.MULTILINE)
    assert set(rows) == set(Reason)


def test_every_exit_code_is_in_the_table() -> None:
    """Those of the epilog of the help."""
    assert isinstance(app.info.epilog, str)
    codes = re.findall(r"[:,] (\d+) ", app.info.epilog)
    table = (_FOLDER / "commands.md").read_text().partition("## Exit codes")[2]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == codes


def test_every_state_of_a_stage_is_in_the_table() -> None:
    """Those that `status` tells."""
    table = (_FOLDER / "commands.md").read_text().partition("## States of a stage")[2]
    assert set(re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)) - {"state"} == {*STATES.values(), AT_WORK}


def test_every_setting_has_a_row_with_its_meaning_and_its_default() -> None:
    """All that `config show` knows, and what is inside of lists and of what is off by default."""
    page = _page("settings")
    rows = dict(re.findall(r"^\| `([\w.\[\]]+)` \| (.+) \|$", page, re.MULTILINE))
    known = resolve(PIPELINE, profile="standard", file=SettingsFile(), environment={}, assignments=(), flags={})
    assert set(known.values()) <= set(all_settings())
    nested = {"training.early_stopping.patience", "evaluation.real_data[].path", "evaluation.targets[].minimum"}
    assert nested <= rows.keys()
    for key in all_settings():
        meaning, values, default = re.split(r" \| ", rows[key].replace("\\|", "/"), maxsplit=2)
        assert values, key
        assert default, key
        assert meaning, f"{key} says nothing of itself"


@pytest.mark.parametrize("profile", ["quick", "standard", "professional"])
def test_what_profiles_set_stands_behind_the_default(profile: str) -> None:
    """A value of a profile is shown with its name."""
    found = resolve(PIPELINE, profile=profile, file=SettingsFile(), environment={}, assignments=(), flags={})
    page = _page("settings")
    for key, origin in found.origins.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` "))
        assert (f" {profile}: `" in row) == (origin == f"profile {profile}"), key


def test_every_field_of_every_model_of_settings_is_in_the_reference() -> None:
    """Walked another way than the schema: the fields of the pydantic models."""
    names = {key.rpartition(".")[2].removesuffix("[]") for key in all_settings()}
    tables = {part for key in all_settings() for part in re.split(r"[.\[\]]+", key)}
    for model in _models({*PIPELINE.configs.values(), PIPELINE.runtime}):
        assert model.model_fields.keys() <= names | tables, model


def _models(found: set[type[BaseModel]]) -> set[type[BaseModel]]:
    inner = {
        part
        for model in found
        for field in model.model_fields.values()
        for part in (field.annotation, *getattr(field.annotation, "__args__", ()))
        if isinstance(part, type) and issubclass(part, BaseModel)
    }
    return found if inner <= found else _models(found | inner)


def test_every_error_code_has_a_section_with_all_that_is_told_of_it() -> None:
    """Title, cause, example and remedy of each explanation, under an address by which it can be linked to."""
    page = _page("errors")
    files = [path for folder in FOLDERS for path in (ROOT / folder / "explanations").glob("*.md")]
    assert len(files) > 50
    for explanation in map(load_explanation, files):
        section = page.partition(f"\n({explanation.code.lower()})=\n")[2].partition("\n(e0")[0]
        assert section.startswith(f"\n### {explanation.code}: {explanation.title}")
        for text in (explanation.cause, explanation.example, explanation.remedy):
            assert text in section
    assert page.count(")=\n") == len(files)


@pytest.mark.parametrize("model", [StageRecord, Artifact, Manifest, ChunkEntry, CheckpointMetadata])
def test_every_key_of_a_document_is_described(model: type[BaseModel]) -> None:
    """The table below its name has a row for each, and none for what is not there."""
    assert _keys(model.__name__) == set(model.model_fields)


def test_every_key_of_the_results_is_described() -> None:
    """As they are written."""
    source = (ROOT / "stages" / "evaluation" / "results.py").read_text()
    written = re.findall(r'^        "(\w+)": ', source, re.MULTILINE)
    assert _keys("results") == set(written)


def _keys(name: str) -> set[str]:
    text = (_FOLDER / "files.md").read_text().partition(f"<!-- fields: {name} -->\n")[2].partition("\n\n<")[0]
    table = text.strip().partition("\n\n")[0]
    return {key for line in table.splitlines() for key in re.findall(r"`(\w+)`", line.split("|")[1])}


@pytest.mark.parametrize(
    ("heading", "version"),
    [
        ("Stage record", RECORD_SCHEMA.version),
        ("Manifest", MANIFEST_SCHEMA.version),
        ("Training checkpoint", CHECKPOINT_SCHEMA.version),
        ("Training progress", PROGRESS_SCHEMA.version),
        ("Results", RESULTS_VERSION),
    ],
)
def test_the_version_of_each_format_is_that_of_the_code(heading: str, version: int) -> None:
    """A new one cannot be forgotten."""
    section = (_FOLDER / "files.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert re.search(r"[Vv]ersion of this\s+format: (\d+)", section.replace("\n", " "))[1] == str(version)  # type: ignore[index]


def test_version_and_changelog_agree() -> None:
    """The newest part of the changelog is that of the version that the program and its documentation name."""
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == __version__


def test_a_page_keeps_all_else() -> None:
    """Only a line that is nothing but a mark is replaced."""
    text = "a <!-- generated: errors --> b\n"
    assert complete(text) == text
    assert complete(f"{text}\n<!-- generated: settings -->\nend\n").startswith(f"{text}\n## `data_generation`\n")
