"""The report of a run that goes on: read on, drawn when due, and in the end the very sections of the report's file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_logs import RUN, killed_and_stopped
from live_page import Author
from test_report_page import STAGES, record_of

from pipeline.events import Kind
from pipeline.fingerprint import digest_json
from pipeline.observe import ground
from pipeline.records import Artifact, StageRecord, Target
from pipeline.report.content import Content, Section
from pipeline.report.verdict import Verdict
from pipeline.ui.live_report import Drawn, LiveReport, reports_in
from pipeline.ui.pages import report_fragments
from pipeline.ui.run_list import ListedRun
from pipeline.ui.studio import Studio
from pipeline.workspace import Workspace

_HASH = "0123456789abcdef" * 2


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio whose process draws nothing but a line, at once."""
    program = tmp_path / "program.py"
    svg = '<svg xmlns=\\"http://www.w3.org/2000/svg\\"><path d=\\"M0 0\\" fill=\\"#000\\"/></svg>'
    answer = f'print(json.dumps(["{svg}"] * len(json.loads(line))), flush=True)'
    note = f'open("{tmp_path / "specs"}", "a").write(line)'
    program.write_text(f"import json, sys\nfor line in sys.stdin: {note}; {answer}\n")
    studio = Studio(program=program)
    yield studio
    studio.close()


def _listed(state: str = "at work", **given: object) -> ListedRun:
    told = {"stages": ("data_generation", "training", "evaluation"), "state": state, "profile": "test"}
    return ListedRun(name=RUN, **(told | given))  # type: ignore[arg-type]


def _titles(drawn: Drawn) -> list[str]:
    return [fragment.title for fragment in drawn.fragments if fragment.title]


def _html(drawn: Drawn) -> str:
    return "".join(fragment.html for fragment in drawn.fragments)


def test_a_log_that_grows_is_read_on_and_gives_what_one_reading_gives(tmp_path: Path, studio: Studio) -> None:
    """Drawn after each line of a run that is killed, stopped and done; in the end as if it had been read at once."""
    log = killed_and_stopped()
    workspace = Workspace.at(tmp_path / "workspace")
    path = workspace.logs / "events.jsonl"
    log.write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    growing = LiveReport(workspace, studio, pause_factor=0)
    for number in range(0, len(lines), 7):
        path.write_bytes(b"".join(lines[:number]) + lines[number][:30])
        growing.draw(_listed(), verdict=None, stamp=number)
    path.write_bytes(b"".join(lines))
    last = growing.draw(_listed("done"), verdict=None, stamp="end")
    assert last.fragments == LiveReport(workspace, studio).draw(_listed("done"), verdict=None, stamp=0).fragments
    assert last.place.offset == len(b"".join(lines))
    assert _titles(last) == ["Stages", "Chunks of training", "Curves of training"]
    for words in ("resume", "killed", "interrupted"):
        assert words in _html(last)


def test_a_section_that_comes_in_the_middle_leaves_the_others_in_their_places(tmp_path: Path, studio: Studio) -> None:
    """Their names are made of their titles: what is open on a page stays open, and links lead where they did."""
    workspace = Workspace.at(tmp_path / "workspace")
    author = Author(workspace.root)
    author.begin(RUN, stages=("training",))
    author.tell(Kind.STAGE_STARTED, "training", action="run")
    author.tell(Kind.METRICS, "training", step=1, loss=1.0)
    report = LiveReport(workspace, studio, pause_factor=0)
    before = report.draw(_listed(stages=("training",)), verdict=None, stamp=0)
    chunk = {"epoch": 0, "chunk": 0, "done": 1, "total": 2, "samples": 9, "skipped": 0, "loss": 1.0}
    author.tell(Kind.CHUNK, "training", **chunk)
    after = report.draw(_listed(stages=("training",)), verdict=None, stamp=1)
    assert [each.id for each in before.fragments] == ["verdict", "part-stages", "part-curves-of-training"]
    ids = ["verdict", "part-stages", "part-chunks-of-training", "part-curves-of-training"]
    assert [each.id for each in after.fragments] == ids
    assert '<section id="part-curves-of-training" aria-labelledby="title-curves-of-training">' in _html(after)


