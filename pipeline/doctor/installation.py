"""Whether Python and the packages are of versions that this program was made for."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from pipeline.doctor.finding import Finding, State

_DISTRIBUTION = "stage-pipeline"
_OLDEST, _NEWEST = (3, 11), (3, 13)  # of pyproject.toml; the tests compare
_INSTALL = "install it anew (`make run` does, or `pip install --upgrade stage-pipeline`)"


def examine_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Compare the version of the interpreter with those that are tested."""
    told, figures = f"{platform.python_version()} ({platform.machine()})", {"version": platform.python_version()}
    oldest, newest = (".".join(map(str, each)) for each in (_OLDEST, _NEWEST))
    if version < _OLDEST:
        advice = f"Python {oldest} is the oldest that works; install one from {oldest} to {newest}"
        return Finding(name="python", told=told, state=State.PROBLEM, advice=advice, figures=figures)
    if version > _NEWEST:
        advice = f"tested up to {newest}: with a later one a package may not be ready"
        return Finding(name="python", told=told, state=State.ADVICE, advice=advice, figures=figures)
    return Finding(name="python", told=told, figures=figures)


def examine_packages(
    requirements: Sequence[str] | None = None, *, version_of: Callable[[str], str] = metadata.version
) -> Finding:
    """Compare the installed packages with the range that each must be in; extras may be missing."""
    if requirements is None:
        try:
            requirements = metadata.requires(_DISTRIBUTION) or []
        except metadata.PackageNotFoundError:
            told = f"{_DISTRIBUTION} itself is not installed, so it is not known which versions it needs"
            return Finding(name="packages", told=told, state=State.ADVICE, advice=_INSTALL)
    versions: dict[str, str] = {}
    wrong: list[str] = []
    optional: list[str] = []
    for requirement in map(Requirement, requirements):
        name, bounds = requirement.name, requirement.specifier
        is_extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        try:
            versions[name] = version_of(name)
        except metadata.PackageNotFoundError:
            if not is_extra:
                wrong.append(f"{name} is missing")
            continue
        if not bounds.contains(versions[name], prereleases=True):
            range_ = ",".join(sorted(map(str, bounds), reverse=True))  # lower bounds first
            (optional if is_extra else wrong).append(f"{name} is {versions[name]}, and must be {range_}")
    state = State.PROBLEM if wrong else State.ADVICE if optional else State.OK
    told = "; ".join([*wrong, *optional]) or f"all {len(versions)} in the range that is supported"
    advice = _INSTALL if wrong or optional else ""
    return Finding(name="packages", told=told, state=state, advice=advice, figures={"versions": versions})
