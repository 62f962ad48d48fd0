"""Says of tensors that came which class their module had, and where that shows that equal blocks moved on.

A block of a class of its own, put in front of others, leaves keys missing at their end: each old block would
load one place off, and a default for the last one would hide it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._check.module_pairs import around
from pytest_ckpt_compat._check.recorded import Recorded, with_modules
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.class_names import is_torchs, simple
from pytest_ckpt_compat._core.structure import Structure


@dataclass(frozen=True)
class _Family:
    """Numbered modules of one parent: number -> class, of both sides."""

    path: str
    ours: Mapping[int, str]
    theirs: Mapping[int, str]


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
    if not any(_in_a_module_of(each.new[0], old) for each in came) or not new.modules:
        return changes
    known = with_modules(old, recorded)
    if not known.modules:
        return changes
    moved = {
        prefix: advice for prefix in _prefixes(came) if (advice := _moved_on(prefix, changes, known, new))
    }
    told = {id(each): _told(each, moved, known, new) for each in came}
    return [told.get(id(each), each) for each in changes]


def _in_a_module_of(key: str, old: Structure) -> bool:
    """Whether a module around the key has tensors in the checkpoint, too."""
    return any(path and any(each.startswith(f"{path}.") for each in old.tensors) for path in around(key))


def _told(change: Change, moved: Mapping[str, str], old: Structure, new: Structure) -> Change:
    key, detail = change.new[0], change.detail
    module = next((path for path in around(key) if path in old.modules), "")
    before, after = (simple(side.modules.get(module, "")) for side in (old, new))
    if module and after and before != after and not is_torchs(new.modules[module]):
        detail = detail or f"its {before} is {_an(after)} here"
    advice = next((text for prefix, text in moved.items() if key.startswith(f"{prefix}.")), "")
    return replace(change, detail=detail, advice=advice)


def _an(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _prefixes(changes: Sequence[Change]) -> list[str]:
    """The paths of what holds numbered modules around the keys, outermost first."""
    found: dict[str, int] = {}
    for each in changes:
        names = each.new[0].split(".")
        found |= {".".join(names[:at]): at for at, name in enumerate(names) if at and name.isdecimal()}
    return sorted(found, key=lambda path: found[path])


def _moved_on(path: str, changes: Sequence[Change], old: Structure, new: Structure) -> str:
    """What to do where the blocks of a family fit by their classes only further on; "" elsewhere."""
    inside = f"{path}."
    if any(key.startswith(inside) for each in changes if each.kind != "missing" for key in each.old):
        return ""  # they are explained
    family = _Family(path, _classes(path, old), _classes(path, new))
    if len(family.theirs) <= len(family.ours) or all(
        family.theirs.get(number) == kind for number, kind in family.ours.items()
    ):
        return ""
    pairs = list(_aligned(family, old, new))
    if len(pairs) < len(family.ours):
        return ""
    one, other = next((one, other) for one, other in pairs if one != other)
    moved = f"{inside}{one}={inside}{other}"
    return (
        "by their classes, the checkpoint's blocks seem to be others here "
        f"({inside}{one} is {inside}{other}), which a default would hide: "
        f"rename them while loading (migrate=); ckpt-compat migrate takes --choose {moved}, and so on"
    )


def _classes(path: str, side: Structure) -> dict[int, str]:
    inside = f"{path}."
    names = {
        each.removeprefix(inside): kind for each, kind in side.modules.items() if each.startswith(inside)
    }
    return {int(name): simple(kind) for name, kind in sorted(names.items()) if name.isdecimal()}


def _aligned(family: _Family, old: Structure, new: Structure) -> Iterator[tuple[int, int]]:
    """Old number -> the first new one behind those before it with its class, which has all that it holds."""
    left = iter(sorted(family.theirs))
    for number in sorted(family.ours):
        held = _held(f"{family.path}.{number}.", old)
        for other in left:
            there = _held(f"{family.path}.{other}.", new)
            if family.theirs[other] == family.ours[number] and held.items() <= there.items():
                yield number, other
                break


def _held(inside: str, side: Structure) -> dict[str, tuple[int, ...]]:
    return {
        key.removeprefix(inside): spec.shape for key, spec in side.tensors.items() if key.startswith(inside)
    }
