"""The rooms of the package hold: imports go one way, heavy ones wait, the public names are these."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_ckpt_compat

PACKAGE = Path(pytest_ckpt_compat.__file__).parent
NAME = "pytest_ckpt_compat"

#: In the order of the flow: a room imports only those above it, and itself.
ROOMS = (
    "_core",
    "_readers",
    "_renames",
    "_registry",
    "_migrate",
    "_definition",
    "_snapshots",
    "_report",
    "_check",
    "_convert",
    "_premerge",
    "_history",
    "_pytest_plugin",
    "_cli",
    "__init__",
)

#: The same within a room that has folders of its own.
INNER = {
    "_report": ("html",),
    "_readers": ("source", "pickle", "state_dict", "formats"),
    "_renames": ("units", "match", "believe", "explain"),
}

HEAVY = ("torch", "numpy", "scipy", "safetensors", "rich", "onnx", "fsspec", "huggingface_hub", "jinja2")

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a file's module, without the package's own; ``__init__`` for the top."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in FILES}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, as a dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                submodule = whole.removeprefix(f"{NAME}.") in MODULES
                yield whole if submodule or node.module == NAME else node.module or ""


def strings(tree: ast.AST) -> Iterator[str]:
    """Every text but docstrings: one may hold the name of a module that is imported by it."""
    nodes = list(ast.walk(tree))
    prose = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def named(text: str) -> Iterator[str]:
    """The modules of the package that a text names; a public name is the package's own."""
    public = {f"{NAME}.{name}" for name in pytest_ckpt_compat.__all__}
    if text == NAME or text in public:
        yield "__init__"
    for found in re.findall(rf"\b{NAME}((?:\.\w+)+)", text):
        name = found[1:]
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name:
            yield name


@functools.cache
def used(source: str, types: bool = True) -> frozenset[str]:
    """The modules of the package that a module imports, by statement or by name in a text.

    Args:
        source: the module's.
        types: whether imports count that only a type checker follows.
    """
    tree = ast.parse(source)
    if not types:
        tree.body = [node for node in tree.body if not _is_for_types(node)]
    return frozenset(name for text in (*imports(tree), *strings(tree)) for name in named(text))


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _rank(name: str) -> int:
    room = name.split(".")[0]
    return ROOMS.index("__init__" if room == "__main__" else room)


def upward(module: str, source: str) -> list[str]:
    """The imports of a module's source that go against the direction."""
    room, _, inside = module.partition(".")
    strange = [name for name in used(source) if _rank(name) > _rank(module)]
    order, folder = INNER.get(room, ()), inside.split(".")[0]
    if folder in order:
        beside = [name.split(".")[1] for name in used(source) if name.startswith(room + ".")]
        strange += [other for other in beside if other in order and order.index(other) > order.index(folder)]
    return strange


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert not upward(module, MODULES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        f"from {NAME}._report.text import render",
        f"from {NAME}._report import text",
        f"from {NAME} import check",
        f"import {NAME} as ckpt",
        f"def late():\n    import {NAME}._cli.main",
        f'code = "from {NAME}._cli.main import main"',
        f'importlib.import_module("{NAME}._check")',
    ],
)
def test_an_import_against_the_direction_is_seen(source: str) -> None:
    assert upward("_core.changes", source)


def test_an_import_against_the_direction_within_a_room_is_seen() -> None:
    assert upward("_readers.pickle.inert", f"from {NAME}._readers.formats import onnx")
    assert not upward("_readers.formats.onnx", f"from {NAME}._readers.pickle import inert")


def test_no_module_imports_itself_in_the_end() -> None:
    edges = {
        name: used(path.read_text(encoding="utf-8"), types=False) - {name} for name, path in MODULES.items()
    }
    below = dict(edges)
    while True:
        wider = {name: found.union(*(below[each] for each in found)) for name, found in below.items()}
        if wider == below:
            break
        below = wider
    assert not [name for name, found in below.items() if name in found]


def test_every_module_has_a_room_and_every_room_says_what_it_is_for() -> None:
    top = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert top == {"__init__.py", "__main__.py", "py.typed", *ROOMS[:-1]}
    for room in ROOMS[:-1]:
        inner = {path.name for path in (PACKAGE / room).iterdir() if path.is_dir()} - {"__pycache__"}
        assert inner == set(INNER.get(room, ()))
        for folder in (room, *(f"{room}.{each}" for each in inner)):
            assert ast.get_docstring(ast.parse(MODULES[folder].read_text(encoding="utf-8")))


def test_nothing_but_the_public_names_is_public() -> None:
    assert all(room.startswith("_") for room in ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_heavy_imports_wait_inside_functions(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    outside = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    found = {name.split(".")[0] for node in outside for name in imports(node)}
    assert not found & set(HEAVY)


def loaded_after(code: str) -> set[str]:
    """Top-level names of the modules that a new interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["", "._pytest_plugin.hooks", "._readers", "._check.check", "._cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not loaded_after(f"import {NAME}{module}") & set(HEAVY)


def test_the_plugin_imports_pytest_alone() -> None:
    code = f"import pytest\nbefore = set(sys.modules)\nimport {NAME}._pytest_plugin.hooks\n"
    code += "new = set(sys.modules) - before\n"
    allowed = (
        "_core",
        "_core.files",
        "_pytest_plugin",
        "_pytest_plugin.hooks",
        "_pytest_plugin.keys",
        "_registry",
        "_registry.names",
    )
    code += f"assert new <= { {NAME, *(f'{NAME}.{name}' for name in allowed)} }, new"
    loaded_after(code)


def test_a_check_imports_nothing_that_migrates() -> None:
    code = f"import {NAME}._check.run\n"
    code += f"rooms = {{each.split('.')[1] for each in sys.modules if each.startswith('{NAME}.')}}\n"
    code += "assert '_check' in rooms and not rooms & {'_migrate', '_convert', '_cli'}, rooms"
    loaded_after(code)


def test_a_run_without_checkpoints_loads_no_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_other():
            assert "pytest_ckpt_compat._pytest_plugin.hooks" in sys.modules
            assert not {"torch", "pytest_ckpt_compat._pytest_plugin.session"} & set(sys.modules)
            modules = [name for name in sys.modules if name.startswith("pytest_ckpt_compat._registry.")]
            assert sorted(name.split(".")[2] for name in modules) == ["names"]
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_the_public_names_are_these() -> None:
    names = "Change CkptCompat CkptCompatError Severity Structure TensorSpec Verdict check define diff "
    names += "log_fingerprint read"
    assert sorted(pytest_ckpt_compat.__all__) == sorted(names.split())
    for name in pytest_ckpt_compat.__all__:
        assert getattr(pytest_ckpt_compat, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pytest_ckpt_compat.nonsense  # noqa: B018
    assert sorted(pytest_ckpt_compat._HOMES) == pytest_ckpt_compat.__all__ == dir(pytest_ckpt_compat)
    assert {each for each in vars(pytest_ckpt_compat) if each[0] not in "_@"} <= {*names.split()}
