"""What may come next on a command line, as the completion scripts of bash, zsh and fish ask for it."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from typer.core import TyperGroup
from typer.main import get_command

from pipeline.app import app_of
from pipeline.errors import PipelineError

FILES, FOLDERS = ":files", ":folders"  # answers that leave it to the shell


@dataclass(frozen=True)
class Candidate:
    """A word that may come next, and what it means."""

    word: str
    help: str = ""


def answer(shell: str, line: str) -> list[str]:
    """Return the lines that the script of `shell` takes for an unfinished command line, up to the cursor."""
    _, *words, unfinished = _split(line)
    option, equals, _ = unfinished.partition("=")
    before = f"{option}=" if equals and option.startswith("--") else ""
    wanted = unfinished if equals or not unfinished.startswith("--") else unfinished.replace("_", "-")
    # bash takes an equals sign for the end of a word, and wants what comes behind the last one.
    cut = unfinished.rfind("=") + 1 if shell == "bash" else 0
    lines = []
    for each in candidates(words, unfinished):
        if each.word in (FILES, FOLDERS):
            lines.append(each.word)
            continue
        word = f"{before}{each.word}"
        # What is there already would get a space behind it, and after an equals sign a value is to come.
        if word.startswith(wanted) and not (word == wanted and word.endswith("=")):
            lines.append(_line(word[cut:], each.help, shell=shell))
    return lines


def candidates(words: Sequence[str], unfinished: str) -> Iterator[Candidate]:
    """Yield what may stand where `unfinished` begins, behind `words`, whether it begins like that or not."""
    command, rest = _find_command(words)
    option, equals, _ = unfinished.partition("=")
    expecting = _option(command, option if equals else rest[-1] if rest else "")
    if expecting is not None and not expecting.is_flag and (equals or not rest[-1].partition("=")[1]):
        yield from _values(command, expecting, words)
        return
    if isinstance(command, TyperGroup):
        for name, each in command.commands.items():
            yield Candidate(name, each.get_short_help_str(200))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    place = len(_positional(command, rest))
    if place < len(arguments) or (arguments and arguments[-1].nargs == -1):
        yield from _values(command, arguments[min(place, len(arguments) - 1)], words)
    if unfinished.startswith("-") or not (arguments or isinstance(command, TyperGroup)):
        yield from _options(command, given={word.partition("=")[0] for word in rest})


def _find_command(words: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the command that `words` name, which may be a group, and the words behind its name."""
    command: Any = get_command(app_of(words))
    rest = list(words)
    while isinstance(command, TyperGroup):
        name = next((word for word in rest if word in command.commands), None)
        if name is None:
            break
        command, rest = command.commands[name], rest[rest.index(name) + 1 :]
    return command, rest


def _option(command: Any, word: str) -> Any:
    """Return the option of `command` that is called `word`, in either spelling; None if there is none."""
    name = word.replace("_", "-")
    return next((each for each in command.params if name in each.opts and name.startswith("-")), None)


def _options(command: Any, *, given: set[str]) -> Iterator[Candidate]:
    """Yield the options that may still be given."""
    taken = {word.replace("_", "-") for word in given}
    for each in command.params:
        if each.param_type_name == "option" and (each.multiple or not taken.intersection(each.opts)):
            yield Candidate(each.opts[0], each.help or "")
    yield Candidate("--help", "Show what the command takes.")


def _positional(command: Any, rest: Sequence[str]) -> list[str]:
    """Return the words of `rest` that are neither options nor their values."""
    found, is_value = [], False
    for word in rest:
        if not is_value and not word.startswith("-"):
            found.append(word)
        option = None if is_value else _option(command, word)
        is_value = option is not None and not option.is_flag
    return found


def _values(command: Any, parameter: Any, words: Sequence[str]) -> Iterator[Candidate]:
    """Yield what a parameter may be: by its choices, its name, or the word that stands for it in the help."""
    if choices := _choices(command, parameter):
        yield from map(Candidate, choices)
        return
    from pipeline import completion_values

    metavar = (parameter.metavar or "").strip("[].").partition(" ")[0]  # "RUN RUN ..." are runs
    source = completion_values.SOURCES.get(parameter.name) or completion_values.SOURCES.get(metavar)
    if metavar in {"FILE", "DIR"}:
        yield Candidate(FILES if metavar == "FILE" else FOLDERS)
    elif source is not None:
        try:
            yield from (Candidate(*each) for each in source(completion_values.place_in(words)))
        except (PipelineError, OSError):  # settings that cannot be read are for the command itself to complain of
            return


def _choices(command: Any, parameter: Any) -> tuple[str, ...]:
    """Return the words of a Literal that the parameter is declared with; empty where it is something else."""
    annotation = inspect.signature(command.callback).parameters[parameter.name].annotation
    kind = get_args(annotation)[0]  # it is Annotated: options and arguments have their help there
    return get_args(kind) if get_origin(kind) is Literal else ()


def _split(line: str) -> list[str]:
    """Return the words of an unfinished line, the last of them unfinished, maybe empty, maybe within quotes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:  # a quote is still open
        words.append(lexer.token)
        return words
    return words if line and not line[-1].isspace() else [*words, ""]


def _line(word: str, meaning: str, *, shell: str) -> str:
    meaning = " ".join(meaning.split())
    if shell == "zsh":
        word = word.replace(":", "\\:")  # what follows a colon is the meaning
    separator = {"zsh": ":", "fish": "\t"}.get(shell, "")
    return f"{word}{separator}{meaning}" if separator and meaning else word


def main(words: Sequence[str]) -> None:
    """Answer a completion script; whatever goes wrong, the shell completes nothing."""
    shell, line = words
    os.write(1, "".join(f"{each}\n" for each in answer(shell, line)).encode())
