"""The command line: Typer commands, and the one boundary where exceptions become sentences and exit codes."""

from __future__ import annotations

import errno
import os
import stat
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.models import CommandInfo

from pipeline.answer import Answer
from pipeline.errors import UsageError
from pipeline.failures import understand
from pipeline.options import OutputOptions, RunOptions, SettingsOptions, grouped
from pipeline.secrets import hide, hide_text

# What a command line asks for. Typer understands the words and no more: inside it, Ctrl+C and broken pipes would become
# exits without a sentence.
Work = Callable[[], Answer]

# `pipeline.commands` is imported by each command: `--help` loads nothing but Typer.
app = typer.Typer(
    help="Cached stages, and training that resumes at the exact sample. Kill it, run it again: nothing is redone.",
    epilog="Exit codes: 0 done, 1 a stage failed, 2 usage or settings, 3 targets missed (--require-targets), "
    "4 damaged or newer files (or another environment, --strict-env), 5 another run works here, 6 out of disk or "
    "memory, 75 stopped by SIGTERM, 101 a bug, 130 stopped by Ctrl+C.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    # `--dataset_size` is `--dataset-size`.
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
)
progress_app = typer.Typer(help="How far the stages have come, part by part.", rich_markup_mode=None)
config_app = typer.Typer(help="The settings, where they come from, and what they may be.", rich_markup_mode=None)
app.add_typer(progress_app, name="progress")
app.add_typer(config_app, name="config")

