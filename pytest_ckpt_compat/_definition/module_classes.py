"""The class of each module of a built definition, as the definition's snapshot records it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_ckpt_compat._readers import limits

if TYPE_CHECKING:
    from torch import nn


def module_classes(module: nn.Module) -> dict[str, str]:
    """Path of each module ("" for the outermost) -> its class, in order of registration.

    A module that is used twice has both paths, as its keys in the state_dict have. Nothing of the
    definition's own code is run. Empty if there are more modules than a snapshot may have.
    """
    found: dict[str, str] = {}
    left: list[tuple[str, nn.Module, frozenset[int]]] = [("", module, frozenset())]
    while left:
        path, part, around = left.pop()
        if len(found) == limits.KEYS:
            return {}
        found.setdefault(path, name_of(type(part)))
        if id(part) not in around:  # a module in itself
            inside = [(name, child) for name, child in part._modules.items() if child is not None]
            within = around | {id(part)}
            left += [(f"{path}.{name}" if path else name, child, within) for name, child in reversed(inside)]
    return found


def name_of(kind: type) -> str:
    """``models.Net``: where the class is defined; of torch's own classes the name that people use.

    Torch defines its layers in modules that it does not document (``torch.nn.modules.linear``): the
    outermost package that has the class under its name stands for them.
    """
    home = kind.__module__ if isinstance(kind.__module__, str) else ""
    if home.partition(".")[0] == "torch":
        parts = home.split(".")
        packages = (".".join(parts[:end]) for end in range(1, len(parts)))
        public = (each for each in packages if getattr(sys.modules.get(each), kind.__name__, None) is kind)
        home = next(public, home)
    return f"{home}.{kind.__qualname__}".removeprefix(".")
