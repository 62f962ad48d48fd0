"""Whether a class that a file names can be imported here, which it never is.

Modules that are imported already are looked at, and the source texts of others.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_ckpt_compat._definition.names import installed

_SOURCE_BYTES = 4 << 20
#: Text with which a module may get names that its source does not show.
_DYNAMIC = re.compile(r"import \*|__getattr__|globals\(|setattr\(|exec\(|sys\.modules")
#: NumPy 2 renamed a package; the old name still works.
_NUMPY = ("numpy.core.", "numpy._core.")


def imported(module: str, name: str) -> Any:
    """The object of a dotted name in a module that is imported already; None if there is none."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, (ModuleType, type)) else None
    return found


def alias_of(module: str, name: str) -> tuple[str, str]:
    """The same name under which NumPy has it today, if it has another one there."""
    for old, new in (_NUMPY, _NUMPY[::-1]):
        if module.startswith(old) and imported(module, name) is None:
            other = new + module.removeprefix(old)
            return (other, name) if imported(other, name) is not None else (module, name)
    return module, name


def is_importable(module: str, name: str) -> bool:
    """Whether ``from module import name`` would work. What cannot be told counts as importable."""
    if module == "__main__" or imported(*alias_of(module, name)) is not None:
        return True
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in parts):
        return True
    known = sys.modules.get(module)
    if known is not None:
        return not isinstance(known, ModuleType) or "__getattr__" in vars(known)
    try:
        spec = _spec_of(module)
    except Exception:  # a finder of another library
        return True
    return spec is not None and _may_have(spec, name.split(".")[0])


def _spec_of(module: str) -> ModuleSpec | None:
    """Finds a module's file, through its packages, without importing any of them."""
    path: Sequence[str] | None = None
    spec = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        whole = ".".join(parts[:end])
        known = sys.modules.get(whole)
        if end > 1 and path is None:
            return None
        spec = getattr(known, "__spec__", None) if known is not None else _found(whole, path)
        if known is None and spec is None:
            return None
        path = spec.submodule_search_locations if known is None and spec else getattr(known, "__path__", None)
    return spec


def _found(module: str, path: Sequence[str] | None) -> ModuleSpec | None:
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    specs = (find(module, path, None) for find in finders if find is not None)
    return next((spec for spec in specs if spec is not None), None)


def _may_have(spec: ModuleSpec, name: str) -> bool:
    """Whether a module's source has a name, or is not there to be looked at."""
    if not spec.origin or not spec.origin.endswith(".py"):
        return spec.origin is not None
    try:
        path = Path(spec.origin)
        if path.stat().st_size > _SOURCE_BYTES:
            return True
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return bool(re.search(rf"\b{re.escape(name)}\b", text) or _DYNAMIC.search(text))


def homes_of(names: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Name -> the imported module, of the project or the same package, that has a class of that name.

    It is "" where none has one, or several.
    """
    if not names:  # as of most files; there are thousands of modules
        return {}
    packages = {each.partition(".")[0] for each, _ in names}
    found: dict[str, list[str]] = {name: [] for _, name in names}
    for home, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and (shared := found.keys() & vars(module).keys()):
            defined = [name for name in shared if _defines(module, home, name)]
            if defined and (home.partition(".")[0] in packages or _is_project(module)):
                for name in defined:
                    found[name].append(home)
    return {each: found[each[1]][0] if len(found[each[1]]) == 1 else "" for each in names}


def _defines(module: ModuleType, home: str, name: str) -> bool:
    kind = vars(module)[name]
    return isinstance(kind, type) and kind.__module__ == home


def _is_project(module: ModuleType) -> bool:
    """Whether a module belongs neither to Python, nor to an installed library, nor to this one."""
    file = vars(module).get("__file__")
    if not isinstance(file, str) or module.__name__ == "__main__":
        return False
    return not os.path.abspath(file).startswith((*installed(), _HERE + os.sep))


_HERE = str(Path(__file__).parents[1])
