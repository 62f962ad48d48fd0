"""Pairs keys that differ in nothing but the names under which wrappers keep their module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.prefixes import WRAPPERS, unwrapped
from pytest_ckpt_compat._core.structure import Structure

#: What torch's AveragedModel saves beside the weights: how many were averaged.
AVERAGED = "n_averaged"


def without_wrappers(facts: Iterable[Change], old: Structure, new: Structure) -> tuple[Change, ...]:
    """The facts; a key that is missing only because of a wrapper in its name is renamed, and that is said.

    ``torch.compile`` of one layer, FSDP and others put such names in the middle of keys. Where they do, a
    key of another size beside them is resized.

    Args:
        facts: what a load found.
        old: the checkpoint.
        new: the definition.
    """
    found = tuple(facts)
    lost = _only(found, "unexpected")
    if not lost:
        return found
    wanted = [*_only(found, "missing"), *(key for key in new.tensors if _is_filled_in(key, old))]
    bare = {each: _by_bare(dict.fromkeys(keys)) for each, keys in (("old", lost), ("new", wanted))}
    pairs = {
        (ours[0], theirs[0])
        for name, ours in bare["old"].items()
        if len(ours) == 1 and len(theirs := bare["new"].get(name, [])) == 1
    }
    fitting = {pair for pair in pairs if compare.fits(old.tensors[pair[0]], new.tensors[pair[1]])}
    pairs = pairs if fitting else set()
    paired = {"unexpected": {a for a, _ in pairs}, "missing": {b for _, b in pairs}}
    rest = [
        each for each in found if not (each.kind in paired and {*each.old, *each.new} <= paired[each.kind])
    ]
    others = (compare.resized(after, old, new, before) for before, after in sorted(pairs - fitting))
    return (*_renamed(sorted(fitting), old, new), *others, *rest)


def _is_filled_in(key: str, old: Structure) -> bool:
    """Whether torch fills in a counter that the checkpoint lacks under this key."""
    return key.rpartition(".")[2] == "num_batches_tracked" and key not in old.tensors


def _only(facts: Sequence[Change], kind: Kind) -> list[str]:
    """The keys of a kind that both sides tell nothing else about."""
    return [key for each in facts if each.kind == kind and not each.advice for key in (*each.old, *each.new)]


def _by_bare(keys: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(unwrapped(key)[0], []).append(key)
    return found


def _renamed(pairs: Iterable[tuple[str, str]], old: Structure, new: Structure) -> Iterator[Change]:
    averaged = AVERAGED in old.tensors
    for before, after in pairs:
        ours, theirs = unwrapped(before)[1], unwrapped(after)[1]
        gone, come = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
        names, side = (gone or come or list(ours)), "checkpoint" if gone else "definition"
        wrappers = " and ".join(
            "AveragedModel" if name == "module" and averaged else WRAPPERS[name] for name in names
        )
        listed = " and ".join(f'"{name}."' for name in names)
        if not gone:
            first = f"load into the module that {wrappers} wraps, or put {listed} into"
        elif "_fsdp_wrapped_module" in names:
            first = f"save a full state_dict (torch.distributed.checkpoint), or take {listed} out of"
        else:
            first = f"save the state_dict of the module that {wrappers} wraps, or take {listed} out of"
        yield Change(
            "renamed",
            (before,),
            (after,),
            (old.tensors[before],),
            (new.tensors[after],),
            evidence=(f"the same key without {listed}",),
            detail=f"wrapped by {wrappers} in the {side}",
            advice=f"{first} the keys while loading (migrate=)",
        )
