"""Runs side by side: what differs between them, in words, as JSON and as a page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_command_line
import toy_command_line
from tiny_command_line import Command
from toy_command_line import Call

from pipeline.errors import IntegrityError
from pipeline.report.sheet import load_sheet
from pipeline.report.writer import write_comparison
from pipeline.workspace import Workspace

toy, call, finished = toy_command_line.call, tiny_command_line.call, tiny_command_line.finished


@pytest.fixture(scope="module")
def two(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace with two reported runs, of which the second trained with another rate."""
    import sys

    from pipeline.cli import main

    root = tmp_path_factory.mktemp("two") / "workspace"
    shutil.copytree(finished, root, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_PIPELINE", tiny_command_line.SMALL)
        patch.setattr(sys, "path", sys.path.copy())
        words = ["--workspace", str(root)]
        assert main(["report", *words]) == 0
        assert main(["run", "--quiet", "--set", "training.optimizer.lr=0.5", *words]) == 0
        assert main(["report", "--set", "training.optimizer.lr=0.5", *words]) == 0
    return root


def names_of(root: Path) -> list[str]:
    """Return the runs in the order in which they were reported."""
    sheets = sorted(root.glob("results/*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    return [path.parent.name for path in sheets]


def row(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the row of a name."""
    return next(each for each in rows if each["name"] == name)


def test_settings_figures_and_times_are_laid_side_by_side(two: Path, call: Command) -> None:
    """The one setting that differs, every figure of both records with the difference, targets of either run."""
    first, second = names_of(two)
    document = call(two, "compare", first, second).document
    assert document["runs"] == [first, second]
    assert [(each["name"], each["values"][1]) for each in document["settings"]] == [("training.optimizer.lr", "0.5")]
    figures = row(document["metrics"], "training.final.losses.total")
    assert figures["values"][0] != figures["values"][1]
    assert figures["difference"] == pytest.approx(figures["values"][1] - figures["values"][0])
    assert row(document["metrics"], "training.steps")["difference"] == 0
    target = row(document["targets"], "ap on synthetic (at least 0.85)")
    assert target["values"] == row(document["metrics"], "evaluation.synthetic.ap")["values"]
    assert [each["name"] for each in document["seconds"]] == ["data_generation", "training", "evaluation"]


def test_the_page_shows_both_runs(two: Path, call: Command) -> None:
    """Curves over each other, the settings, the commands; it lies beside the report of the first."""
    first, second = names_of(two)
    path = Path(call(two, "compare", first, second).document["path"])
    assert path == two / "results" / first / f"compare-{second}.html"
    text = path.read_text()
    for words in (
        *("Settings that differ", "training.optimizer.lr", "Curves of training", "Validation loss", "Gradient norm"),
        *("Reproduce these runs", f"Line chart of {first}, {second} by step"),
    ):
        assert words in text, words
    assert "<script" not in text
    assert "could not be drawn" not in text


def test_text_is_for_people(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three tables and where the page is."""
    from pipeline.cli import main

    first, second = names_of(two)
    assert main(["compare", first, second, "--workspace", str(two)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("setting                ")
    assert "training.optimizer.lr" in told
    assert "difference" in told
    assert told.rstrip().endswith(".html")


def cells_of(text: str, name: str) -> list[str]:
    """Return the cells behind the name in a row of a page, each with its class."""
    (found,) = re.findall(rf'<tr><th scope="row"[^>]*>{re.escape(name)}</th>(.*?)</tr>', text)
    return [f"{kind.split()[0]} {told}" for kind, told in re.findall(r'<td class="([^"]*)">(.*?)</td>', found)]


def test_what_counts_has_no_decimals_and_a_difference_has_its_sign(two: Path, call: Command) -> None:
    """Epochs are whole though they are kept as a share of mini-epochs; the page shows the sign that the text does."""
    first, second = names_of(two)
    document = call(two, "compare", first, second).document
    text = Path(document["path"]).read_text()
    figures = row(document["metrics"], "training.epochs")
    assert isinstance(figures["values"][0], float)
    assert cells_of(text, "training.epochs") == [f"number {figures['values'][0]:.0f}"] * 2 + ["number +0"]
    loss = row(document["metrics"], "training.best.losses.total")
    assert cells_of(text, "training.best.losses.total") == [
        *(f"number {value:.4f}" for value in loss["values"]),
        f"number {loss['difference']:+.4g}",
    ]


def test_a_part_of_the_name_will_do(two: Path, call: Command) -> None:
    """As long as it begins or ends just one name."""
    first, second = names_of(two)
    assert call(two, "compare", first[-5:], second[:9]).document["runs"] == [first, second]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small", "small"], "may be any of"),
        (["FIRST", "FIRST"], "compare needs two different runs"),
        (["FIRST"], "compare needs two different runs"),
        (["FIRST", "nothing"], "there is no run 'nothing' with a report"),
        (["FIRST", "../results"], "there is no run '../results' with a report"),
    ],
)
def test_what_cannot_be_compared(words: list[str], message: str, two: Path, call: Command) -> None:
    """One run, the same one, one of two, and none: the hint names those that there are."""
    first, _ = names_of(two)
    answered = call(two, "compare", *(word.replace("FIRST", first) for word in words))
    assert answered.code == 2
    assert message in answered.error


def test_a_sheet_that_is_none_is_told(two: Path, call: Command, tmp_path: Path) -> None:
    """Another document in its place is refused; who altered the sheet is told that it was altered."""
    from pipeline.sealed import save_sealed

    root = shutil.copytree(two, tmp_path / "copy", symlinks=True)
    first, second = names_of(root)
    save_sealed(root / "results" / second / "run.json", {"schema_version": 1, "run": "x"})
    answered = call(root, "compare", first, second)
    assert (answered.code, "is no run sheet" in answered.error) == (4, True)
    path = root / "results" / first / "run.json"
    path.write_text(path.read_text().replace("standard", "other").replace("small", "smell"))
    assert "was altered" in call(root, "compare", first, second).error


def test_three_runs_and_none_with_training(toy: Call) -> None:
    """As many runs as you like; of any pipeline."""
    names = []
    for count in (4, 5, 6):
        toy(f"run --set numbers.count={count}")
        names.append(toy(f"report --set numbers.count={count} --json").document["run"])
    document = toy("compare", *names, "--json").document
    assert row(document["settings"], "numbers.count")["values"] == ["4", "5", "6"]
    totals = row(document["targets"], "total on toy (at least 10)")
    assert totals["values"][0] != totals["values"][2]
    assert "difference" not in toy("compare", *names).out
    assert "difference" not in Path(document["path"]).read_text()
    assert "difference" in toy("compare", *names[:2]).out


def test_runs_that_are_the_same(toy: Call) -> None:
    """Two profiles may mean the same settings: that is said, in the text and on the page."""
    same = "--set numbers.count=4 --set numbers.draw.step=0.5 --set runtime.num_workers=1"
    names = [toy(f"report --json --profile {name} {same}").document["run"] for name in ("small", "large")]
    assert toy("compare", *names).out.startswith("the settings are the same\n")
    compared = toy("compare", *names, "--json").document
    assert compared["settings"] == []
    assert "The settings of these runs are the same." in Path(compared["path"]).read_text()


def test_many_runs_are_compared(toy: Call) -> None:
    """However long their names are together: the page has a name that any file system takes, and others another."""
    names = [toy(f"report --json --set numbers.count={count}").document["run"] for count in range(1, 20)]
    first, again, other = (
        Path(toy("compare", *chosen, "--json").document["path"]).name for chosen in (names, names, names[:-1])
    )
    assert first == again != other
    assert first.startswith("compare-18-runs-")


def test_a_damaged_sheet_is_written_again_by_report(toy: Call, tmp_path: Path) -> None:
    """The hint says so, and it is true."""
    names = [toy(f"report --json --set numbers.count={count}").document["run"] for count in (1, 2)]
    for damage in (b"{}", b"\0" * 60):
        path = tmp_path / "results" / names[1] / "run.json"
        path.write_bytes(damage)
        assert "`pipeline report` with the options of that run writes it again" in toy("compare", *names, code=4).err
        toy("report --set numbers.count=2")
        toy("compare", *names)


def test_nothing_is_written_through_a_link_to_nothing(toy: Call, tmp_path: Path) -> None:
    """A disk that is not mounted is told, as by every other command, and no folder made in its place."""
    names = [toy(f"report --json --set numbers.count={count}").document["run"] for count in (1, 2)]
    sheets = [load_sheet(tmp_path / "results" / name / "run.json") for name in names]
    (tmp_path / "results").rename(tmp_path / "gone")
    (tmp_path / "results").symlink_to(tmp_path / "not mounted")
    assert "E0405" in toy("report", code=4).err
    with pytest.raises(IntegrityError, match="which is not there"):
        write_comparison(sheets, workspace=Workspace.at(tmp_path))
    assert not (tmp_path / "not mounted").exists()


@pytest.mark.parametrize("name", ["report.html", "run.json"])
def test_a_folder_in_the_way_is_named(name: str, toy: Call, tmp_path: Path) -> None:
    """Not the temporary that could not take its place."""
    run = toy("report --json").document["run"]
    path = tmp_path / "results" / run / name
    path.unlink()
    path.mkdir()
    ended = toy("report", code=4)
    assert f"error[E0406]: {path} is no regular file" in ended.err
