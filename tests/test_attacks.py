"""Settings, links and records as attacks: refused by name, and nothing outside the workspace is made or changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_command_line
from tiny_command_line import Command, newest_checkpoint

from pipeline.cli import main
from pipeline.definition import load_definition
from pipeline.errors import IntegrityError, UsageError
from pipeline.sealed import load_sealed, save_sealed
from pipeline.workspace import Workspace
from stages.task import build_task

finished = tiny_command_line.finished
call = tiny_command_line.call


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Give a folder beside the workspace with precious files, and make sure that it stays as it is."""
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "here").mkdir(exist_ok=True)
    (folder / "precious").write_text("precious")
    (folder / "inner" / "model.safetensors").write_text("precious too")
    before = _everything(tmp_path)
    yield folder
    assert _everything(tmp_path) == before


def _everything(tmp_path: Path) -> dict[str, tuple[int, bytes]]:
    """Return all that lies beside the workspace, with modes and contents."""
    found = {}
    for path in sorted(tmp_path.rglob("*")):
        name = str(path.relative_to(tmp_path))
        if not name.startswith("workspace"):
            found[name] = (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
    return found


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a workspace that is not there yet; the current folder is another empty one."""
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "workspace"


_NAMES = [
    "../outside",
    "../../etc",
    "/etc/passwd",
    "a/b",
    "a\0b",
    "n" * 300,
    "..",
    "",
    ".hidden",
    "a\nb",
    "$(id)",
    "\u202e",
]


@pytest.mark.parametrize("name", _NAMES, ids=repr)
@pytest.mark.usefixtures("outside")
def test_names_that_become_paths_are_words(name: str, workspace: Path, call: Command) -> None:
    """A name of a data set that is no plain word ends with 2 and names the setting; nothing is made."""
    answered = call(workspace, "run", "--set", f"data_generation.name={json.dumps(name)}")
    assert answered.code == 2
    assert "data_generation.name" in answered.error
    assert not workspace.exists()


@pytest.mark.parametrize("name", _NAMES, ids=repr)
@pytest.mark.usefixtures("outside")
def test_profiles_are_words(name: str, workspace: Path, call: Command) -> None:
    """A profile is looked for by name, never as a path: anything else ends with 2."""
    answered = call(workspace, "run", "--profile", name, "--set", "training.epochs=1")
    if not name:  # an empty one counts as not given
        return
    assert answered.code == 2
    assert "profile" in answered.error
    assert not workspace.exists()


@pytest.mark.parametrize("name", ["../out", "/out", "a/b", "n" * 300, "a\\u0000b", "..", ""])
@pytest.mark.usefixtures("outside")
def test_own_profiles_cannot_have_such_names(name: str, workspace: Path, call: Command) -> None:
    """A profile of a settings file names log files and results: one that is no word ends with 2."""
    workspace.mkdir()
    (workspace / "pipeline.toml").write_text(f'profile = "{name or "x"}"\n[profiles."{name}".training]\nepochs = 1\n')
    answered = call(workspace, "run")
    assert answered.code == 2
    assert "profile" in answered.error
    assert [path.name for path in workspace.iterdir()] == ["pipeline.toml"]


_NUMBERS = [
    ("data_generation.dataset_size", "1000000000"),
    ("data_generation.dataset_size", str(10**400)),
    ("data_generation.dataset_size", "-1"),
    ("data_generation.dataset_size", "1e9"),
    ("data_generation.image_size", "1048576"),
    ("data_generation.chunk_size", "1000000000"),
    ("data_generation.seed", str(2**64)),
    ("training.epochs", "1000000000"),
    ("training.batch_size", str(10**30)),
    ("training.optimizer.lr", "1e999"),
    ("training.optimizer.lr", "nan"),
    ("training.mini_epoch_chunks", "-1"),
    ("training.mini_epoch_chunks", str(10**30)),
    ("runtime.num_workers", "1000000000"),
    ("runtime.keep_checkpoints", str(10**30)),
    ("runtime.checkpoint_interval_steps", str(10**400)),
    ("runtime.log_interval_seconds", "inf"),
    ("evaluation.batch_size", str(10**30)),
]


@pytest.mark.parametrize(("key", "value"), _NUMBERS)
@pytest.mark.usefixtures("outside")
def test_numbers_beyond_reason_are_refused(key: str, value: str, workspace: Path, call: Command) -> None:
    """A billion images, workers or epochs, and numbers that nothing holds, end with 2 and name the setting."""
    answered = call(workspace, "plan", "--set", f"{key}={value}")
    assert answered.code == 2, answered.document
    assert key in answered.error
    assert not workspace.exists()


@pytest.mark.usefixtures("outside")
def test_a_data_set_that_cannot_fit_is_refused_with_its_size(workspace: Path, call: Command) -> None:
    """Ten million images of 1024 pixels are allowed and do not fit: 6, with bytes needed and free, before any work."""
    sizes = {"dataset_size": 10_000_000, "image_size": 1024, "chunk_size": 500}
    words = [word for name, value in sizes.items() for word in ("--set", f"data_generation.{name}={value}")]
    answered = call(workspace, "run", *words)
    assert answered.code == 6
    assert "needs 10496" in answered.error
    assert "free" in answered.error
    assert not list(workspace.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--config", "/proc/self/mem"), "/proc/self/mem"),
        (("--config", "absent.toml"), "absent.toml"),
        (("--config", "n" * 300), "nnn"),
        (("--set", "../../x=1"), "../../x"),
        (("--set", "training.__class__=1"), "__class__"),
        (("--set", "a" * 100_000), "no assignment"),
        (("--set", "=1"), "no assignment"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_files_and_keys_of_the_command_line(words: tuple[str, ...], told: str, workspace: Path, call: Command) -> None:
    """A settings file that is none, or a key that is no setting, ends with 2 and is named."""
    answered = call(workspace, "plan", *words)
    assert answered.code == 2, answered.document
    assert told in answered.error


@pytest.mark.parametrize("place", ["n" * 300, "a\0b", "/proc/self/nowhere", "/dev/null/x", "outside/precious"])
@pytest.mark.usefixtures("outside")
def test_workspaces_that_cannot_be_end_with_a_sentence(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Command
) -> None:
    """A workspace that cannot be made is named; the program does not end as on a bug of its own."""
    monkeypatch.chdir(tmp_path)
    answered = call(Path(place), "run")
    assert answered.code in (2, 4, 6), answered.document
    assert "internal error" not in answered.error


@pytest.mark.parametrize(
    "name", ["PIPELINE_CONFIG", "PIPELINE_WORKSPACE", "PIPELINE_PROFILE", "PIPELINE_TRAINING__EPOCHS"]
)
@pytest.mark.parametrize("value", ["n" * 300, "../../nowhere\n", "/proc/self/mem"])
@pytest.mark.usefixtures("outside", "call")
def test_the_environment_is_no_way_around(
    name: str, value: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment names is held to the same rules as the command line."""
    monkeypatch.setenv(name, value)
    code = main(
        ["plan", "--json"] if name == "PIPELINE_WORKSPACE" else ["plan", "--workspace", str(workspace), "--json"]
    )
    assert code in ((0, 2, 6) if name == "PIPELINE_WORKSPACE" else (2,))


# What is replaced by a link to the folder or file outside, and the exit codes that are right for the next run.
_LINKS = {
    "datasets/bongard-*": {4},
    "datasets/*/7-2-3": {0, 4},
    "results/small-*": {4},
    "checkpoints/training/*-????????": {0, 4},
    "checkpoints/training": {4},
    "logs/events.jsonl": {0},
    "logs/small_training.log": {0},
    "checkpoints/training/*.json": {0, 4},
    "datasets/*/consolidated_00000.safetensors": {0, 4},
    "results/*/model.safetensors": {0, 4},
    "checkpoints/.stat_cache": {0, 4},
    "checkpoints/training/*/training_progress.json": {0, 4},
}


@pytest.mark.parametrize("is_empty", [False, True], ids=["replaced", "placed"])
@pytest.mark.parametrize("pattern", _LINKS)
def test_links_out_of_the_workspace_are_not_written_through(
    pattern: str, is_empty: bool, finished: Path, workspace: Path, outside: Path, call: Command
) -> None:
    """A link that was put where we write leads nowhere: the run does without it, or ends with 4 and names it."""
    shutil.copytree(finished, workspace)
    place = min(workspace.glob(pattern))
    is_folder = place.is_dir()
    if is_folder:
        shutil.rmtree(place)
    else:
        place.unlink()
    if is_empty:  # and nothing is finished, so that all of it would be written
        for record in workspace.glob("checkpoints/*/*.json"):
            record.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(outside if is_folder else outside / "precious")
    answered = call(workspace, "run", "--force-all" if is_empty else "--quiet")
    assert answered.code in _LINKS[pattern], answered.document
    if answered.code:
        assert place.name in answered.error


def test_a_link_for_a_lock_is_not_written_through(workspace: Path, outside: Path, call: Command) -> None:
    """The lock and the lease of a workspace are files of its own."""
    for name in (".pipeline.lock", ".pipeline.lock.json"):
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.mkdir()
        (workspace / name).symlink_to(outside / "precious")
        call(workspace, "run", "--until", "data")


_PATHS = [
    "../outside/precious",
    "/etc/passwd",
    "results/../../outside/precious",
    "datasets/\0",
    "n" * 300,
    "results/link",
]


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("command_line", [("run",), ("reset", "all", "--yes"), ("validate", "--deep"), ("status",)])
def test_paths_of_a_forged_record_lead_nowhere(
    path: str, command_line: tuple[str, ...], finished: Path, workspace: Path, outside: Path, call: Command
) -> None:
    """A record with a right seal whose artifact lies elsewhere is not believed, followed or removed."""
    shutil.copytree(finished, workspace)
    (workspace / "results" / "link").symlink_to(outside / "precious")
    record = next(workspace.glob("checkpoints/training/*.json"))
    document = load_sealed(record)
    weights = outside / "precious"
    document["artifacts"][0] |= {"path": path, "size": weights.stat().st_size}
    save_sealed(record, document)
    answered = call(workspace, *command_line)
    assert answered.code in (0, 4), answered.document
    assert answered.code == (4 if command_line[0] == "validate" else 0)


@pytest.mark.parametrize("file", ["../../../outside/precious", "/etc/passwd", "../..", "a/b", "..", "a\0", "n" * 300])
def test_files_of_a_forged_manifest_lead_nowhere(file: str, finished: Path, tmp_path: Path) -> None:
    """A manifest with a right seal may name files beside it and beside its folder, and no others."""
    from stages.chunks.damage import find_damage
    from stages.chunks.manifest import chunk_path, load_manifest

    manifest = shutil.copy2(next(finished.glob("datasets/*/*/manifest.json")), tmp_path / "manifest.json")
    document = load_sealed(Path(manifest))
    document["chunks"][0]["file"] = file
    save_sealed(Path(manifest), document)
    if len(file) == 300:  # a plain word, if a long one: there is no such file
        entry = load_manifest(Path(manifest)).chunks[0]
        found = find_damage(chunk_path(Path(manifest), entry), entry)
        assert found is not None
        return
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        load_manifest(Path(manifest))


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", "a\0b"])
@pytest.mark.usefixtures("outside")
def test_files_of_a_forged_checkpoint_lead_nowhere(name: str, finished: Path, workspace: Path, call: Command) -> None:
    """Metadata of a checkpoint with a right seal may name files of its own folder, and no others."""
    shutil.copytree(finished, workspace)
    next(workspace.glob("checkpoints/training/*.json")).unlink()
    metadata = newest_checkpoint(workspace) / "checkpoint_metadata.json"
    document = load_sealed(metadata)
    document["files"][name] = {"size": 8, "xxh3": "0" * 32}
    save_sealed(metadata, document)
    assert call(workspace, "run").code == 0
    assert "is no training checkpoint" in (workspace / "logs" / "events.jsonl").read_text()


def test_the_four_folders_may_be_links(tmp_path: Path, call: Command) -> None:
    """Checkpoints, data sets, results and logs may lie on other disks: links that their owner made are followed."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for name in ("checkpoints", "datasets", "results", "logs"):
        (tmp_path / f"big disk {name}").mkdir()
        (workspace / name).symlink_to(tmp_path / f"big disk {name}")
    assert call(workspace, "run").code == 0
    assert list((tmp_path / "big disk results").glob("*/model.safetensors"))
    assert call(workspace, "run").actions == ["skip", "skip", "skip"]


def test_a_workspace_says_where_a_path_lies(tmp_path: Path) -> None:
    """No spelling of a path gets out of the workspace: each is refused with its own words."""
    workspace = Workspace.at(tmp_path / "workspace")
    for path in ("..", "../x", "a/../../x", "/x", "results/../../x", "a\0b"):
        with pytest.raises(IntegrityError, match="leads out of the workspace"):
            workspace.resolve(path)
    assert workspace.resolve("results/./x") == Path(os.path.realpath(tmp_path)) / "workspace" / "results" / "x"


def test_a_pipeline_that_is_not_python_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an edit in the module of one's own is no bug of this program."""
    (tmp_path / "half_an_edit.py").write_text("PIPELINE = (\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be loaded: .*half_an_edit\.py, line 1"):
        load_definition("half_an_edit:PIPELINE")


@pytest.mark.parametrize("name", ["../x:y", "/x:y", ".x:y", ":", "x:", "os:..", "a\0b:c", "n" * 300 + ":y"])
def test_names_of_code_are_imported_or_refused(name: str) -> None:
    """What settings name as a pipeline or a task is looked for as a module, never as a path."""
    with pytest.raises(UsageError, match="cannot be loaded"):
        load_definition(name)
    with pytest.raises(UsageError, match="cannot be loaded"):
        build_task({"builder": name}, {})
