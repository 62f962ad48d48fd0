"""The class and the settings of each module of a built definition, as its snapshot records them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ckpt_compat._definition.module_settings import name_of, settings_of
from pytest_ckpt_compat._readers import limits

if TYPE_CHECKING:
    from torch import nn


def module_classes(module: nn.Module) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Path of each module ("" for the outermost) -> its class, and -> its settings, in order of registration.

    A module that is used twice has both paths, as its keys in the state_dict have. Nothing of the
    definition's own code is run. Empty if there are more modules than a snapshot may have.
    """
    classes: dict[str, str] = {}
    settings: dict[str, dict[str, str]] = {}
    left: list[tuple[str, nn.Module, frozenset[int]]] = [("", module, frozenset())]
    while left:
        path, part, around = left.pop()
        if len(classes) == limits.KEYS:
            return {}, {}
        if path not in classes:
            classes[path], settings[path] = name_of(type(part)), settings_of(part)
        if id(part) not in around:  # a module in itself
            inside = [(name, child) for name, child in part._modules.items() if child is not None]
            within = around | {id(part)}
            left += [(f"{path}.{name}" if path else name, child, within) for name, child in reversed(inside)]
    return classes, settings
