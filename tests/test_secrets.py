"""Values of environment variables that the settings name as secrets: none of their bytes ever leaves the process."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline import secrets
from pipeline.errors import UsageError
from pipeline.events import Event, Kind, Reporters
from pipeline.sealed import load_sealed, save_sealed

# With all that has a form of its own in Python, JSON, shells and URLs; and with a space, at which text is wrapped.
_SECRET = "k4n4ry/7f3a+\"quoted\"\\ 'größe' of all"  # noqa: S105 - a made-up value that the tests look for

_PIPELINE = '''
"""A pipeline that does with a secret all that a careless stage might."""
import os, pathlib
from pipeline.config import StageConfig
from pipeline.definition import PipelineDefinition
from pipeline.errors import StageFailed
from pipeline.records import Target
from pipeline.stage import Output, StageResult
from pipeline import files

class Nested(StageConfig):
    tokens: tuple[dict[str, str], ...] = ()

class Config(StageConfig):
    label: str = ""
    nested: Nested = Nested()
    fails: bool = False
    count: int = 1

class Careless:
    name, version, inputs, reruns_on_code_change = "careless", 1, {}, False
    def __init__(self, config): self.config = config
    def execute(self, context):
        token = os.environ["CANARY"]
        context.info(f"token {token}")
        context.warn(f"the URL is https://user:{token}@host and {token!r}")
        context.metrics(1, loss=0.5, note=token)
        context.progress(1, 2, "steps", token=token, nested={token: [token, pathlib.Path(token)]})
        if self.config.fails:
            try:
                raise KeyError(token)
            except KeyError as error:
                hint = f"try another than {token!r}"
                raise StageFailed(f"no access with {token}", code="T0001", hint=hint) from error
        path = context.results_folder / "done.txt"
        files.write_bytes(path, b"done")
        target = Target(data_set=token, metric=token, minimum=1.0, value=0.5)
        return StageResult(outputs=[Output("done", path)], metrics={"token": token, token: {"deep": [token]}},
                           targets=[target], warnings=[f"used {token}"])

PIPELINE = PipelineDefinition(configs={"careless": Config}, build=lambda configs: (Careless(configs["careless"]),),
                              profiles=pathlib.Path(__file__).parent / "profiles", default_profile="only")
'''


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Let each test begin and end without secrets."""
    secrets.keep((), {})
    yield
    secrets.keep((), {})


