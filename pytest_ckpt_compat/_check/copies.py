"""Says that a checkpoint holds a model several times: student and teacher, or averaged weights beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import OBJECT, Structure


def of_copies(changes: Sequence[Change], _old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those about copies of one model say so, and how to choose one.

    Args:
        changes: what a load found, explained.
        new: the definition.
    """
    told = {key: found for each in changes for key, found in _choice(each).items()}
    whole = _whole(changes, new) if any(each.kind == "unexpected" for each in changes) else {}
    return [_told(each, told, whole) for each in changes]


def _told(change: Change, told: Mapping[str, tuple[str, str]], whole: Mapping[str, str]) -> Change:
    if change.advice or not change.old or change.old == change.new:
        return change
    key = change.old[0]
    if key in told and (change.rivals or change.kind == "unexpected"):
        return replace(change, detail=told[key][0], advice=told[key][1])
    if key in whole and change.kind == "unexpected":
        advice = (
            f"{whole[key]}.* is the whole model once more: load its keys alone if it is the one that you use "
            f'(strip_prefix="{whole[key]}."), or leave it out of what is loaded'
        )
        return replace(change, detail="another copy of the model", advice=advice)
    return change


def _choice(change: Change) -> dict[str, tuple[str, str]]:
    """Old key of an ambiguous pair, or of its rivals -> a clause about the others, and how to choose."""
    if not change.rivals or not change.old:
        return {}
    first = change.old[0]
    modules = list(dict.fromkeys(_differing(first, rival) for rival in change.rivals))
    names = sorted({modules[0][0], *(other for _, other in modules)})
    advice = _advice(names, first[len(modules[0][0]) :], change.new[0])
    found = {}
    for key in (*change.old, *change.rivals):
        own = next((name for name in names if key.startswith(f"{name}.")), "")
        others = " and ".join(f"{name}.*" for name in names if name != own)
        found[key] = (f"{others} fit{'s' if len(names) == 2 else ''} as well", advice)
    return found


def _advice(names: Sequence[str], rest: str, new: str) -> str:
    listed = " and ".join(f"{name}.*" for name in names)
    if not f".{new}".endswith(rest):
        return f"choose one of {listed}, which are alike, and load its keys alone: name it with --choose"
    target = f".{new}"[: -len(rest)].lstrip(".")
    after = f"{target}.*" if target else "*"
    choices = " or ".join(f'--choose "{name}.*={after}"' for name in names)
    stripped = " or ".join(f'strip_prefix="{name}."' for name in names)
    alone = "load its keys alone" if target else f"load its keys alone, with {stripped}"
    return f"choose one of {listed}, which are alike: {alone}, or migrate with {choices}"


def _differing(one: str, other: str) -> tuple[str, str]:
    """What stands before the end that two keys have in common: two modules."""
    ours, theirs = one.split("."), other.split(".")
    while len(ours) > 1 and len(theirs) > 1 and ours[-1] == theirs[-1]:
        ours, theirs = ours[:-1], theirs[:-1]
    return ".".join(ours), ".".join(theirs)


def _whole(changes: Sequence[Change], new: Structure) -> dict[str, str]:
    """Unexpected key -> the module below which the definition has all its tensors once more."""
    wanted = {key: spec.shape for key, spec in new.tensors.items() if spec.dtype != OBJECT}
    inside: Counter[str] = Counter()
    homes: dict[str, list[str]] = {}
    for change in changes:
        if change.kind != "unexpected" or change.advice or not change.old_specs:
            continue
        key = change.old[0]
        start = key.find(".")
        while start >= 0:
            if wanted.get(key[start + 1 :]) == change.old_specs[0].shape:
                inside[key[:start]] += 1
                homes.setdefault(key, []).append(key[:start])
            start = key.find(".", start + 1)
    return {
        key: module
        for key, modules in homes.items()
        for module in modules
        if len(wanted) > 1 and inside[module] == len(wanted)
    }
