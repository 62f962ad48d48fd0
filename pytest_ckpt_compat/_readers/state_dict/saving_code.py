"""What the code of a pickled module's class does to its ``state_dict()``, where the project imported it.

Nothing is imported here, and nothing runs: a file's classes are looked up among the imported modules.
"""

from __future__ import annotations

import sys
from typing import Any

from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.pickle.inert import Global, Made

_METHODS = ("state_dict", "_save_to_state_dict")
_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks")


def require_plain_saving(module: Made) -> None:
    """Refuses a module whose class or hooks save by code that is not torch's."""
    kind = _imported(module)
    method = next((name for name in _METHODS if _is_users(kind, name)), "")
    hooks = [hook for name in _HOOKS for hook in _items(module.state.get(name))]
    if not method and any(not _is_torchs(hook) for hook in hooks):
        method = "a hook on state_dict"
    if method:
        raise RefusalError(
            f"it holds a whole {module.maker}, which saves by code of its own ({method}): it is not run",
            "save torch.save(model.state_dict(), path) and give that file",
        )


def has_extra_state(module: Made) -> bool:
    """Whether the class of a module gives extra state."""
    return _is_users(_imported(module), "get_extra_state")


def own_version(module: Made) -> int | None:
    """The version of a module's class, if the user's code gives it one."""
    kind = _imported(module)
    version = vars(_owner(kind, "_version")).get("_version") if _is_users(kind, "_version") else None
    return version if type(version) is int else None


def _imported(module: Made) -> Any:
    """The class of a pickled module, if something else imported it."""
    if type(module.maker) is not Global:
        return None
    found: Any = sys.modules.get(module.maker.module)
    for part in module.maker.name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) else None


def _owner(kind: Any, attribute: str) -> Any:
    """The class in which a class finds an attribute."""
    return next((each for each in getattr(kind, "__mro__", ()) if attribute in vars(each)), None)


def _is_users(kind: Any, attribute: str) -> bool:
    """Whether a class has an attribute from code that is not torch's."""
    owner = _owner(kind, attribute)
    return owner is not None and not owner.__module__.startswith("torch.")


def _is_torchs(hook: Any) -> bool:
    maker = hook.maker if type(hook) is Made else hook
    return type(maker) is Global and maker.module.startswith("torch.")


def _items(hooks: Any) -> list[Any]:
    return list(hooks.values()) if isinstance(hooks, dict) else []