def test_sections_of_the_same_title_have_places_of_their_own() -> None:
    """As those of two stages whose names differ in nothing that an address can tell."""
    verdict = Verdict(mood="plain", text="At work")
    sections = tuple(Section(title=title) for title in ("Curves of a", "curves of A!", "Curves of a 2", "???"))
    found = report_fragments(Content(run=RUN, profile="", verdict=verdict, sections=sections), pictures=(), trouble="")
    names = ["curves-of-a", "curves-of-a-2", "curves-of-a-2-2", "section"]
    assert [each.id for each in found[1:]] == [f"part-{name}" for name in names]


def test_a_log_that_is_replaced_is_read_anew(tmp_path: Path, studio: Studio) -> None:
    """Nothing of the old one is left."""
    workspace = Workspace.at(tmp_path / "workspace")
    killed_and_stopped().write(workspace.logs / "events.jsonl")
    report = LiveReport(workspace, studio, pause_factor=0)
    assert "Curves of training" in _titles(report.draw(_listed(), verdict=None, stamp=0))
    (workspace.logs / "events.jsonl").unlink()
    Author(workspace.root).begin(RUN, stages=("training",))
    assert _titles(report.draw(_listed(), verdict=None, stamp=1)) == ["Stages"]


def test_a_run_that_others_have_done_is_read_through_its_own_events_too(tmp_path: Path, studio: Studio) -> None:
    """Where each stage is up to date its work was told by other runs; the page wants to know that all was read."""
    workspace = Workspace.at(tmp_path / "workspace")
    author = Author(workspace.root)
    author.begin("other-1", stages=("training",))
    author.begin(RUN, stages=("training",))
    end = author.tell(Kind.DECISION, "training", action="skip", reason="UP_TO_DATE", detail="as recorded")
    report = LiveReport(workspace, studio)
    opened = report.draw(_listed(stages=()), verdict=None, stamp=0)
    assert opened.place.offset == end


