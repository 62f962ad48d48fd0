"""The class and the settings of each module of a built definition, and the lines that name its parts."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat._definition.lines import registered_in
from pytest_ckpt_compat._definition.module_settings import name_of, settings_of
from pytest_ckpt_compat._readers import limits

if TYPE_CHECKING:
    from torch import nn

#: Names of what numbers a module among its like.
_PLACE = re.compile(r"((layer|block|stage|level|expert|module)_?)?(idx|index|id|number)", re.IGNORECASE)


@dataclass(frozen=True)
class Modules:
    """What a walk over the modules of a built definition finds, in order of registration.

    Attributes:
        classes: path of each module ("" for the outermost) -> its class.
        settings: path of each module -> name of each setting -> its value.
        lines: dotted name of each part that the user's own code registered -> file and line.
    """

    classes: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]
    lines: Mapping[str, str]


def described(module: nn.Module) -> Modules:
    """Looks at each module of a definition.

    A module that is used twice has both paths, as its keys in the state_dict have. Nothing of the
    definition's own code is run. Empty if there are more modules than a snapshot may have.
    """
    classes: dict[str, str] = {}
    names: dict[type, str] = {}
    settings: dict[str, dict[str, str]] = {}
    lines: dict[str, str] = {}
    registered = registered_in(module)
    left: list[tuple[str, nn.Module, frozenset[int]]] = [("", module, frozenset())]
    while left:
        path, part, around = left.pop()
        if len(classes) == limits.KEYS:
            return Modules({}, {}, {})
        before = f"{path}." if path else ""
        if path not in classes:
            kind = type(part)
            if kind not in names:
                names[kind] = name_of(kind)
            classes[path], settings[path] = names[kind], _without_place(path, settings_of(part))
            for name, line in registered.of(part):
                lines[before + name] = line
        if not part._modules:
            continue
        inside = [(before + name, child) for name, child in part._modules.items() if child is not None]
        if inside and id(part) not in around:  # a module in itself
            within = around | {id(part)}
            left += [(name, child, within) for name, child in reversed(inside)]
    return Modules(classes, settings, lines)


def _without_place(path: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings without the module's own number (``layer_idx=3`` of ``layers.3``): its path has it."""
    places = {name for name in settings if _is_place(name)} if settings else None
    if not places:
        return settings
    numbers = {each for each in path.split(".") if each.isdecimal()}
    return {name: text for name, text in settings.items() if text not in numbers or name not in places}


@functools.lru_cache(maxsize=4096)
def _is_place(name: str) -> bool:
    return bool(_PLACE.fullmatch(name))
