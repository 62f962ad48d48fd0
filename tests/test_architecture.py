"""The module map holds: imports go one way, heavy ones wait, the public names are these."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_ckpt_compat

PACKAGE = Path(pytest_ckpt_compat.__file__).parent
NAME = "pytest_ckpt_compat"

#: Module or subpackage -> what it may import of the project. Whatever is below may not import what
#: is above it; a subpackage's own modules may import each other.
LAYERS: dict[str, set[str]] = {
    "text": set(),
    "addresses": set(),
    "completeness": set(),
    "collector": set(),
    "errors": {"text"},
    "progress": {"text"},
    "structure": set(),
    "changes": {"structure"},
    "folding": set(),
    "prefixes": {"errors", "structure"},
    "readers": {"addresses", "collector", "errors", "structure", "text"},
    "definition": {"changes", "collector", "errors", "structure", "readers"},
    "optimizer_data": {"structure"},
    "fingerprint": {"errors", "optimizer_data", "structure"},
    "compare": {"changes", "structure"},
    "renames": {"changes", "structure", "folding", "text"},
    "rules": {"changes"},
    "report": {"changes", "renames", "rules", "structure", "folding", "fingerprint", "text"},
    "writing": {"errors"},
    "accepted": {"changes", "errors", "rules", "structure", "text"},
    "config": {"addresses", "changes", "errors", "rules"},
    "snapshots": {"config", "errors", "fingerprint", "structure", "writing"},
    "settings": {"config", "errors"},
    "declared": {"config", "errors"},
    "explaining": {"changes", "renames", "structure"},
    "checking": {
        *(
            "changes",
            "collector",
            "compare",
            "definition",
            "errors",
            "prefixes",
            "readers",
            "explaining",
            "rules",
            "structure",
        ),
    },
    "git": {"errors"},
    "trees": {"errors", "git"},
    "process": set(),
    "basecode": {
        *("changes", "config", "definition", "errors", "fingerprint", "git", "process", "structure", "trees"),
    },
    "against": {
        *("accepted", "basecode", "changes", "checking", "config", "definition", "errors", "fingerprint"),
        *("git", "rules", "snapshots", "structure"),
    },
    "baseline": {
        *("against", "basecode", "changes", "checking", "compare", "config", "definition", "errors"),
        *("fingerprint", "git", "readers", "report", "snapshots", "structure"),
    },
    "recording": {"baseline", "errors", "fingerprint", "snapshots", "text"},
    "registered": {
        *("accepted", "against", "baseline", "changes", "checking", "config", "definition", "errors"),
        *("prefixes", "rules", "snapshots"),
    },
    "record": {"report"},
    "fixture": {"addresses", "changes", "checking", "config", "errors", "registered", "report"},
    "session": {
        *("accepted", "basecode", "baseline", "completeness", "config", "declared", "errors", "fixture"),
        *("git", "outlets", "record", "recording", "registered", "report", "settings", "snapshots"),
    },
    "opening": {"basecode", "config", "errors", "git", "outlets", "session", "settings"},
    "plugin": {"declared", "fixture", "opening", "session"},
    "collecting": {"baseline", "completeness", "config", "declared", "errors", "plugin"},
    "outlets": {"errors", "report", "writing"},
    "commands": {
        *("accepted", "against", "basecode", "baseline", "changes", "collecting", "completeness", "errors"),
        "git",
        *("recording", "registered", "report", "snapshots", "text", "writing"),
    },
    "at_base": {
        *("against", "checking", "collecting", "config", "definition", "errors", "fingerprint", "readers"),
        "report",
    },
    "cli": {
        *("accepted", "changes", "checking", "commands", "definition", "errors", "outlets", "readers"),
        *("report", "snapshots", "progress", "structure"),
    },
}

#: A string of a verdict is its report: the one import against the direction.
EXCEPTIONS = {("changes", "report")}

HEAVY = ("torch", "numpy", "scipy", "safetensors", "rich", "onnx", "fsspec", "huggingface_hub")


def _modules() -> Iterator[tuple[str, Path]]:
    """(top-level name within the package, file) of every module but the package itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative != Path("__init__.py"):
            yield relative.parts[0].removesuffix(".py"), path


MODULES = list(_modules())


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, as a dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == NAME:
            yield from (f"{NAME}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize(("layer", "path"), MODULES, ids=lambda value: getattr(value, "stem", value))
def test_imports_go_one_way(layer: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {name.split(".")[1] for name in imports(tree) if name.startswith(NAME + ".")} - {layer}
    strange = {name for name in ours - LAYERS[layer] if (layer, name) not in EXCEPTIONS}
    assert not strange, f"{path.name} imports {strange}"


def test_the_map_names_what_exists_and_has_no_circle() -> None:
    assert {layer for layer, _ in MODULES} == set(LAYERS)
    seen: set[str] = set()
    for layer in LAYERS:
        pending, below = [layer], set[str]()
        while pending:
            new = LAYERS[pending.pop()] - below
            below |= new
            pending.extend(new)
        assert layer not in below, f"{layer} imports itself in the end"
        seen |= below


@pytest.mark.parametrize(("layer", "path"), MODULES, ids=lambda value: getattr(value, "stem", value))
def test_heavy_imports_wait_inside_functions(layer: str, path: Path) -> None:
    del layer
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if not isinstance(node, ast.If)], [])
    outside = [node for node in top.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    found = {name.split(".")[0] for node in outside for name in imports(node)}
    assert not found & set(HEAVY)


def loaded_after(code: str) -> set[str]:
    """Top-level names of the modules that a new interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module", [NAME, f"{NAME}.plugin", f"{NAME}.readers", f"{NAME}.checking", f"{NAME}.cli"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_the_plugin_imports_pytest_alone() -> None:
    code = (
        f"import pytest\nbefore = set(sys.modules)\nimport {NAME}.plugin\nnew = set(sys.modules) - before\n"
    )
    code += f"assert new <= {{'{NAME}', '{NAME}.plugin'}}, new"
    loaded_after(code)


def test_a_run_without_checkpoints_loads_no_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_other():
            assert "pytest_ckpt_compat.plugin" in sys.modules
            assert not {"torch", "pytest_ckpt_compat.session"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_the_public_names_are_these() -> None:
    names = "Change CkptCompat CkptCompatError Severity Structure TensorSpec Verdict check define diff read"
    assert sorted(pytest_ckpt_compat.__all__) == sorted(names.split())
    for name in pytest_ckpt_compat.__all__:
        assert getattr(pytest_ckpt_compat, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pytest_ckpt_compat.nonsense  # noqa: B018
