"""Completion of command lines: what may come next, and real shells that ask for it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import toy_command_line
from toy_command_line import Call

from pipeline.app import app
from pipeline.completion import FILES, FOLDERS, answer

call = toy_command_line.call

_TESTS = Path(__file__).parent
_PATIENCE_SECONDS = 60.0  # for a shell on a busy machine; one that answers takes a fraction of a second


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the toy pipeline is meant."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_PIPELINE", "toy_pipeline:PIPELINE")
    return tmp_path


def words(line: str, *, of: str = "bash") -> list[str]:
    """Return what a shell is told for a line."""
    return answer(of, line)


def test_commands_are_completed() -> None:
    """All that the help lists, also within a group and behind --debug."""
    names = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    assert names | {each.name for each in app.registered_groups} == set(words("pipeline "))
    assert words("pipeline pla") == ["plan"]
    assert words("pipeline --debug pla") == ["plan"]
    assert words("pipeline config ") == ["show", "schema"]
    assert words("pipeline config sch") == ["schema"]


def test_options_are_completed_that_may_still_be_given() -> None:
    """In either spelling; only --set may be repeated."""
    assert words("pipeline run --prof") == ["--profile", "--professional"]
    assert words("pipeline run --dataset_") == ["--dataset-size", "--dataset-only"]
    assert words("pipeline run --profile quick --prof") == ["--professional"]
    assert "--set" in words("pipeline run --set a.b=1 --")
    assert "--help" in words("pipeline run ")
    assert "--json" in words("pipeline explain E0417 --")
    assert words("pipeline explain E0417 ") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pipeline run --profile ", ["large", "small"]),
        ("pipeline run --profile l", ["large"]),
        ("pipeline plan --until t", ["total"]),
        ("pipeline reset s", ["squares"]),
        ("pipeline reset d", ["data"]),
        ("pipeline reset al", ["all"]),
        ("pipeline run --set numbers.d", ["numbers.draw.low=", "numbers.draw.step="]),
        ("pipeline run --set 'cubes.", ["cubes.mode="]),
        ("pipeline run --device c", ["cpu", "cuda"]),
        ("pipeline run --on-code-change ", ["warn", "rerun"]),
        ("pipeline explain E041", [f"E041{digit}" for digit in range(9)]),
        ("pipeline explain T", ["T0001"]),
        ("pipeline completion ", ["bash", "zsh", "fish"]),
        ("pipeline run --config ", [FILES]),
        ("pipeline import-checkpoint ", [FILES]),
        ("pipeline run --workspace ", [FOLDERS]),
        ("pipeline run --epochs ", []),
    ],
)
def test_values_are_completed(line: str, expected: list[str]) -> None:
    """Stages, profiles, settings, error codes, and whatever has a list of its own; paths are left to the shell."""
    assert words(line) == expected


def test_a_value_behind_an_equals_sign_is_completed_as_the_shell_wants_it() -> None:
    """For bash the word begins behind the last sign."""
    assert words("pipeline run --profile=l") == ["large"]
    assert words("pipeline run --set=cubes.mo") == ["cubes.mode="]
    assert words("pipeline run --set=cubes.mode=") == []
    assert words("pipeline run --set cubes.mode=") == []
    assert words("pipeline run --set=cubes.mo", of="fish")[0].startswith("--set=cubes.mode=")
    assert words("pipeline run --set=cubes.mode=", of="fish") == []
    assert words("pipeline run --profile=l", of="fish") == ["--profile=large\ta profile of the pipeline"]
    assert words("pipeline run --workspace=") == [FOLDERS]


def test_zsh_and_fish_are_told_what_each_word_means() -> None:
    """As each of them takes it apart."""
    meaning = "Tell what `run` would do and why; nothing is touched."
    assert words("pipeline pla", of="zsh") == [f"plan:{meaning}"]
    assert words("pipeline pla", of="fish") == [f"plan\t{meaning}"]


def test_profiles_and_runs_of_the_place_that_the_line_names_are_known(folder: Path) -> None:
    """The settings file of another workspace, or one that is named."""
    (folder / "there").mkdir()
    (folder / "there" / "pipeline.toml").write_text("[profiles.mine]\n")
    (folder / "named.toml").write_text("[profiles.yours]\n")
    assert words("pipeline run --workspace there --profile m") == ["mine"]
    assert words("pipeline run --config=named.toml --profile y") == ["yours"]
    assert words("pipeline run --profile m") == []
    (folder / "there" / "results" / "small-01234567").mkdir(parents=True)
    assert words("pipeline compare --workspace there sm") == ["small-01234567"]
    assert words("pipeline compare --workspace there small-01234567 sm") == ["small-01234567"]


def test_settings_that_cannot_be_read_complete_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself will complain of them."""
    (folder / "pipeline.toml").write_text("[")
    assert words("pipeline run --profile ") == []
    monkeypatch.setenv("PIPELINE_PIPELINE", "absent:PIPELINE")
    assert words("pipeline explain E0417") == ["E0417"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_as_it_is(call: Call, shell: str) -> None:
    """In text, and as one text of the document."""
    told = call("completion", shell)
    assert "pipeline" in told.out
    assert call("completion --json", shell).document["script"] == told.out
    assert "'csh' is not one of" in call("completion csh", code=2).err


class Terminal:
    """A shell at a terminal, at whose prompt a test types."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._said = ""
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.execvpe(command[0], command, environment)  # noqa: S606 - one of three

    def type(self, text: str) -> None:
        """Type `text`."""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows `text`."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while text not in self._said:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} was not shown: {self._said!r}"
            said = os.read(self._terminal, 4096).decode(errors="replace")
            self._said = re.sub(".\b|\a", "", self._said + said)  # a letter that was taken back is not seen, nor a bell
        self._said = self._said.partition(text)[2]

    def close(self) -> None:
        """End the shell."""
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)


_SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='' ; source <(pipeline completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "PS1=''; autoload -U compinit; compinit -u -D; source <(pipeline completion zsh)"),
    "fish": (["fish", "--no-config", "-i"], "function fish_prompt; end; pipeline completion fish | source"),
}


@pytest.fixture(params=_SHELLS)
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    """A shell that was told to complete the program, in a folder that holds one settings file."""
    command, prepare = _SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "pipeline").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline "$@"\n')
    (programs / "pipeline").chmod(0o755)
    (folder / "a_settings_file.toml").write_text("")
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join((str(_TESTS.parent), str(_TESTS))),
        "PIPELINE_PIPELINE": "toy_pipeline:PIPELINE",
        "TERM": "dumb",
        "HOME": str(folder),
        "COLUMNS": "200",
    }
    terminal = Terminal(command, environment)
    # The words are taken apart, so that the echo of what is typed is not taken for what it prints.
    terminal.type(f"{prepare}; echo rea''dy\n")
    terminal.wait_for("ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("pipeline expl", "explain "),
        ("pipeline run --quie", "--quiet "),
        ("pipeline run --profile lar", "large "),
        ("pipeline run --set cubes.mo", "cubes.mode="),
        ("pipeline run --profile=lar", "--profile=large "),
        ("pipeline run --set=cubes.mo", "--set=cubes.mode="),
        ("pipeline explain E090", "E0901 "),
        ("pipeline run --config a_sett", "a_settings_file.toml "),
    ],
    ids=lambda text: text.strip(),
)
def test_a_shell_completes_what_is_typed(shell: Terminal, typed: str, shown: str) -> None:
    """Tab adds the rest of the one word that fits; after an equals sign no space."""
    shell.type(f"{typed}\t")
    shell.type("X")  # shows whether there is a space before it
    shell.wait_for(f"{shown[len(typed.rpartition(' ')[2]) :]}X")


def test_another_tab_adds_nothing_to_a_setting_whose_value_is_to_come(shell: Terminal) -> None:
    """What stands before the value is there once, and the value is typed right behind it."""
    shell.type("pipeline run --set=cubes.mo\t\t\tX")
    shell.wait_for("de=X")


def test_asking_for_completion_loads_little(folder: Path) -> None:
    """What is asked at each press of a key loads nothing that is slow, and no stages for an option."""
    for line, has_stages in ("pipeline run --pro", False), ("pipeline run --profile ", True):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "pipeline", "__complete", "bash", line],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key != "PIPELINE_PIPELINE"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout
        loaded = {each.rpartition("|")[2].strip().partition(".")[0] for each in done.stderr.splitlines()}
        assert not loaded & {"torch", "numpy", "rich", "asyncio", "PIL"}
        assert ("stages" in loaded) == has_stages
