"""Says how many faults in the rename engine its tests notice.

    python -m benchmarks.rename_mutants [NUMBER] [SEED]

Changes one operator, condition, number or default of ``pytest_ckpt_compat/_renames`` at a time, in a copy,
and runs ``tests/renames`` against it until the first failure. Prints each mutant that survives, and the share
that was noticed. A mutant may be equivalent: read the survivors before you believe the share.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINE = Path("pytest_ckpt_compat") / "_renames"

#: Seconds after which a mutant counts as noticed: it does not end.
_PATIENCE = 600

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """A changed source.

    Attributes:
        path: of the module, relative to the project's folder.
        line: number of the changed line.
        change: the changed expression, before and after.
        source: the whole module.
    """

    path: Path
    line: int
    change: str
    source: str


def mutated(node: ast.AST) -> Iterator[ast.AST]:
    """The faults that can be put in place of a node."""
    fresh = copy.deepcopy(node)
    if isinstance(fresh, ast.Compare) and type(fresh.ops[0]) in _COMPARED:
        fresh.ops[0] = _COMPARED[type(fresh.ops[0])]()
        yield fresh
    elif isinstance(fresh, ast.BinOp) and type(fresh.op) in _CALCULATED:
        fresh.op = _CALCULATED[type(fresh.op)]()
        yield fresh
    elif isinstance(fresh, ast.BoolOp):
        fresh.op = ast.Or() if isinstance(fresh.op, ast.And) else ast.And()
        yield fresh
    elif isinstance(fresh, ast.UnaryOp) and isinstance(fresh.op, ast.Not):
        yield fresh.operand
    elif isinstance(fresh, ast.Constant) and type(fresh.value) is float:
        yield ast.Constant(fresh.value * 1.5 if fresh.value else 1.0)
        yield ast.Constant(0.0 if fresh.value else -1.0)
    elif isinstance(fresh, ast.Constant) and type(fresh.value) is int:
        yield ast.Constant(fresh.value + 1)


def mutants(root: Path) -> Iterator[Mutant]:
    """All mutants of the engine."""
    for file in sorted((root / ENGINE).rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        tree = ast.parse(source)
        for parent in ast.walk(tree):
            for name, field in ast.iter_fields(parent):
                for index, node in enumerate(field if isinstance(field, list) else [field]):
                    if not isinstance(node, ast.expr) or name == "annotation":
                        continue
                    for other in mutated(node):
                        _put(parent, name, index, other)
                        changed = f"{ast.unparse(node)}  ->  {ast.unparse(other)}"
                        yield Mutant(file.relative_to(root), node.lineno, changed, ast.unparse(tree))
                        _put(parent, name, index, node)


def _put(parent: ast.AST, name: str, index: int, node: ast.AST) -> None:
    field = getattr(parent, name)
    if isinstance(field, list):
        field[index] = node
    else:
        setattr(parent, name, node)


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether all tests of the engine pass with a mutant in the copy of the project in ``folder``."""
    target = folder / mutant.path
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.source, encoding="utf-8")
    # The test that takes longest comes last: most mutants are noticed before.
    files = sorted(
        (folder / "tests" / "renames").glob("test_*.py"), key=lambda file: file.stem == "test_judge"
    )
    options = ["-n0", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=_PATIENCE,
        )
        return ended.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.write_text(original, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("number", type=int, nargs="?", default=100)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    every = list(mutants(ROOT))
    chosen = random.Random(arguments.seed).sample(every, min(arguments.number, len(every)))
    alive = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        ignored = shutil.ignore_patterns(".venv", ".git", "__pycache__", "_build", ".*_cache")
        shutil.copytree(ROOT, folder, ignore=ignored)
        for mutant in chosen:
            if survives(mutant, folder):
                alive += 1
                print(f"survives  {mutant.path}:{mutant.line}  {mutant.change}", flush=True)
    noticed = len(chosen) - alive
    print(f"{noticed} of {len(chosen)} mutants noticed, of {len(every)} in all; seed {arguments.seed}")


if __name__ == "__main__":
    main()