def _forms() -> list[bytes]:
    """Return what must be found nowhere: the value in all the forms it may take, and parts that nothing else has."""
    texts = [_SECRET, repr(_SECRET)[1:-1], json.dumps(_SECRET)[1:-1], quote(_SECRET), quote(_SECRET, safe="")]
    texts += [base64.b64encode(_SECRET.encode()).decode().rstrip("="), "k4n4ry", "größe", "gr\\u00f6", "of all"]
    return [text.encode() for text in texts]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with the careless pipeline; its profile hides the canary."""
    (tmp_path / "careless.py").write_text(_PIPELINE)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "only.toml").write_text("[runtime]\nsecrets = ['CANARY', 'NOT_SET']\n")
    return tmp_path


def _run(project: Path, *words: str, canary: str = _SECRET, columns: int = 0) -> tuple[int, bytes]:
    """Carry out a command line in a process of its own; return its exit code and all that it said."""
    environment = {**os.environ, "CANARY": canary, "PIPELINE_PIPELINE": "careless:PIPELINE", "COLUMNS": str(columns)}
    environment["PIPELINE_WORKSPACE"] = str(project / "workspace")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words], cwd=project, env=environment, capture_output=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _leaks(project: Path, said: bytes) -> list[str]:
    """Return where any form of the canary is: in files, in their names, or in what was said."""
    paths = list((project / "workspace").rglob("*"))
    places = {"streams": said, "names": "\n".join(map(str, paths)).encode()}
    places |= {str(path): path.read_bytes() for path in paths if path.is_file()}
    return [f"{form!r} in {place}" for place, data in places.items() for form in _forms() if form in data]


def test_the_canary_is_in_no_file_and_no_stream(project: Path) -> None:
    """A stage may tell its secret in every way there is: no byte of it is written, and its name stands in its place."""
    settings = [f"careless.label={json.dumps(_SECRET)}", f'careless.nested.tokens=[{{"x" = {json.dumps(_SECRET)}}}]']
    chosen = [word for setting in settings for word in ("--set", setting)]
    said = b""
    for words in (["run"], ["run", "--set", "careless.count=2"], ["status"], ["plan"], ["report"], ["config", "show"]):
        for columns in (0, 40):
            for form in ([], ["--json"]):
                code, told = _run(project, *words, *chosen, *form, columns=columns)
                assert code == 0, told
                said += told
    assert len(list((project / "workspace").glob("results/*/report.html"))) == 2
    record = next((project / "workspace" / "checkpoints" / "careless").glob("*.json")).read_text()
    assert "[secret CANARY]" in record
    assert b"token [secret CANARY]" in said
    assert "[secret CANARY]" in (project / "workspace" / "logs" / "events.jsonl").read_text()
    assert _leaks(project, said) == []


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_failure_tells_no_secret(project: Path, form: list[str]) -> None:
    """The error, its remedy, the traceback of --debug and the log of events name the secret and never say it."""
    code, said = _run(project, "--debug", "run", "--set", "careless.fails=true", *form)
    assert code == 1
    assert b"no access with [secret CANARY]" in said
    assert b"Traceback" in said
    assert _leaks(project, said) == []


def test_a_complaint_about_settings_tells_no_secret(project: Path) -> None:
    """What a wrong setting is told with is hidden before it is cut to fit: half a secret would be seen by nobody."""
    long = f"{_SECRET}{'x' * 60}"
    code, said = _run(project, "run", "--set", f"careless.count={json.dumps(long)}", canary=long)
    assert code == 2
    assert b"[secret CANARY]" in said
    assert _leaks(project, said) == []


def test_a_skip_does_not_mind_that_a_record_hides_a_setting(project: Path) -> None:
    """The identity of a run is that of its true settings, so the second run does nothing."""
    words = ["run", "--set", f"careless.label={json.dumps(_SECRET)}"]
    assert _run(project, *words)[0] == 0
    assert b"UP_TO_DATE" in _run(project, *words)[1]


@pytest.mark.parametrize("name", ["", "A=B", "A B", "1A"])
def test_what_is_no_name_of_a_variable_is_refused(project: Path, name: str) -> None:
    """A slip that would leave a secret unprotected is told: exit 2, naming the setting."""
    code, said = _run(project, "run", "--set", f"runtime.secrets=[{json.dumps(name)}]")
    assert (code, b"runtime.secrets" in said) == (2, True)


def test_a_short_secret_is_refused(project: Path) -> None:
    """Five letters would be found by chance in digests; the command ends with 2 before anything is done."""
    code, said = _run(project, "run", canary="abcde")
    assert code == 2
    assert b"CANARY has fewer than 6" in said
    assert b"abcde" not in said
    assert not (project / "workspace").exists()


def test_what_is_not_set_hides_nothing() -> None:
    """A variable that is absent or empty is no error and changes no text."""
    secrets.keep(["ABSENT", "EMPTY"], {"EMPTY": ""})
    assert secrets.hide({"a": ["text", 1]}) == {"a": ["text", 1]}
    with pytest.raises(UsageError):
        secrets.keep(["SHORT"], {"SHORT": "abc"})


def test_of_two_secrets_the_longer_is_found_first() -> None:
    """A secret that begins with another one does not leave its end behind."""
    secrets.keep(["SHORT", "LONG"], {"SHORT": "abcdef", "LONG": "abcdefghij"})
    assert secrets.hide_text("abcdefghij abcdef") == "[secret LONG] [secret SHORT]"


def test_numbers_and_plain_values_stay_what_they_are(tmp_path: Path) -> None:
    """A secret of digits changes no number: a record with a size of that many bytes must stay readable."""
    secrets.keep(["DIGITS"], {"DIGITS": "123456"})
    save_sealed(tmp_path / "x.json", {"size": 123456, "text": "123456", "none": None, "yes": True})
    expected = {"size": 123456, "text": "[secret DIGITS]", "none": None, "yes": True}
    assert load_sealed(tmp_path / "x.json") == expected


def test_a_document_from_before_it_was_a_secret_stays_readable(tmp_path: Path) -> None:
    """Naming a secret does not make what was sealed earlier count as altered."""
    save_sealed(tmp_path / "x.json", {"text": "abcdefghij"})
    secrets.keep(["LATE"], {"LATE": "abcdefghij"})
    assert load_sealed(tmp_path / "x.json") == {"text": "abcdefghij"}


def test_every_reporter_gets_the_hidden_event() -> None:
    """Hiding happens once, before any reporter."""
    seen: list[Event] = []

    class Keeper:
        def emit(self, event: Event) -> None:
            seen.append(event)

        def close(self) -> None:
            pass

    secrets.keep(["TOKEN"], {"TOKEN": "abcdefghij"})
    Reporters(Keeper(), Keeper()).emit(Event(Kind.INFO, "s", {"text": "abcdefghij", "path": Path("/abcdefghij/x")}))
    assert [event.data for event in seen] == [{"text": "[secret TOKEN]", "path": "/[secret TOKEN]/x"}] * 2