def test_it_is_drawn_again_when_it_is_due_and_not_before(tmp_path: Path, studio: Studio) -> None:
    """After a pause that grows with what it took; at once when the run ends; never where nothing has changed."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.05
        return now

    workspace = Workspace.at(tmp_path / "workspace")
    author = Author(workspace.root)
    author.begin(RUN, stages=("training",))
    author.tell(Kind.STAGE_STARTED, "training", action="run")
    author.tell(Kind.METRICS, "training", step=1, loss=1.0)
    report = LiveReport(workspace, studio, pause_factor=100, clock=clock)
    report.draw(_listed(), verdict=None, stamp=0)  # starts the process, which does not count
    first = report.draw(_listed(), verdict=None, stamp=1)
    assert first.next_at - now == pytest.approx(100 * 0.05)
    assert report.draw(_listed(), verdict=None, stamp=2) is first
    ended = report.draw(_listed("done"), verdict=None, stamp=3)
    assert ended is not first
    now += 100
    assert report.draw(_listed("done"), verdict=None, stamp=3) is ended
    assert report.draw(_listed("done"), verdict=None, stamp=4) is not ended


def test_while_it_is_at_work_the_verdict_is_that_of_the_page(tmp_path: Path, studio: Studio) -> None:
    """And its target is drawn where validation measures the same figure."""
    workspace = Workspace.at(tmp_path / "workspace")
    killed_and_stopped().write(workspace.logs / "events.jsonl")
    run = _listed(targets=(Target(data_set="d", metric="ap", minimum=0.75, value=None),))
    drawn = LiveReport(workspace, studio).draw(run, verdict=Verdict(mood="plain", text="At work"), stamp=0)
    assert "<h2>At work</h2>" in drawn.fragments[0].html
    assert drawn.fragments[0].id == "verdict"
    assert "target ap" in (tmp_path / "specs").read_text()


def test_names_of_a_log_never_become_paths(tmp_path: Path, studio: Studio) -> None:
    """Stages, hashes and runs are compared with what is there."""
    workspace = Workspace.at(tmp_path / "workspace")
    (workspace.checkpoints / "training").mkdir(parents=True)
    for place in (workspace.root / f"{_HASH}.json", workspace.checkpoints / "training" / f"{_HASH}.json"):
        place.write_text("not a record")
    report = LiveReport(workspace, studio)
    for stage, digest in (("..", _HASH), ("training", "*"), ("training", f"../../{_HASH}"), ("training", _HASH)):
        run = _listed(stages=(stage,), hashes={stage: digest})
        assert _titles(report.draw(run, verdict=None, stamp=(stage, digest))) == ["Stages"]


def _recorded(workspace: Workspace, stage: str, config: str, **given: Any) -> StageRecord:
    """Write the record of a stage, as the run `<config>-1` has made it, and return it."""
    inputs = {name: ground(record, kinds) for name, (record, kinds) in given.pop("inputs", {}).items()}
    digest = digest_json(inputs) if inputs else ""
    known = {"run": f"{config}-1", "config_hash": config * 32, "inputs": inputs, "inputs_digest": digest}
    record = record_of(stage, **(known | {"artifacts": ()} | given))
    workspace.records.save(record)
    return record


def _made(kind: str, digest: str) -> Artifact:
    return Artifact(kind=kind, path=f"results/{kind}", size=1, xxh3=digest * 32)


def test_a_record_is_shown_only_in_the_run_whose_outputs_it_was_made_of(tmp_path: Path, studio: Studio) -> None:
    """An evaluation of another model has the same settings; where the own model is not there, none is shown."""
    workspace = Workspace.at(tmp_path / "workspace")
    Author(workspace.root).begin(RUN, stages=STAGES)
    data = _recorded(workspace, STAGES[0], "a", artifacts=(_made("train", "1"), _made("test", "2")))
    own = _recorded(workspace, STAGES[1], "b", artifacts=(_made("weights", "3"),), inputs={STAGES[0]: (data, ())})
    other = _recorded(workspace, STAGES[1], "c", artifacts=(_made("weights", "4"),), inputs={STAGES[0]: (data, ())})
    run = _listed(stages=STAGES, hashes=dict(zip(STAGES, ("a" * 32, "b" * 32, "e" * 32), strict=True)))

    def evaluation() -> str:
        html = _html(LiveReport(workspace, studio).draw(run, verdict=None, stamp=0))
        row = re.findall(r'<th scope="row"[^>]*>evaluation</th>.*?</tr>', html)[0]
        return re.sub("<[^>]*>", " ", row)

    def evaluated(model: StageRecord, **given: Any) -> None:
        _recorded(workspace, STAGES[2], "e", inputs={STAGES[0]: (data, ("test",)), STAGES[1]: (model, ())}, **given)

    evaluated(other, run="other-1", finished_at="2026-01-02T10:00:00+0000")
    assert "not begun" in evaluation()
    evaluated(own, run="own-1")
    assert "own-1" in evaluation()
    workspace.records.remove(workspace.records.path_of(own))
    assert "not begun" in evaluation()


def test_reports_are_folders_of_the_results_and_no_links(tmp_path: Path) -> None:
    """Neither a linked folder nor a linked file is one."""
    for name in ("good", "empty", "elsewhere"):
        (tmp_path / "results" / name).mkdir(parents=True)
    (tmp_path / "results" / "good" / "report.html").write_text("")
    (tmp_path / "results" / "linked").symlink_to("good")
    (tmp_path / "results" / "elsewhere" / "report.html").symlink_to("../good/report.html")
    assert reports_in(tmp_path / "results") == {"good"}
    assert reports_in(tmp_path / "none") == frozenset()
