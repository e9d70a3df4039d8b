"""The commands and their options, as Typer understands them: each becomes the work that `pipeline.cli` carries out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.models import CommandInfo

from pipeline.answer import Answer
from pipeline.asking import asking
from pipeline.completion_scripts import Shell
from pipeline.options import OutputOptions, PlaceOptions, RunOptions, SettingsOptions, WorkspaceFolder, grouped
from pipeline.usage import CommandWithArguments

# What a command line asks for. Typer understands the words and no more: inside it, Ctrl+C and broken pipes would become
# exits without a sentence.
Work = Callable[[], Answer]

# The modules of `pipeline.commands` are imported by their commands: `--help` loads nothing but Typer.
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
Watch = Annotated[
    bool, typer.Option("--watch", help="Show the run that works here until it ends, or Ctrl+C: the run goes on.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Deep = Annotated[bool, typer.Option("--deep", help="Read every byte, whatever the file system says of a file.")]
Keep = Annotated[
    int | None, typer.Option("--keep", metavar="N", min=1, help="Keep the N runs that were last started, no others.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would go; touch nothing.")]
Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]
Port = Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; else any that is free.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Take the token from this file, so that it stays the same."),
]
Runs = Annotated[list[str], typer.Argument(metavar="RUN RUN ...", help="Runs that have a report.")]
CheckpointFile = Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint of an older program.")]
ErrorCode = Annotated[str | None, typer.Argument(metavar="CODE", help="An error code, such as E0417.")]
ShellName = Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell.")]
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
    line: typer.Context,
    *,
    require_targets: RequireTargets = False,
    quiet: Quiet = False,
) -> Work:
    """Bring every stage to its end, doing only what is not done yet."""
    from pipeline.commands import run

    talk = None if quiet or output.json else sys.stderr
    command = ("pipeline", *(line.obj or ()))
    return partial(run.run, settings, options, talk=talk, requires_targets=require_targets, command=command)


@app.command()
@grouped
def plan(settings: SettingsOptions, options: RunOptions) -> Work:
    """Tell what `run` would do and why; nothing is touched."""
    from pipeline.commands import look

    return partial(look.plan, settings, options)


@app.command()
@grouped
def status(settings: SettingsOptions, output: OutputOptions, *, watch: Watch = False) -> Work:
    """Tell what is done or at work, where it was interrupted, or why it is stale."""
    if not watch:
        from pipeline.commands import look

        return partial(look.status, settings)
    from pipeline.commands import watch as watching

    return partial(watching.watch, settings, stream=None if output.json else sys.stdout)


@app.command(cls=CommandWithArguments)
@grouped
def reset(what: What, settings: SettingsOptions, *, yes: Yes = False) -> Work:
    """Remove what stages have made.

    That is everything of these stages in the workspace; with options that name a run, only what that run has made.
    """
    from pipeline.commands import remove

    return partial(remove.reset, settings, what, only_this_run=settings.names_a_run, ask=asking(is_yes=yes))


@app.command()
@grouped
def gc(place: PlaceOptions, *, keep: Keep = None, dry_run: DryRun = False, yes: Yes = False) -> Work:
    """Remove what nobody needs: of data sets, checkpoints, results and logs what no record refers to.

    Half-done work that can be continued stays. With --keep all that belongs to older runs goes too, but never what a
    run that is kept shares with them.
    """
    from pipeline.commands import collect

    return partial(collect.collect, place, keep=keep, ask=None if dry_run else asking(is_yes=yes))


@app.command()
@grouped
def validate(settings: SettingsOptions, *, deep: Deep = False) -> Work:
    """Compare every recorded file with what was written."""
    from pipeline.commands import look

    return partial(look.validate, settings, is_deep=deep)


@app.command()
@grouped
def report(settings: SettingsOptions, *, opens: Open = False) -> Work:
    """Write what a run came to as one HTML file, results/<run>/report.html; `run` does so at its end."""
    from pipeline.browser import show_file
    from pipeline.commands import report

    return partial(report.report, settings, show=show_file if opens else None)


@app.command(cls=CommandWithArguments)
@grouped
def compare(runs: Runs, *, workspace: WorkspaceFolder = None, opens: Open = False) -> Work:
    """Lay runs side by side: settings that differ, figures, curves; also as a page beside the first one's report.

    RUN is the name of a folder in results/, or as much of it as tells it from the others.
    """
    from pipeline.browser import show_file
    from pipeline.commands import compare

    return partial(compare.compare, runs, workspace=workspace, show=show_file if opens else None)


@app.command()
@grouped
def ui(settings: SettingsOptions, *, port: Port = 0, token_file: TokenFile = None, opens: Open = False) -> Work:
    """Show runs and records in a browser, live, until Ctrl+C; prints the address, which only this machine can reach.

    Decisions about stages are those of `plan` with the same options. It only reads, at a low priority.
    """
    from pipeline.browser import show_file
    from pipeline.commands import ui

    return partial(ui.ui, settings, port=port, token_file=token_file, show=show_file if opens else None)


@app.command("import-checkpoint", cls=CommandWithArguments)
@grouped
def import_checkpoint(file: CheckpointFile, settings: SettingsOptions) -> Work:
    """Take over a .pt file that torch.save wrote, so that `run` with the same options continues from it.

    Taken are the model (under "model", "model_state_dict" or "state_dict", or the whole file), the optimizer
    ("optimizer", "optimizer_state_dict") and the step ("step", "global_step", "steps", or that of the scheduler). The
    file is read with weights_only=True: nothing in it is ever run, and a file that wants that is refused.
    """
    from pipeline.commands import import_checkpoint

    return partial(import_checkpoint.import_checkpoint, settings, file)


@app.command()
@grouped
def doctor(settings: SettingsOptions) -> Work:
    """Tell whether everything that a run needs is there and works, with advice; ends with 1 where something is not.

    Python, packages, torch, GPU, cores, shared memory; and of the workspace free space, write speed and locking, for
    which a small file is written and removed.
    """
    from pipeline.commands import doctor

    return partial(doctor.doctor, settings)


@app.command(cls=CommandWithArguments)
@grouped
def explain(place: PlaceOptions, *, code: ErrorCode = None) -> Work:
    """Tell what an error code means: its cause, an example, and the remedy; without one, list them all."""
    from pipeline.commands import explain

    return partial(explain.explain, code, place)


@app.command(cls=CommandWithArguments)
@grouped
def completion(shell: ShellName) -> Work:
    """Print the script that lets a shell complete commands, options, stages, profiles, settings and error codes.

    For the shell in which you are: source <(pipeline completion bash), the same with zsh, or pipeline completion fish |
    source. The first lines of the script say where it goes for all of them.
    """
    from pipeline.commands import completion

    return partial(completion.completion, shell)


@progress_app.command("show")
@grouped
def progress_show(settings: SettingsOptions) -> Work:
    """Tell how far each stage has come, also while another process runs it."""
    from pipeline.commands import look

    return partial(look.show_progress, settings)


@progress_app.command("reset")
@grouped
def progress_reset(settings: SettingsOptions, *, yes: Yes = False) -> Work:
    """Discard half-done work, so that its stage starts from zero."""
    from pipeline.commands import remove

    return partial(remove.reset_progress, settings, ask=asking(is_yes=yes))


@config_app.command("show")
@grouped
def config_show(settings: SettingsOptions) -> Work:
    """Tell every setting with its value and where that comes from."""
    from pipeline.commands import configuration

    return partial(configuration.show_config, settings)


@config_app.command("schema")
@grouped
def config_schema(settings: SettingsOptions) -> Work:
    """Print the JSON Schema of a settings file, for editors."""
    from pipeline.commands import configuration

    return partial(configuration.config_schema, settings)


def app_of(words: Sequence[str]) -> typer.Typer:
    """Return the app with the one command that `words` name: building all of them takes longer than most commands."""
    name = next((word for word in words if word != "--debug"), "")
    asked = copy(app)
    asked.registered_commands = [each for each in app.registered_commands if name == _name_of(each)]
    asked.registered_groups = [each for each in app.registered_groups if name == each.name]
    return asked if asked.registered_commands or asked.registered_groups else app


def _name_of(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))