Quiet = Annotated[bool, typer.Option("--quiet", help="Tell no progress; only results and errors.")]
RequireTargets = Annotated[bool, typer.Option("--require-targets", help="Exit with 3 when a target is missed.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Deep = Annotated[bool, typer.Option("--deep", help="Read every byte, whatever the file system says of a file.")]
CheckpointFile = Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint of an older program.")]
What = Annotated[str, typer.Argument(metavar="data|training|evaluation|all", help="A stage, in short or in full.")]


@app.callback()
def pipeline(
    *, debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False
) -> None:
    """Take the options that stand before a command."""


@app.command()
@grouped
def run(
    settings: SettingsOptions,
    options: RunOptions,
    output: OutputOptions,
    *,
    require_targets: RequireTargets = False,
    quiet: Quiet = False,
) -> Work:
    """Bring every stage to its end, doing only what is not done yet."""
    from pipeline import commands

    talk = None if quiet or output.json else sys.stderr
    return partial(commands.run, settings, options, talk=talk, requires_targets=require_targets)


@app.command()
@grouped
def plan(settings: SettingsOptions, options: RunOptions) -> Work:
    """Tell what `run` would do and why; nothing is touched."""
    from pipeline import commands

    return partial(commands.plan, settings, options)


@app.command()
@grouped
def status(settings: SettingsOptions) -> Work:
    """Tell what is done, where it was interrupted, or why it is stale."""
    from pipeline import commands

    return partial(commands.status, settings)


@app.command()
@grouped
def reset(what: What, settings: SettingsOptions, *, yes: Yes = False) -> Work:
    """Remove what stages have made.

    That is everything of these stages in the workspace; with options that name a run, only what that run has made.
    """
    from pipeline import commands

    return partial(commands.reset, settings, what, only_this_run=settings.names_a_run, ask=_asking(is_yes=yes))


@app.command()
@grouped
def validate(settings: SettingsOptions, *, deep: Deep = False) -> Work:
    """Compare every recorded file with what was written."""
    from pipeline import commands

    return partial(commands.validate, settings, is_deep=deep)


@app.command("import-checkpoint")
@grouped
def import_checkpoint(file: CheckpointFile, settings: SettingsOptions) -> Work:
    """Take over a .pt file that torch.save wrote, so that `run` with the same options continues from it.

    Taken are the model (under "model", "model_state_dict" or "state_dict", or the whole file), the optimizer
    ("optimizer", "optimizer_state_dict") and the step ("step", "global_step", "steps", or that of the scheduler). The
    file is read with weights_only=True: nothing in it is ever run, and a file that wants that is refused.
    """
    from pipeline import commands

    return partial(commands.import_checkpoint, settings, file)


@progress_app.command("show")
@grouped
def progress_show(settings: SettingsOptions) -> Work:
    """Tell how far each stage has come, also while another process runs it."""
    from pipeline import commands

    return partial(commands.show_progress, settings)


@progress_app.command("reset")
@grouped
def progress_reset(settings: SettingsOptions, *, yes: Yes = False) -> Work:
    """Discard half-done work, so that its stage starts from zero."""
    from pipeline import commands

    return partial(commands.reset_progress, settings, ask=_asking(is_yes=yes))


@config_app.command("show")
@grouped
def config_show(settings: SettingsOptions) -> Work:
    """Tell every setting with its value and where that comes from."""
    from pipeline import commands

    return partial(commands.show_config, settings)


@config_app.command("schema")
@grouped
def config_schema(settings: SettingsOptions) -> Work:
    """Print the JSON Schema of a settings file, for editors."""
    from pipeline import commands

    return partial(commands.config_schema, settings)


def _app_of(words: Sequence[str]) -> typer.Typer:
    """Return the app with the one command that `words` name: building all of them takes longer than most commands."""
    name = next((word for word in words if word != "--debug"), "")
    asked = copy(app)
    asked.registered_commands = [each for each in app.registered_commands if name == _name_of(each)]
    asked.registered_groups = [each for each in app.registered_groups if name == each.name]
    return asked if asked.registered_commands or asked.registered_groups else app


def _name_of(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line and return its exit code; every exception ends here."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_json, is_debug = "--json" in words, "--debug" in words
    document: Mapping[str, Any] = {}
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    try:
        work: Work | int = _app_of(words)(words or ["--help"], prog_name="pipeline", standalone_mode=False)
        if isinstance(work, int):  # Typer itself has answered, as it does to --help
            return work
        answer = work()
        document = answer.document
        if answer.error is None or not is_json:
            _print(_as_json(document) if is_json else hide_text(answer.text(_width())))
        if answer.error is not None:
            raise answer.error
    except BaseException as error:  # the one place: nothing leaves this program without a sentence and a code
        failure = understand(error, words)
        if is_debug:
            _tell("".join(traceback.format_exception(error)), end="")
        is_told = is_json and _is_printed(_as_json({**document, "error": failure.document()}))
        if not is_told:
            _tell(failure.text())
        return failure.exit_code
    return 0


def _asking(*, is_yes: bool) -> Callable[[Callable[[int], str], str], bool]:
    """Return what asks a person on the terminal; raises UsageError where there is none and --yes was not given."""

    def ask(what: Callable[[int], str], question: str) -> bool:
        from pipeline.tables import text_width

        if is_yes:
            return True
        _tell(what(text_width(sys.stderr)))
        if not sys.stdin.isatty():
            raise UsageError(
                f"nobody can answer, as stdin is no terminal: {question}",
                hint="nothing was touched; add --yes to do it without being asked",
            )
        # Not typer.confirm: with err=True it still writes a space to stdout, which belongs to results.
        _tell(f"{question} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    return ask


def _usable(stream: TextIO | None) -> TextIO:
    """Return `stream` so that nothing written to it can fail for its letters, or nowhere if the process has none."""
    if stream is None:
        return Path(os.devnull).open("w")
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def _print(text: str) -> None:
    """Write a result to stdout; a reader that has read enough, as `head` does, or a closed terminal is no error."""
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        # From a terminal EIO means that it was closed; from a file, that its disk fails.
        is_closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
        if error.errno != errno.EPIPE and not is_closed:
            raise
        # The interpreter flushes once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_printed(text: str) -> bool:
    try:
        _print(text)
    except OSError:  # the disk that stdout goes to is what failed
        return False
    return True


def _tell(text: str, *, end: str = "\n") -> None:
    with suppress(OSError):
        print(hide_text(text), file=sys.stderr, end=end, flush=True)  # noqa: T201


def _width() -> int:
    from pipeline.tables import text_width

    return text_width(sys.stdout)


def _as_json(document: Mapping[str, Any]) -> str:
    from pipeline.reporting import as_json

    # Not the text of it: digits of a number that look like a secret must not break the JSON.
    return as_json(hide(document), indent=2)
