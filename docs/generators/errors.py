"""The reference of error codes, drawn from the files that `pipeline explain` shows."""

from __future__ import annotations

from pipeline.definition import load_definition
from pipeline.explanation import GROUPS, OWN_FOLDER, Explanation, find_explanations, load_explanation
from pipeline.profiles import BUILT_IN_PIPELINE


def errors() -> str:
    """Return a section for each kind of error, and in it one for each code."""
    parts = []
    for digits, (what, exit_code) in GROUPS.items():
        parts.append(f"## {what[0].upper()}{what[1:]} (exit code {exit_code})")
        parts += [_section(each, usual=exit_code) for each in explanations() if each.code.startswith(digits)]
    return "\n\n".join(parts)


def explanations() -> list[Explanation]:
    """Return all that the orchestrator and the built-in pipeline can raise, by code."""
    own = load_definition(BUILT_IN_PIPELINE).explanations
    found = find_explanations([OWN_FOLDER, *([own] if own else [])])
    return [load_explanation(path) for path in found.values()]


def _section(explanation: Explanation, *, usual: int) -> str:
    other = "" if explanation.exit_code == usual else f" (exit code {explanation.exit_code})"
    return "\n\n".join(
        [
            f"({explanation.code.lower()})=",
            f"### {explanation.code}: {explanation.title}{other}",
            explanation.cause,
            f"```console\n{explanation.example}\n```",
            f"**Remedy.** {explanation.remedy}",
        ]
    )
