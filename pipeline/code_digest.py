"""Which code a stage runs: digests of every function in its import closure inside the project.

Comments, docstrings and formatting do not count: the digest is taken over the parsed source. The orchestrator itself
does not count either: it decides when a stage runs, never what it computes.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import StageConfig
from pipeline.errors import UsageError
from pipeline.fingerprint import digest_bytes, digest_json
from pipeline.stage import Stage
from pipeline.stat_cache import StatCache, by_folder

_ORCHESTRATOR = __name__.partition(".")[0]
_OBJECT_NAME = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")  # "module:object", as settings name code


def code_digests(stage: Stage, *, configs: Iterable[StageConfig], cache: StatCache) -> dict[str, str]:
    """Return qualified name -> digest for the code of `stage`.

    The closure starts at the module that defines the stage and at the modules that `configs` (its own and those of
    the stages before it) name as "module:object". Raises UsageError where one of the sources is not Python.
    """
    top = type(stage).__module__
    names = [top, *(name for config in configs for name in _modules_named(config.model_dump(mode="json")))]
    search = _Search(_root_of(top), package=top.partition(".")[0], cache=cache)
    question = {"name": f"code of {stage.name}", "key": digest_json([str(search.root), names])}
    known: dict[str, str] | None = cache.recall(**question, locate=search.root.joinpath)
    if known is not None:
        return known
    digests: dict[str, str] = {}
    for module, path in search.closure(names).items():
        definitions = cache.get(path, "code", _parse)["definitions"]
        digests.update({f"{module}{name}": digest for name, digest in definitions.items()})
    locate = search.root.joinpath
    cache.remember(value=digests, **question, read=by_folder(search.found), absent=search.absent, locate=locate)
    return digests


def changed_code(recorded: Mapping[str, str], current: Mapping[str, str]) -> tuple[str, ...]:
    """Return the qualified names whose code differs, was added or was removed, in order."""
    return tuple(sorted(name for name in recorded.keys() | current.keys() if recorded.get(name) != current.get(name)))


class _Search:
    """Looks for the sources of modules below a folder.

    Attributes:
        found: the sources that are there, relative to `root`.
        absent: those that were looked for and are not; a new one might be what an import means.
    """

    def __init__(self, root: Path, *, package: str, cache: StatCache) -> None:
        self.root = root
        self.found: set[str] = set()
        self.absent: set[str] = set()
        self._cache = cache
        # Beside an installed package lie all others; beside one that is worked on, the rest of its project.
        self._only_package = package if "site-packages" in root.parts else ""
        self._sources: dict[str, Path | None] = {}

    def closure(self, names: Iterable[str]) -> dict[str, Path]:
        """Return the modules `names` and all that they import, as far as they have sources here."""
        seen: dict[str, Path] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            path = None if name in seen else self._source_of(name)
            if path is not None:
                seen[name] = path
                imports = self._cache.get(path, "code", _parse)["imports"]
                waiting += [*_parents(name), *(_absolute(name, path, imported) for imported in imports)]
        return seen

    def _source_of(self, module: str) -> Path | None:
        if module not in self._sources:
            self._sources[module] = self._look_for(module)
        return self._sources[module]

    def _look_for(self, module: str) -> Path | None:
        above, _, _ = module.rpartition(".")
        top = module.partition(".")[0]
        if not module or top == _ORCHESTRATOR or self._only_package not in ("", top):
            return None
        if above and not self._is_package(above):  # most names that are imported from a module are no modules
            return None
        base = module.replace(".", "/")
        candidates = [f"{base}.py", f"{base}/__init__.py"]
        for candidate in candidates:
            if (self.root / candidate).is_file():
                self.found.add(candidate)
                return self.root / candidate
        # Where there is no such folder there is nothing in it either.
        self.absent.update(candidates if (self.root / base).exists() else (candidates[0], base))
        return None

    def _is_package(self, module: str) -> bool:
        source = self._source_of(module)
        if source is None:
            return self.root.joinpath(*module.split(".")).is_dir()
        return source.name == "__init__.py"


def _root_of(module: str) -> Path:
    file = getattr(sys.modules[module], "__file__", None)
    assert file is not None, f"{module} has no source file"
    path = Path(file).resolve()
    depth = module.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def _absolute(module: str, path: Path, imported: str) -> str:
    level = len(imported) - len(imported.lstrip("."))
    if not level:
        return imported
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for _ in range(level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{imported[level:]}".rstrip(".")


def _modules_named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _modules_named(item)
    elif isinstance(value, str) and (match := _OBJECT_NAME.fullmatch(value)):
        yield match[1]


def _parse(path: Path) -> dict[str, Any]:
    """Return {"imports": module names, relative ones with leading dots; "definitions": name -> digest}.

    Raises UsageError where the source is not Python.
    """
    tree = _tree_of(path)
    imports = sorted({name for node in ast.walk(tree) for name in _imported(node)})
    definitions: dict[str, str] = {}
    rest = [node for node in tree.body if not _is_docstring(node)]
    for node in rest[:]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            rest.remove(node)
            for name, part in _named_parts(node):
                definitions[f".{name}"] = digest_bytes(_shape(part).encode())
    if rest:
        definitions[""] = digest_bytes("".join(map(_shape, rest)).encode())
    return {"imports": imports, "definitions": definitions}


def _tree_of(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:  # the latter for null bytes, before Python 3.11.4
        line = getattr(error, "lineno", None)
        where = f" (at line {line})" if line else ""
        raise UsageError(
            f"{path} is not Python: {getattr(error, 'msg', error)}{where}",
            code="E0228",
            hint="correct the file: its code is part of what a stage does, also where it is imported only later",
        ) from error


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        separator = "" if base.endswith(".") else "."
        return [base, *(f"{base}{separator}{alias.name}" for alias in node.names)]
    return []


def _named_parts(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    """Yield a function as one part; a class as its methods, each under its own name, and the rest of it."""
    if not isinstance(node, ast.ClassDef):
        yield node.name, node
        return
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    for method in methods:
        yield f"{node.name}.{method.name}", method
    node.body = [part for part in node.body if part not in methods]
    yield node.name, node


def _shape(node: Any) -> str:
    """Write a syntax tree without positions, docstrings and empty fields, the same in every Python version."""
    if isinstance(node, list):
        return "[" + ",".join(_shape(item) for item in node if not _is_docstring(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return type(node).__name__ + "(" + ",".join(f"{name}={_shape(value)}" for name, value in fields) + ")"


def _is_docstring(node: Any) -> bool:
    # Any bare string statement: it does nothing, wherever it stands.
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
