"""Says of tensors that came which class their module had, and where that shows that equal blocks moved on.

A block of a class of its own, put in front of others, leaves keys missing at their end: each old block would
load one place off, and a default for the last one would hide it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._check.module_pairs import around
from pytest_ckpt_compat._check.recorded import Recorded, with_modules
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.class_names import is_torchs, simple
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._renames.units.paths import modules_of


@dataclass(frozen=True)
class _Blocks:
    """The numbered modules of one side, in which each key and module is looked at once.

    Attributes:
        classes: path of a parent -> number -> class.
        held: path of a numbered module -> the keys in it, and their shapes.
    """

    classes: Mapping[str, Mapping[int, str]]
    held: Mapping[str, Mapping[str, tuple[int, ...]]]

    @classmethod
    def of(cls, side: Structure) -> _Blocks:
        classes: defaultdict[str, dict[int, str]] = defaultdict(dict)
        for path, kind in sorted(side.modules.items()):
            parent, _, name = path.rpartition(".")
            if name.isdecimal():
                classes[parent][int(name)] = simple(kind)
        held: defaultdict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
        for key, spec in side.tensors.items():
            for module in modules_of(key):
                if module.rpartition(".")[2].isdecimal():
                    held[module][key[len(module) + 1 :]] = spec.shape
        return cls(classes, held)


def with_other_blocks(
    changes: Sequence[Change], old: Structure, new: Structure, recorded: Recorded
) -> Sequence[Change]:
    """The changes; missing tensors with the class that their module had, and with the blocks that moved on.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
        recorded: gives definitions of which one may have saved the checkpoint.
    """
    came = [each for each in changes if each.kind == "missing" and not each.advice]
    if not came or not new.modules:
        return changes
    there = {module for key in old.tensors for module in modules_of(key)}
    if all(there.isdisjoint(modules_of(each.new[0])) for each in came):
        return changes
    known = with_modules(old, recorded)
    if not known.modules:
        return changes
    explained = {
        module for each in changes if each.kind != "missing" for key in each.old for module in modules_of(key)
    }
    ours, theirs = _Blocks.of(known), _Blocks.of(new)
    moved = {
        parent: advice
        for parent in _parents(came)
        if parent not in explained and (advice := _moved_on(parent, ours, theirs))
    }
    told = {id(each): _told(each, moved, known, new) for each in came}
    return [told.get(id(each), each) for each in changes]


def _told(change: Change, moved: Mapping[str, str], old: Structure, new: Structure) -> Change:
    key, detail = change.new[0], change.detail
    module = next((path for path in around(key) if path in old.modules), "")
    before, after = (simple(side.modules.get(module, "")) for side in (old, new))
    if module and after and before != after and not is_torchs(new.modules[module]):
        detail = detail or f"its {before} is {_an(after)} here"
    advice = next((moved[path] for path in modules_of(key) if path in moved), "")
    return replace(change, detail=detail, advice=advice)


def _an(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _parents(changes: Sequence[Change]) -> set[str]:
    """The paths of what holds numbered modules, or numbered tensors, around the keys."""
    names = (name for each in changes for name in (*modules_of(each.new[0]), each.new[0]))
    parts = (name.rpartition(".") for name in names)
    return {parent for parent, _, name in parts if parent and name.isdecimal()}


def _moved_on(path: str, ours: _Blocks, theirs: _Blocks) -> str:
    """What to do where the blocks of a family fit by their classes only further on; "" elsewhere."""
    before, after = ours.classes.get(path, {}), theirs.classes.get(path, {})
    if len(after) <= len(before) or all(after.get(number) == kind for number, kind in before.items()):
        return ""
    pairs = list(_aligned(path, ours, theirs))
    if len(pairs) < len(before):
        return ""
    inside = f"{path}."
    one, other = next((one, other) for one, other in pairs if one != other)
    moved = f"{inside}{one}={inside}{other}"
    return (
        "by their classes, the checkpoint's blocks seem to be others here "
        f"({inside}{one} is {inside}{other}), which a default would hide: "
        f"rename them while loading (migrate=); ckpt-compat migrate takes --choose {moved}, and so on"
    )


def _aligned(path: str, ours: _Blocks, theirs: _Blocks) -> Iterator[tuple[int, int]]:
    """Old number -> the first new one behind those before it with its class, which has all that it holds."""
    before, after = ours.classes[path], theirs.classes[path]
    left = iter(sorted(after))
    for number in sorted(before):
        held = ours.held.get(f"{path}.{number}", {})
        for other in left:
            there = theirs.held.get(f"{path}.{other}", {})
            if after[other] == before[number] and held.items() <= there.items():
                yield number, other
                break
