"""Whether Python and the packages are of versions that this program was made for."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from pipeline.doctor.finding import Finding, State

_DISTRIBUTION = "stage-pipeline"
_OLDEST, _NEWEST = (3, 11), (3, 13)  # of pyproject.toml; the tests compare
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*)?")
_BOUND = re.compile(r"(>=|<=|==|!=|>|<|~=)\s*([0-9][0-9.]*)")
_INSTALL = "install it anew (`make run` does, or `pip install --upgrade stage-pipeline`)"

Release = tuple[int, ...]
_HOLDS: dict[str, Callable[[Release, Release], bool]] = {
    ">=": lambda found, bound: found >= bound,
    "<=": lambda found, bound: found <= bound,
    "==": lambda found, bound: found == bound,
    "!=": lambda found, bound: found != bound,
    ">": lambda found, bound: found > bound,
    "<": lambda found, bound: found < bound,
    "~=": lambda found, bound: found >= bound and found[: len(bound) - 1] == bound[:-1],
}


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
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement.strip())
        assert match is not None, f"{requirement!r} is no requirement"
        name, bounds, marker = match[1], match[2].strip(), match[3] or ""
        is_extra = "extra" in marker
        try:
            versions[name] = version_of(name)
        except metadata.PackageNotFoundError:
            if not is_extra:
                wrong.append(f"{name} is missing")
            continue
        if not _is_within(versions[name], bounds):
            (optional if is_extra else wrong).append(f"{name} is {versions[name]}, and must be {bounds}")
    state = State.PROBLEM if wrong else State.ADVICE if optional else State.OK
    told = "; ".join([*wrong, *optional]) or f"all {len(versions)} in the range that is supported"
    advice = _INSTALL if wrong or optional else ""
    return Finding(name="packages", told=told, state=state, advice=advice, figures={"versions": versions})


def _is_within(version: str, bounds: str) -> bool:
    found = _release(version)
    return all(_HOLDS[operator](found, _release(bound)) for operator, bound in _BOUND.findall(bounds))


def _release(version: str) -> Release:
    """Return the numbers of a version, without zeros at its end: 2.0 and 2.0.0 are the same."""
    numbers = [int(number) for number in re.match(r"\d*(?:\.\d+)*", version)[0].split(".") if number]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
