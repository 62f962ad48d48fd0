"""A pickled ``nn.Module``: its parameters and buffers under the keys that ``state_dict()`` gives them.

Written after ``torch.nn.Module._save_to_state_dict`` of torch 2.13. Overrides (``get_extra_state``, ...)
are code, which a file does not hold; ``saving_code`` knows them of classes that the project has imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_ckpt_compat._core.structure import EXTRA_STATE
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, over_limit
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Tensor
from pytest_ckpt_compat._readers.state_dict.quantized import (
    is_quantized,
    more_entries,
    version_of,
)
from pytest_ckpt_compat._readers.state_dict.saving_code import (
    has_extra_state,
    own_version,
    require_plain_saving,
)

_PARTS = ("_parameters", "_buffers", "_modules")


def is_module(value: Any) -> bool:
    """Whether a value is an object with the attributes that every ``nn.Module`` has."""
    return (
        type(value) is Made
        and isinstance(value.state, dict)
        and all(isinstance(value.state.get(part), dict) for part in _PARTS)
    )


def has_tensors(module: Made) -> bool:
    """Whether any module of the tree has a parameter or buffer."""
    pending, seen = [module], {id(module)}
    while pending:
        part = pending.pop()
        if is_quantized(part) or any(type(value) is Tensor for _, value in _own(part)):
            return True
        for child in part.state["_modules"].values():
            if id(child) not in seen and is_module(child):
                seen.add(id(child))
                pending.append(child)
    return False


def module_entries(module: Made) -> dict[str, Any]:
    """Returns key -> tensor, in the order of ``state_dict()``. Raises RefusalError beyond the limits."""
    result: dict[str, Any] = {}
    room = limits.CHARACTERS
    for visited, (prefix, part) in enumerate(_walk(module)):
        require_plain_saving(part)
        for name, value in _own(part):
            room = room_after(room, prefix, name)
            result[prefix + name] = value
        if visited > limits.KEYS or len(result) > limits.KEYS:
            raise over_limit("modules and tensors", limits.KEYS)
    return result


def room_after(room: int, prefix: str, name: str) -> int:
    """Returns how many characters of keys remain after one more. Raises RefusalError below 0."""
    room -= len(prefix) + len(name)
    if room < 0:
        raise over_limit("characters in its keys", limits.CHARACTERS)
    return room


def _walk(root: Made) -> Iterator[tuple[str, Made]]:
    """Yields every module with the prefix of its keys, a shared one under each of its names."""
    pending = [("", root, 0)]
    room = limits.CHARACTERS
    while pending:
        prefix, module, depth = pending.pop()
        if depth > limits.DEPTH:
            raise over_limit("modules inside each other", limits.DEPTH)
        yield prefix, module
        children = []
        for name, child in module.state["_modules"].items():
            if type(name) is str and child is not None:
                if not is_module(child):
                    raise _unreadable(prefix + name, child)
                room = room_after(room, prefix, name)
                children.append((f"{prefix}{name}.", child, depth + 1))
        pending.extend(reversed(children))
        if len(pending) > limits.KEYS:
            raise over_limit("modules", limits.KEYS)


def module_versions(root: Made) -> dict[str, int]:
    """Returns module name -> version, without 1.

    The versions are those of the classes, which a file does not hold. They are known of torch's own, and of
    those that the project has imported; nearly every other class leaves its version at 1.
    """
    versions = {
        prefix.removesuffix("."): version_of(part) if (own := own_version(part)) is None else own
        for prefix, part in _walk(root)
    }
    return {name: version for name, version in versions.items() if version != 1}


def _unreadable(name: str, child: Any) -> RefusalError:
    # A quantized convolution, for one: torch restores it without what its state_dict() needs.
    maker = f" ({child.maker})" if type(child) is Made and type(child.maker) is Global else ""
    return RefusalError(
        f"its module {name}{maker} keeps its parameters in a form of its own, which is not read",
        "save torch.save(model.state_dict(), path) and give that file",
    )


def _own(module: Made) -> Iterator[tuple[str, Any]]:
    yield from _registered(module)
    if is_quantized(module):
        yield from more_entries(module)
    if has_extra_state(module):
        yield EXTRA_STATE, Made(module.maker, ())  # code makes its value


def _registered(module: Made) -> Iterator[tuple[str, Any]]:
    state = module.state
    transient = state.get("_non_persistent_buffers_set", ())
    for name, value in state["_parameters"].items():
        if value is not None and type(name) is str:
            yield name, value
    for name, value in state["_buffers"].items():
        if value is not None and type(name) is str and not (isinstance(transient, set) and name in transient):
            yield name, value
