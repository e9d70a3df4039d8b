"""What the documentation names is there: pages, files, commands, options, settings; and its examples are right."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import line_fit
import pytest
import typer
from generators.commands import all_commands
from generators.pages import complete
from generators.settings import all_settings
from raise_sites import ROOT

from pipeline.app import app
from pipeline.definition import PipelineDefinition
from pipeline.profiles import ENVIRONMENT_NAMES, SettingsFile, profile_names, read_settings_file, resolve
from stages.catalog import PIPELINE

_FOLDER = ROOT / "docs"
# Decisions tell of the past: what they name need not be there any more.
_PAGES = {
    path: path.read_text()
    for path in sorted(_FOLDER.rglob("*.md"))
    if path.name != "decisions.md" and "own_pipeline" not in path.parts  # an example to run, which has tests of its own
}
_PIPELINES = {
    _FOLDER / "how-to" / "own-pipeline.md": line_fit.PIPELINE
}  # what the commands of other pages run is built in
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", "2>"})
_RECIPES = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
_OPTIONS = {option for _, command in all_commands() for each in command.params for option in each.opts}

by_page = pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_FOLDER)))


def _prose(page: Path) -> str:
    return _FENCE.sub("", _PAGES[page])


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    yield from (text for language, text in _FENCE.findall(_PAGES[page]) if language in languages)


@by_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a page that is there, and to a heading or an address in it."""
    for target in _LINK.findall(_prose(page)):
        assert not target.startswith("http"), f"{target}: nothing that is needed lies outside"
        file, _, address = target.partition("#")
        assert not file or (page.parent / file).is_file(), target
        if address:
            text = (page.parent / file).read_text() if file else _PAGES[page]
            assert address in _addresses(complete(text)), target


def _addresses(text: str) -> set[str]:
    headings = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings} | set(
        re.findall(r"^\((\S+)\)=$", text, re.MULTILINE)
    )


def test_every_page_is_reached_from_the_first() -> None:
    """By a table of contents."""
    listed = {
        (_FOLDER / f"{name}.md")
        for text in _blocks_of_contents((_FOLDER / "index.md").read_text())
        for name in text.split("\n")
        if name and not name.startswith(":")
    }
    assert listed == {*_PAGES, _FOLDER / "decisions.md"} - {_FOLDER / "index.md"}


def _blocks_of_contents(text: str) -> list[str]:
    return re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@by_page
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """Files of the project, by their path from its root."""
    for word in _INLINE.findall(_prose(page)):
        if re.fullmatch(r"(pipeline|stages|docs|tests|benchmarks)/[\w./-]+|[A-Z]+\.md|Makefile", word):
            assert (ROOT / word).exists(), word


@by_page
def test_shell_examples_name_only_commands_and_options_that_exist(page: Path) -> None:
    """Each line is understood as the program itself understands it; nothing is carried out."""
    for line in _command_lines(page):
        _understand(line, is_whole=True, definition=_PIPELINES.get(page, PIPELINE))


@by_page
def test_prose_names_only_commands_and_options_that_exist(page: Path) -> None:
    """Words in typewriter letters that begin with `pipeline`, `make` or two dashes."""
    for word in _INLINE.findall(_prose(page)):
        if word.startswith("pipeline "):
            _understand(word, is_whole=False)
        elif re.match(r"--[a-z]", word):
            assert word.split()[0] in _OPTIONS | {"--help"}, word
        elif found := re.match(r"make ([a-z-]+)", word):
            assert found[1] in _RECIPES, word


def _command_lines(page: Path) -> Iterator[str]:
    for block in _blocks(page, "console"):
        yield from re.findall(r"^\$ (.+)$", block.replace("\\\n", " "), re.MULTILINE)
    for block in _blocks(page, "bash"):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if not line.startswith("#"))
    for block in _blocks(page, "ini"):
        yield from re.findall(r"^Exec\w+=(.+)$", block, re.MULTILINE)
    for block in _blocks(page, "yaml"):
        yield from (words.replace(",", " ") for words in re.findall(r"command: \[(.+)\]", block))


def _understand(line: str, *, is_whole: bool, definition: PipelineDefinition = PIPELINE) -> None:
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
        assert words[1] in _RECIPES, line
        words = ["pipeline", *words[1:2], *shlex.split(words[2].partition("=")[2])] if len(words) > 2 else []
    places = [place for place, word in enumerate(words) if word == "pipeline" or word.endswith("/bin/pipeline")]
    assert places or "pipeline " not in line, line
    for place in places:
        rest = words[place + 1 :]
        end = next((number for number, word in enumerate(rest) if word in _OPERATORS), len(rest))
        _parse(rest[:end], line, is_whole=is_whole, definition=definition)


def _parse(words: list[str], line: str, *, is_whole: bool, definition: PipelineDefinition) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not words:
            assert not is_whole, line
            return
        assert words[0] in command.commands, f"{line}: there is no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if not is_whole and any(word.isupper() or word == "…" for word in words):
        return  # stands for something
    context = command.make_context("pipeline", list(words), resilient_parsing=not is_whole)
    assigned = context.params.get("assignments") or ()
    if assigned:
        resolve(definition, profile=None, file=SettingsFile(), environment={}, assignments=assigned, flags={})
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert set(options) <= {option for each in command.params for option in each.opts} | {"--help"}, line


@by_page
def test_every_setting_that_is_named_is_one(page: Path) -> None:
    """Dotted keys, or the beginning of some; and variables of the environment."""
    sections = "|".join((*PIPELINE.configs, "runtime"))
    for word in _INLINE.findall(_prose(page)):
        if found := re.match(rf"(({sections})\.[\w.\[\]]+)", word):
            key = found[1]
            assert any(known == key or known.startswith((f"{key}.", f"{key}[]")) for known in all_settings()), word
    for name in re.findall(r"\bPIPELINE_[A-Z_]+", _PAGES[page]):
        key = name.removeprefix("PIPELINE_").lower().replace("__", ".")
        assert name in ENVIRONMENT_NAMES or key in all_settings(), name


@by_page
def test_settings_files_of_examples_can_be_used(page: Path, tmp_path: Path) -> None:
    """Each is a `pipeline.toml` that is right with every profile that it has or that is built in."""
    for number, block in enumerate(_blocks(page, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        own = re.findall(r"^\[profiles\.(\w+)", block, re.MULTILINE)
        for profile in {*own, *profile_names(PIPELINE)}:
            resolve(PIPELINE, profile=profile, file=read_settings_file(path), environment={}, assignments=(), flags={})


@by_page
def test_python_examples_give_what_they_say(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of Python is a doctest of its own."""
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(_blocks(page, "python")):
        test = doctest.DocTestParser().get_doctest(block, {}, f"{page.name} {number}", os.fspath(page), 0)
        assert test.examples
        told: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
        assert told == []
