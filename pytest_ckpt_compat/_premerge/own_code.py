"""Whether the code that was imported is the commit's."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from pytest_ckpt_compat._core.errors import BuildError

_PACKAGE = __name__.partition(".")[0]


def require_own_code(tree: str, top: str, paths: Collection[str], packages: Collection[str]) -> None:
    """Refuses when other files were imported in place of a tree's.

    Args:
        tree: the extracted tree.
        top: the folder of today's files; "" where there are none.
        paths: the folders of the tree in which modules are looked for, relative to the tree.
        packages: top-level names that have to be the tree's where it has them.

    Raises:
        BuildError: today's files were imported, or a package of the tree from elsewhere.
    """
    owned = {
        package
        for package in packages
        if any((Path(tree) / path / f"{package}{end}").exists() for path in paths for end in ("", ".py"))
    }
    for name, file in outside(tree):
        today = bool(top) and file.startswith(top + os.sep) and "site-packages" not in file
        if today or name.partition(".")[0] in owned:
            raise BuildError(
                name,
                f"its code is not the commit's: {name} was imported from {file}",
                "put the folder of the package on pythonpath",
            )


def outside(tree: str) -> Iterator[tuple[str, str]]:
    """Name and file of each imported module outside the tree, Python and this package."""
    known = tuple(os.path.realpath(path) + os.sep for path in (tree, sys.prefix, sys.base_prefix))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not os.path.isabs(file) or name.partition(".")[0] == _PACKAGE:
            continue  # a relative one is no file: torch.ops has it
        file = _resolved(file)
        if "site-packages" in file or not file.startswith(known):
            yield name, file


@cache
def _resolved(file: str) -> str:
    """The file of an imported module, without links: thousands lie in few folders, and come again."""
    folder, name = os.path.split(file)
    found = os.path.join(_resolved_folder(folder), name)
    return os.path.realpath(found) if os.path.islink(found) else found


_resolved_folder = cache(os.path.realpath)
