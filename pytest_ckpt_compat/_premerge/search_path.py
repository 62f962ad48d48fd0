"""The folders of an earlier commit in which its code is looked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._premerge import git


def search_path(base: git.Base, roots: Iterable[str]) -> list[str]:
    """The search path of this process within the repository, relative to its top.

    With ``src``, where projects that are installed to be tested keep their code.

    Args:
        base: a commit of the repository.
        roots: folders that come first.
    """
    top = os.path.realpath(base.top)
    found = [*roots, str(base.root), str(base.root / "src"), *sys.path, *_packages(top)]
    kept = [path for path in (os.path.realpath(path) for path in found if path) if is_inside(path, top)]
    return list(dict.fromkeys(os.path.relpath(path, top) for path in kept))


def is_inside(path: str, top: str) -> bool:
    """Whether a folder belongs to a repository, and to no environment that lies in it. Both are resolved."""
    outside = os.path.realpath(sys.prefix) + os.sep
    inside = (path + os.sep).startswith(top + os.sep)
    return inside and not (path + os.sep).startswith(outside) and "site-packages" not in path


def _packages(top: str) -> list[str]:
    """Folders of the packages that were imported from the repository, however they were found."""
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    own = [file for file in files if file.endswith("__init__.py") and "site-packages" not in file]
    packages = {os.path.dirname(os.path.dirname(file)) for file in own}
    inside = {path or "." for path in packages if os.path.realpath(path).startswith(top + os.sep)}
    return sorted(each for each in inside if not (Path(each) / "__init__.py").exists())


def import_root(target: Any) -> str:
    """The folder from which the module of a definition's target was imported."""
    target = target if hasattr(target, "__module__") else type(target)
    name = target.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if not file:
        return ""
    package = Path(file).parent if Path(file).stem != "__init__" else Path(file).parent.parent
    return str(package.parents[name.count(".") - 1] if name.count(".") else package)
