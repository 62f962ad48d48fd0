"""Names of classes of modules, as ``torch.nn.Linear``."""

from __future__ import annotations

#: Classes that only hold others, by their own name.
CONTAINERS = frozenset({"ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict"})


def simple(name: str) -> str:
    """``Block`` of ``models.net.Block``; torch's wrappers of a class count as the class."""
    last = name.rpartition(".")[2]
    if name.startswith("torch.nn.utils.parametrize."):
        return last.removeprefix("Parametrized")
    return last.removeprefix("Lazy") if name.startswith("torch.nn.") else last


def is_torchs(name: str) -> bool:
    """Whether torch defines the class: such a class is never renamed."""
    return name.startswith("torch.nn.")
