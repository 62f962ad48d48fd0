"""What two definitions compute differently with the same tensors: classes and settings of their modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._check.explain import explain
from pytest_ckpt_compat._check.module_pairs import Pairs, leaves, pairs
from pytest_ckpt_compat._check.notes import failed
from pytest_ckpt_compat._check.setting_values import (
    consequence,
    consequence_of_class,
    differ,
    is_layer,
    is_size,
    number,
    same_name,
    switched,
)
from pytest_ckpt_compat._core.changes import Change, moves
from pytest_ckpt_compat._core.class_names import simple
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._snapshots.fingerprint import same_modules

#: Values of one setting, in modules of one numbered place, that are told one by one.
_SINGLE = 3


def with_settings(
    old: Structure, new: Structure, changes: Iterable[Change] = ()
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The changes of settings and no note, or none and a note if comparing them failed."""
    try:
        return settings_changes(old, new, changes), ()
    except Exception as error:  # what loads is known without them
        return (), failed("comparing the settings of modules", error)


def settings_changes(old: Structure, new: Structure, changes: Iterable[Change]) -> tuple[Change, ...]:
    """The settings and classes of modules that differ though their tensors do not.

    Args:
        old: a definition as it was; without its modules, nothing is known.
        new: the definition as it is.
        changes: between the two, which say what was renamed.
    """
    if not old.modules or not new.modules or same_modules(old, new):
        return ()
    moved = _moved(changes)
    if not moved and list(old.tensors) != list(new.tensors):
        # Loading code of the definition's own may have renamed them without a word.
        moved = _moved(explain(compare.compare(old, new), old, new))
    paired = pairs(old, new, moved)
    back = {b: a for a, b in paired.both.items()}
    gone = [path for path in paired.gone if not _normed_by_a_hook(path, old, new, paired.both)]
    come = [path for path in paired.come if not _normed_by_a_hook(path, new, old, back)]
    found = [
        *_classes(old, new, paired),
        *_settings(old, new, paired),
        *_came_or_went(old, gone, _functions(new, back), came=False),
        *_came_or_went(new, come, _functions(old, paired.both), came=True),
    ]
    order = {path: position for position, path in enumerate(new.modules)}
    found.sort(key=lambda each: order.get(each.new[0], len(order)) if each.new else len(order))
    return tuple(_folded(found))


def _moved(changes: Iterable[Change]) -> dict[str, str]:
    """Old key -> new key of the tensors that were renamed; none where several new keys fit equally well."""
    clear = (each for each in changes if set(each.candidates) <= set(each.new))
    return {before: after for each in clear for before, after in moves(each)}


def _classes(old: Structure, new: Structure, paired: Pairs) -> Iterator[Change]:
    before_all, after_all = leaves(old), leaves(new)
    alone = {one for one, other in paired.both.items() if one in before_all and other in after_all}
    for one, other in paired.both.items():
        before, after = old.modules[one], new.modules[other]
        if not one and not other:
            continue  # who compares two definitions named both
        if one in paired.equal and before != after and switched(before, after, one in alone):
            words = consequence_of_class(before, after)
            yield Change("settings-changed", (one,), (other,), detail=f"{before} -> {after}, {words}")


def _settings(old: Structure, new: Structure, paired: Pairs) -> Iterator[Change]:
    """What both sides have and differs; a name that only one has is another attribute, not another value."""
    for one, other in paired.both.items():
        before, after = old.settings.get(one), new.settings.get(other)
        kinds = old.modules[one], new.modules[other]
        if not before or not after or (before == after):
            continue
        if simple(kinds[0]) != simple(kinds[1]) and switched(*kinds, True):
            continue  # the classes say it
        for name in before.keys() & after.keys():
            values = before[name], after[name]
            sized = one not in paired.equal and all(map(is_size, values))
            if not sized and differ(*values):
                words = consequence(name, values, kinds)
                detail = f"{name} {values[0]} -> {values[1]}, {words}"
                yield Change("settings-changed", (one,), (other,), detail=detail)


def _functions(side: Structure, counterparts: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Path of a module on the other side, and name of a setting of its counterpart -> the setting's value."""
    return {
        (there, name): text
        for here, there in counterparts.items()
        for name, text in (side.settings.get(here) or {}).items()
    }


def _came_or_went(
    side: Structure, paths: Iterable[str], functions: Mapping[tuple[str, str], str], came: bool
) -> Iterator[Change]:
    """Layers without tensors that only one side has; not one that is a function there, under its name."""
    alone = leaves(side)
    for path in paths:
        kind = side.modules[path]
        parent, _, name = path.rpartition(".")
        if path not in alone or not is_layer(kind) or same_name(functions.get((parent, name), ""), kind):
            continue  # what only holds others, or gives what it gets
        settings = side.settings.get(path) or {}
        shown = f"{kind}({', '.join(f'{name}={value}' for name, value in settings.items())})"
        words = consequence_of_class(kind, "torch.nn.Identity", sure=False)
        detail = f"{shown} {'came' if came else 'is gone'}, {words}"
        yield Change("settings-changed", () if came else (path,), (path,) if came else (), detail=detail)


def _normed_by_a_hook(path: str, side: Structure, other: Structure, counterparts: Mapping[str, str]) -> bool:
    """Whether it is torch's weight norm as a parametrization, and the other side has the older one, a hook.

    Both compute the same, and torch loads what the hook has saved.
    """
    module, _, rest = f".{path}".partition(".parametrizations.")
    there = counterparts.get(module[1:])
    if there is None or side.modules[path] != "torch.nn.utils.parametrizations._WeightNorm":
        return False
    magnitude = f"{rest.partition('.')[0]}_g"
    return (f"{there}.{magnitude}" if there else magnitude) in other.tensors


def _folded(changes: list[Change]) -> Iterator[Change]:
    """The changes; many different numbers in modules that differ in their number are told by their range.

    A rate that grows with depth has another value in each block, and a row for each would say no more.
    """
    alike: defaultdict[tuple[str, ...], list[Change]] = defaultdict(list)
    for each in changes:
        if each.old and each.new and number(_values(each)[0]) is not None:
            alike[_place(each.old[0]), _place(each.new[0]), each.detail.partition(" ")[0]].append(each)
    ranges: dict[int, Change] = {}
    for members in alike.values():
        values = [tuple(map(number, _values(each))) for each in members]
        if len(set(values)) <= _SINGLE or any(None in both for both in values):
            continue
        sides = [sorted(side) for side in zip(*values, strict=True)]
        text = " -> ".join(str(s[0]) if s[0] == s[-1] else f"{s[0]} to {s[-1]}" for s in sides)
        for each in members:
            words = each.detail.rpartition(", ")[2]
            name, exact = each.detail.partition(" ")[0], " -> ".join(_values(each))
            ranges[id(each)] = replace(each, detail=f"{name} {text}, {words}", evidence=(exact,))
    yield from (ranges.get(id(each), each) for each in changes)


def _values(change: Change) -> tuple[str, str]:
    """``0.1`` and ``0.2`` of ``p 0.1 -> 0.2, computes something else``."""
    text = change.detail.rpartition(", ")[0].partition(" ")[2]
    before, _, after = text.partition(" -> ")
    return before, after


def _place(path: str) -> str:
    return ".".join("{n}" if name.isdecimal() else name for name in path.split("."))
