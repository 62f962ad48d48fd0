"""The class and the settings of each module of a built definition, as its snapshot records them."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from pytest_ckpt_compat._definition.module_settings import name_of, settings_of
from pytest_ckpt_compat._readers import limits

if TYPE_CHECKING:
    from torch import nn

#: Names of what numbers a module among its like.
_PLACE = re.compile(r"((layer|block|stage|level|expert|module)_?)?(idx|index|id|number)", re.IGNORECASE)


def module_classes(module: nn.Module) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Path of each module ("" for the outermost) -> its class, and -> its settings, in order of registration.

    A module that is used twice has both paths, as its keys in the state_dict have. Nothing of the
    definition's own code is run. Empty if there are more modules than a snapshot may have.
    """
    classes: dict[str, str] = {}
    names: dict[type, str] = {}
    settings: dict[str, dict[str, str]] = {}
    left: list[tuple[str, nn.Module, frozenset[int]]] = [("", module, frozenset())]
    while left:
        path, part, around = left.pop()
        if len(classes) == limits.KEYS:
            return {}, {}
        if path not in classes:
            kind = type(part)
            if kind not in names:
                names[kind] = name_of(kind)
            classes[path], settings[path] = names[kind], _without_place(path, settings_of(part))
        inside = [(name, child) for name, child in part._modules.items() if child is not None]
        if inside and id(part) not in around:  # a module in itself
            within = around | {id(part)}
            left += [(f"{path}.{name}" if path else name, child, within) for name, child in reversed(inside)]
    return classes, settings


def _without_place(path: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings without the module's own number (``layer_idx=3`` of ``layers.3``): its path has it."""
    places = {name for name in settings if _is_place(name)}
    if not places:
        return settings
    numbers = {each for each in path.split(".") if each.isdecimal()}
    return {name: text for name, text in settings.items() if text not in numbers or name not in places}


@functools.lru_cache(maxsize=4096)
def _is_place(name: str) -> bool:
    return bool(_PLACE.fullmatch(name))
