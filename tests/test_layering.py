"""Who may import whom, read from the source; and what the quick commands really load."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_STAGES = ("data_generation", "training", "detection", "evaluation")
_TRACKERS = {"tensorboard", "wandb", "mlflow", "trackio"}
_HEAVY = {"torch", "torchvision", "numpy", "aggdraw", "PIL", "safetensors", "faster_coco_eval", "scipy"} | _TRACKERS
_PAGES = {"jinja2", "markupsafe", "vl_convert", "xml", "starlette", "uvicorn", "anyio"}  # what makes pages
# higher rows may import lower rows, never the other way round
_LAYERS = (
    {"__main__"},
    {"cli"},
    {"completion"},
    {"app"},
    {"completion_values"},
    {"commands"},
    {"trackers", "ui"},
    {"session", "descriptions", "settings_schema", "garbage", "plan_text"},
    {"retention"},
    {"runs"},
    {"inventory"},
    {"orchestrator", "profiles"},
    {"upkeep", "survey"},
    {"execution", "contexts"},
    {"stage_process", "outcomes", "estimate"},
    {"announcement", "observe", "reset", "validation", "code_digest", "graph", "definition"},
    {"workload", "doctor"},
    {"stage", "stat_cache", "report", "holder"},
    {"workspace"},
    {"console", "failures", "answer", "options", "asking", "browser", "explanation", "completion_scripts", "usage"}
    | {"display", "live_console", "canvas", "picture"},
    {"reporting", "complaints", "tables", "environment", "space", "event_reader", "run_view", "diagnosis"},
    {
        "records",
        "leaves",
        "pace",
        "pauses",
        "events",
        "interrupts",
        "stream",
        "processes",
        "fingerprint",
        "sealed",
        "schema",
        "secrets",
        "files",
        "memory",
        "reading",
        "disk",
        "lock",
        "config",
        "errors",
        "decide",
    },
)


def _sources(folder: str) -> list[Path]:
    return sorted((_ROOT / folder).rglob("*.py"))


def _imports(path: Path, *, only_at_import: bool = False) -> set[str]:
    """Return the absolute names that a file imports; optionally without those inside functions."""
    tree = ast.parse(path.read_text())
    inner = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if only_at_import and node in inner:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; absolute names are the house style"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", _sources("pipeline"), ids=lambda path: path.stem)
def test_orchestrator_knows_no_stage_and_no_torch(path: Path) -> None:
    """Nothing in pipeline/ imports stages or any heavy package, not even inside a function; but a tracker its own."""
    top_levels = {name.partition(".")[0] for name in _imports(path)}
    own = {path.stem} & _TRACKERS if path.parent.name == "trackers" else set()
    assert not top_levels & ({"stages"} | _HEAVY - own)
    at_import = {name.partition(".")[0] for name in _imports(path, only_at_import=True)}
    assert not at_import & _TRACKERS


def test_layers_are_kept() -> None:
    """A module or package of the orchestrator imports only from its own layer or a lower one."""
    rank = {module: row for row, modules in enumerate(_LAYERS) for module in modules}
    for path in _sources("pipeline"):
        own = path.relative_to(_ROOT / "pipeline").parts[0].removesuffix(".py")
        assert own in rank or own == "__init__", f"{own} has no layer"
        for name in _imports(path):
            parts = name.split(".")
            imported = parts[1] if parts[0] == "pipeline" and len(parts) > 1 else ""
            if imported in rank and own in rank:
                assert rank[own] <= rank[imported], f"{own} imports {imported}, which stands above it"


@pytest.mark.parametrize("stage", _STAGES)
def test_siblings_do_not_know_each_other(stage: str) -> None:
    """No stage imports another; what they share stands on the shelves."""
    for path in _sources(f"stages/{stage}"):
        for name in _imports(path):
            others = [other for other in _STAGES if other != stage and name.startswith(f"stages.{other}")]
            assert not others, f"{path.relative_to(_ROOT)} imports {name}"
            assert not name.startswith("stages.catalog"), f"{path.relative_to(_ROOT)} imports the catalog"


def test_judging_a_stage_needs_no_torch() -> None:
    """What is imported to build and judge stages imports no heavy package at its top."""
    light = ["stages/catalog.py", "stages/task_config.py"]
    light += [f"stages/{stage}/{name}.py" for stage in _STAGES for name in ("__init__", "config", "stage")]
    for name in light:
        path = _ROOT / name
        if path.exists():
            heavy = {each.partition(".")[0] for each in _imports(path, only_at_import=True)} & _HEAVY
            assert not heavy, f"{name} imports {heavy}"


def _loaded(*arguments: str, workspace: Path) -> set[str]:
    """Run a real command and return the top-level names of all modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", *arguments],
        env={**os.environ, "PIPELINE_WORKSPACE": str(workspace)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan"], ["status"], ["reset", "all", "--yes"], ["gc", "--yes"], ["config", "show"]],
    ids=" ".join,
)
def test_quick_commands_load_little(arguments: list[str], tmp_path: Path) -> None:
    """`--help`, `plan`, `status`, `reset`, `gc` and `config` load neither torch nor anything else that is slow."""
    loaded = _loaded(*arguments, workspace=tmp_path)
    assert "pipeline" in loaded
    assert not loaded & (_HEAVY | _PAGES | {"rich", "asyncio"})


def test_a_run_that_finds_everything_done_loads_little(tmp_path: Path) -> None:
    """A cached `run` loads nothing that works, and nothing that reads the metadata of installed packages."""
    settings = [
        *("--profile", "quick", "--until", "data", "--quiet"),
        *(f"--set=data_generation.{name}=1" for name in ("dataset_size", "validation_size", "test_size")),
    ]
    assert "numpy" in _loaded("run", *settings, workspace=tmp_path)
    loaded = _loaded("run", *settings, workspace=tmp_path)
    assert {"pipeline", "stages", "pydantic"} <= loaded
    useless = {"rich", "asyncio", "multiprocessing", "ctypes", "logging", "email", "zipfile"}
    assert not loaded & (_HEAVY | _PAGES | useless)


def test_help_does_not_load_the_stages(tmp_path: Path) -> None:
    """`pipeline --help` needs no pipeline definition."""
    assert "stages" not in _loaded("--help", workspace=tmp_path)
