"""`pipeline doctor`: whether everything that a run needs is there, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.answer import Answer
from pipeline.config import RuntimeOptions
from pipeline.definition import PipelineDefinition
from pipeline.descriptions import SCHEMA_VERSION
from pipeline.doctor.finding import Finding, State
from pipeline.doctor.installation import examine_packages, examine_python
from pipeline.doctor.machine import examine_clock, examine_cores, examine_shared_memory
from pipeline.doctor.storage import examine_disk_clock, examine_locking, examine_space, examine_speed
from pipeline.errors import PipelineError
from pipeline.options import SettingsOptions
from pipeline.session import Session, find_workspace, open_session
from pipeline.tables import counted, table


def doctor(settings: SettingsOptions) -> Answer:
    """Look at everything; end with 1 where something will not work."""
    findings = list(_findings(settings))
    problems = [each.name for each in findings if each.state is State.PROBLEM]
    worst = max((each.state for each in findings), key=list(State).index)
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": "doctor",
        "state": worst.value,
        "checks": [each.document() for each in findings],
    }
    error = PipelineError(
        f"{counted(len(problems), 'thing')} will not work: {', '.join(problems)}",
        code="E0105",
        hint="do what is advised there, then run `pipeline doctor` again",
    )
    return Answer(document, lambda width: _text(findings, width=width), error if problems else None)


def _findings(settings: SettingsOptions) -> Iterator[Finding]:
    session: Session | None = None
    broken: list[Finding] = []
    try:
        session = open_session(settings)
    except PipelineError as error:
        advice = f"{error.hint or 'correct the settings'} (`pipeline explain {error.code}`)"
        broken.append(
            Finding(
                name="settings", told=error.message, state=State.PROBLEM, advice=advice, figures={"code": error.code}
            )
        )
    yield examine_python()
    yield examine_packages()
    yield examine_cores()
    if session is not None:
        yield from _of_stages(session.definition, session.settings.runtime)
    yield examine_shared_memory()
    yield from _of_disk(find_workspace(settings))
    if session is not None:
        profile = session.settings.profile
        yield Finding(name="settings", told=f"profile {profile} can be used", figures={"profile": profile})
    yield from broken


def _of_stages(definition: PipelineDefinition, runtime: RuntimeOptions) -> Iterable[Finding]:
    return definition.examine(runtime) if definition.examine is not None else ()


def _of_disk(root: Path) -> Iterator[Finding]:
    """Examine the disk on which `root`, which need not be there, is or would be."""
    folder = next(path for path in (root, *root.parents) if path.is_dir())
    yield examine_space(folder)
    ahead = 0.0
    checks: Sequence[tuple[str, Callable[[Path], Finding]]] = (
        ("write speed", examine_speed),
        ("locking", examine_locking),
    )
    for name, examine in checks:
        try:
            yield examine(folder)
        except OSError as error:
            advice = "give a folder that may be written, on a disk with space, with --workspace"
            yield Finding(name=name, told=f"{folder}: {error.strerror}", state=State.PROBLEM, advice=advice)
        else:
            ahead = examine_disk_clock(folder)
    yield examine_clock(disk_ahead=ahead)


def _text(findings: Sequence[Finding], *, width: int) -> str:
    rows: list[tuple[str, str, str]] = []
    for each in findings:
        rows.append((each.name, "PROBLEM" if each.state is State.PROBLEM else each.state.value, each.told))
        if each.advice:
            rows.append(("", "", f"-> {each.advice}"))
    return table(rows, width=width)
