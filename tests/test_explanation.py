"""Every error has a code, every code an explanation, and both say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toy_command_line
from raise_sites import FOLDERS, ROOT, Site, mentioned, sites
from toy_command_line import Call

from pipeline.explanation import GROUPS, Explanation, find_explanations, load_explanation
from pipeline.failures import understand

call = toy_command_line.call

_SITES = tuple(sites())
_FILES = {
    code: path for folder in FOLDERS for code, path in find_explanations([ROOT / folder / "explanations"]).items()
}
_ALL = {code: load_explanation(path) for code, path in _FILES.items()}


@pytest.mark.parametrize("site", [site for site in _SITES if site.code], ids=lambda site: site.place)
def test_every_error_that_is_raised_is_explained(site: Site) -> None:
    """Its code has an explanation beside the code that raises it, and its digits say with which exit code it ends."""
    assert site.code in _ALL, f"{site.place}: write an explanation {site.code}.md"
    assert _ALL[site.code].exit_code == site.kind.exit_code, f"{site.place}: {site.code} is of another kind of error"
    folder = _FILES[site.code].relative_to(ROOT).parts[0]
    assert folder in ("pipeline", site.place.partition("/")[0])


def test_every_explanation_is_of_an_error_that_can_occur() -> None:
    """No code is left over, none is used that is not explained, and none is explained twice."""
    assert mentioned().keys() == _ALL.keys()
    assert not {path.stem for path in ROOT.glob("pipeline/explanations/*")} & {
        path.stem for path in ROOT.glob("stages/explanations/*")
    }


def test_no_error_is_made_without_a_code_of_its_own_but_to_pass_one_on() -> None:
    """The few that take over the code of another error are wrapped around that error."""
    passing_on = [site.place.partition(":")[0] for site in _SITES if not site.code]
    assert passing_on == ["pipeline/records.py", "stages/training/checkpoints.py"]


@pytest.mark.parametrize("explanation", _ALL.values(), ids=lambda explanation: explanation.code)
def test_an_explanation_is_whole_and_its_example_true(explanation: Explanation) -> None:
    """A title, a cause and a remedy in sentences; the example shows a command, and a message as the code words it."""
    assert not explanation.title.endswith(".")
    assert explanation.cause.endswith(".")
    assert explanation.remedy.endswith(".")
    assert "# " not in explanation.cause + explanation.remedy.replace("`# ", "")
    command, shown, *_ = explanation.example.splitlines()
    assert re.match(r"\$ .*\bpipeline ", command)
    assert shown.startswith(f"error[{explanation.code}]: ")
    message = explanation.example.partition("]: ")[2].partition("\nhint: ")[0]
    patterns = [site.message for site in _SITES if site.code == explanation.code]
    if patterns:
        assert any(re.fullmatch(pattern, message, re.DOTALL) for pattern in patterns), f"{message!r}: {patterns}"


def test_an_explanation_tells_cause_example_and_remedy(call: Call) -> None:
    """For people and for programs; short forms of a code will do."""
    told = call("explain E0412").out
    assert told.startswith("E0412: A later version of this program wrote a file (exit code 4)\n\nThe file is whole")
    assert "\n\nExample:\n\n    $ pipeline run\n    error[E0412]: " in told
    assert "\n\nRemedy:\n\nInstall the version" in told
    for word in ("e0412", "412", "0412"):
        assert call("explain", word).out == told
    document = call("explain E0412 --json").document
    assert document.keys() == {
        "schema_version", "command", "code", "title", "exit_code", "cause", "example", "remedy"
    }  # fmt: skip
    assert (document["code"], document["exit_code"]) == ("E0412", 4)


def test_prose_fits_the_terminal_and_examples_stay_as_they_are(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 40 columns only the example may be wider."""
    monkeypatch.setenv("COLUMNS", "40")
    told = call("explain E0412").out
    assert [line for line in told.splitlines() if len(line) > 40 and not line.startswith("    ")] == []
    assert "    " + _ALL["E0412"].example.splitlines()[1] in told.splitlines()
    assert [line for line in call("explain").out.splitlines() if len(line) > 40] == []


def test_all_codes_are_listed_by_what_they_end_with(call: Call) -> None:
    """Those of the pipeline too, each with its title; a heading for each exit code."""
    told = call("explain").out
    assert told.startswith(
        "a stage failed, or will not work (exit code 1)\n  E0101  The inputs of a stage changed while it ran\n"
    )
    for code, explanation in _ALL.items():
        assert f"  {code}  {explanation.title}\n" in told
    for what, exit_code in GROUPS.values():
        assert f"\n\n{what} (exit code {exit_code})\n" in f"\n\n{told}"
    assert "\n\nerrors of this pipeline\n  T0001  A toy stage failed because a test asked for it\n" in told
    assert [each["code"] for each in call("explain --json").document["codes"]] == sorted([*_ALL, "T0001"])


@pytest.mark.parametrize(
    ("word", "near"),
    [("E0471", "E0417"), ("419", "E0418"), ("E0599", "E0601"), ("t0002", "T0001"), ("rubbish", "T0001")],
)
def test_an_unknown_code_names_the_nearest(call: Call, word: str, near: str) -> None:
    """It is a usage error like any other."""
    told = call("explain", word, code=2).err
    assert f"error[E0208]: there is no error code '{word}'; did you mean '{near}'?\n" in told


def test_a_pipeline_explains_its_own_errors(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where it cannot be loaded, all other errors are explained all the same, that one too."""
    assert "T0001: A toy stage failed because a test asked for it\n" in call("explain t0001").out
    monkeypatch.setenv("PIPELINE_PIPELINE", "absent:PIPELINE")
    assert "[E0220]" in call("status", code=2).err
    assert call("explain E0220").out.startswith("E0220: The pipeline cannot be loaded")
    assert call("explain E0460").out.startswith("E0460: The weights do not fit the model")
    assert "E0901" in call("explain").out


def test_what_is_told_of_a_failure_has_the_code_of_its_explanation(tmp_path: Path) -> None:
    """The code of an error of the operating system is as good as one of ours."""
    failure = understand(PermissionError(13, "Permission denied", str(tmp_path)), ["run"])
    assert _ALL[failure.code].title == "A file may not be written or read"
