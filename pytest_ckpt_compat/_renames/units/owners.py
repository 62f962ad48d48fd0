"""The modules that own the tensors, where both sides are code: their classes and settings.

Names of classes are evidence beside the names of attributes. A class that both sides have under its name is
the same class; torch's own never change theirs. One that only one side has may be one of the other side under
a new name, so it says nothing until the layers are matched.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._core.class_names import CONTAINERS, is_torchs, simple
from pytest_ckpt_compat._renames.units.paths import around
from pytest_ckpt_compat._renames.units.units import Unit

#: Stands between a layer and what it keeps of a parameter in other terms.
_PARAMETRIZED = "parametrizations."

#: Class -> the class that it is used as.
_SAME = {"torch.nn.modules.linear.NonDynamicallyQuantizableLinear": "torch.nn.Linear"}


@dataclass(frozen=True, slots=True)
class Owner:
    """The module that owns a tensor.

    Attributes:
        kind: its class; "" of a module that holds others, which is no layer.
        settings: its settings, by name.
        around: classes of the modules around the tensor, outermost first; those that only hold others
            (``ModuleList``) are left out.
    """

    kind: str
    settings: tuple[tuple[str, str], ...] = ()
    around: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Its class, and those of the modules around, innermost first."""
        return self.kind, *reversed(self.around)


def owners_of(
    keys: Iterable[str], modules: Mapping[str, str], settings: Mapping[str, Mapping[str, str]]
) -> dict[str, Owner]:
    """Returns key -> owner.

    Args:
        keys: of the tensors.
        modules: path of each module -> its class.
        settings: path of a module -> name of each setting -> its value.
    """
    holding = {path.rpartition(".")[0] for path in modules if path}
    found: dict[str, Owner] = {}
    by_home: dict[str, Owner] = {}
    for key in keys:
        place = key.partition(f".{_PARAMETRIZED}")[0] if f".{_PARAMETRIZED}" in key else _parent(key)
        if place not in by_home:
            inside = [
                (path, _SAME.get(modules[path], modules[path]))
                for path in dict.fromkeys((*around(place), place))
                if path in modules and simple(modules[path]) not in CONTAINERS
            ]
            parametrized = modules.get(place, "").startswith("torch.nn.utils.parametrize.")
            layer = place in modules and (place not in holding or parametrized)
            own = inside.pop()[1] if layer and inside and inside[-1][0] == place else ""
            values = tuple(sorted((settings.get(place) or {}).items())) if own else ()
            by_home[place] = Owner(own, values, tuple(kind for _, kind in inside))
        found[key] = by_home[place]
    return found


def _parent(key: str) -> str:
    return "" if key.startswith(_PARAMETRIZED) else key.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Label:
    """What the module that owns a unit is called, in words that both sides have.

    Attributes:
        kind: its class by the name of its own side; "" if it is no layer.
        name: the class, if both sides have it; "" otherwise.
        settings: its settings, by name.
        around: such names of the modules around it, outermost first; those without one are left out.
    """

    kind: str
    name: str
    settings: tuple[tuple[str, str], ...]
    around: tuple[str, ...]


def labelled(
    old: Sequence[Unit], new: Sequence[Unit], owners: tuple[Mapping[str, Owner], Mapping[str, Owner]]
) -> tuple[list[Unit], list[Unit]]:
    """Returns the units of both sides with labels.

    Args:
        old: units of the old side.
        new: units of the new side.
        owners: key -> owner, of each side.
    """
    names = _common([_classes(each) for each in owners])
    ours, theirs = (
        [replace(unit, label=_label(unit, side, own)) for unit in units]
        for units, side, own in zip((old, new), owners, names, strict=True)
    )
    return ours, theirs


def _classes(owners: Mapping[str, Owner]) -> set[str]:
    each = set(owners.values())
    return {owner.kind for owner in each if owner.kind} | {kind for owner in each for kind in owner.around}


def _common(sides: Sequence[set[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns, for each side, class -> name of those that both have: in full, or moved to another module."""
    ours, theirs = (_by_name(side) for side in sides)
    both = sides[0] & sides[1]
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for here, there, names in ((ours, theirs, found[0]), (theirs, ours, found[1])):
        for name, kinds in here.items():
            moved = [kind for kind in kinds if kind not in both]
            others = [kind for kind in there.get(name, ()) if kind not in both]
            names.update((kind, kind) for kind in kinds if kind in both)
            if len(moved) == len(others) == 1:
                names[moved[0]] = name
    return found


def _by_name(kinds: Iterable[str]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for kind in sorted(kinds):
        found[simple(kind)].append(kind)
    return found


def _label(unit: Unit, owners: Mapping[str, Owner], names: Mapping[str, str]) -> Label | None:
    """The label of a unit; of a joint one, what its parts have in common."""
    parts = [owners[part.tensors[0].key] for part in unit.parts or (unit,) if part.tensors[0].key in owners]
    if not parts or len({each.kind for each in parts}) > 1:
        return None
    first = parts[0]
    shared = [each for each in first.around if all(each in other.around for other in parts)]
    return Label(
        first.kind,
        names.get(first.kind, ""),
        first.settings if all(each.settings == first.settings for each in parts) else (),
        tuple(names[kind] for kind in shared if kind in names),
    )


def alike(one: Label | None, other: Label | None) -> float:
    """Measures what the classes of two layers say: 1 the same, -1 different ones, 0 nothing.

    The same class with other settings says nothing: they may have been changed.
    """
    if one is None or other is None or not one.kind or not other.kind:
        return 0.0
    if one.name and one.name == other.name:
        return float(one.settings == other.settings)
    known = bool(one.name and other.name) or (is_torchs(one.kind) and is_torchs(other.kind))
    return -1.0 if known else 0.0


def alike_around(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Measures how alike the classes of the modules around two units are, from -1 to 1.

    Half of it is the innermost one, which knows most about what its layers are for.
    """
    if not one or not other:
        return 0.0
    common = 2 * (Counter(one) & Counter(other)).total() / (len(one) + len(other))
    return (common + (1 if one[-1] == other[-1] else -1)) / 2
