"""Finds out which layer became which, from missing and unexpected keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.believe import bare, part_order
from pytest_ckpt_compat._renames.believe.judge import judge
from pytest_ckpt_compat._renames.explain.changes import Match, Sides, changes
from pytest_ckpt_compat._renames.explain.copies import with_copies
from pytest_ckpt_compat._renames.explain.patterns import (
    RenamePattern,
    RenamePatterns,
    grouped,
    rename_patterns,
)
from pytest_ckpt_compat._renames.explain.reasons import reasons
from pytest_ckpt_compat._renames.match.alignment import Alignment, align
from pytest_ckpt_compat._renames.match.fusion import join_groups
from pytest_ckpt_compat._renames.match.leftovers import ends_model, resized
from pytest_ckpt_compat._renames.units.blocks import Repeats, collapse
from pytest_ckpt_compat._renames.units.numbered import canonical
from pytest_ckpt_compat._renames.units.order import by_name, is_registered
from pytest_ckpt_compat._renames.units.owners import Owner, labelled, owners_of
from pytest_ckpt_compat._renames.units.units import Unit, units_of

#: Key -> the module that owns it, of the old side and of the new one.
Owners = tuple[Mapping[str, Owner], Mapping[str, Owner]]

__all__ = ["RenamePattern", "RenamePatterns", "infer", "owners_of", "rename_patterns"]


def infer(
    old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec], owners: Owners | None = None
) -> tuple[Change, ...]:
    """Explains every key that differs between the two sides, each in exactly one change.

    Args:
        old: key -> spec of the checkpoint, complete and in order.
        new: key -> spec of the definition, complete and in order.
        owners: key -> the module that owns it, of each side, where both are definitions in code or recorded
            ones. Then both stand in the order of registration.
    """
    if dict(old) == dict(new):
        return ()
    with garbage_collection_paused():
        return _explained(old, new, owners)


def _explained(
    old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec], owners: Owners | None
) -> tuple[Change, ...]:
    ours, theirs = canonical(old), canonical(new)
    found = _inferred(
        {name: old[key] for name, key in ours.items()},
        {name: new[key] for name, key in theirs.items()},
        owners and (_canonical(owners[0], ours), _canonical(owners[1], theirs)),
    )
    if any(name != key for names in (ours, theirs) for name, key in names.items()):
        found = [_restored(change, ours, theirs) for change in found]
    return grouped(found, old, new)


def _canonical(owners: Mapping[str, Owner], names: Mapping[str, str]) -> dict[str, Owner]:
    return {name: owners[key] for name, key in names.items() if key in owners}


def _restored(change: Change, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Change:
    """Returns a change with the keys that the two sides really have."""
    return replace(
        change,
        old=tuple(ours[key] for key in change.old),
        new=tuple(theirs[key] for key in change.new),
        candidates=tuple(theirs[key] for key in change.candidates),
        rivals=tuple(ours[key] for key in change.rivals),
    )


def aligned(
    old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec], owners: Owners | None = None
) -> tuple[Sides, list[Unit], list[Unit], Alignment]:
    """Returns both sides, the units of each, and the best assignment of old units to new ones."""
    ordered = (True, True) if owners else (is_registered(list(old)), is_registered(list(new)))
    old, new = (
        specs if registered else by_name(specs) for specs, registered in zip((old, new), ordered, strict=True)
    )
    old_repeats, new_repeats = collapse(old, new, owners)
    old_units, new_units = join_groups(_units(old_repeats), _units(new_repeats))
    if owners:
        old_units, new_units = labelled(old_units, new_units, owners)
    heads = frozenset(
        tensor.key for unit in new_units if ends_model(unit, new_units) for tensor in unit.tensors
    )
    sides = Sides(old, new, old_repeats, new_repeats, heads)
    return sides, old_units, new_units, align(old_units, new_units, ordered=ordered)


def _inferred(
    old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec], owners: Owners | None
) -> list[Change]:
    """Explains the keys in their canonical forms."""
    sides, old_units, new_units, found = aligned(old, new, owners)
    judged = judge(old_units, new_units, found)
    evidence = reasons(found, old_units)
    matches = [
        Match(
            old_units[a],
            new_units[b],
            judgement.confidence,
            evidence[a],
            tuple(new_units[other] for other in judgement.rivals),
        )
        for (a, b), judgement in judged.items()
    ]
    matches += [
        Match(old_units[a], new_units[b], "likely", ("the same position and name, with one size changed",))
        for a, b in resized(old_units, new_units, list(judged))
    ]
    told = changes(sides, [_of_known_order(match, found.ordered) for match in matches])
    return with_copies([bare.doubted(each) for each in told], sides.old, sides.new)


def _of_known_order(match: Match, ordered: tuple[bool, bool]) -> Match:
    """The match; not certain where the order of its parts is a guess, and ambiguous where it is a toss."""
    doubt = part_order.doubt(match.old, match.new)
    if match.confidence == "ambiguous" or not doubt:
        return match
    listed = ordered[0] if match.old.parts else ordered[1]
    tossed = part_order.is_tossed(match.old, match.new, listed=listed)
    return replace(match, confidence="ambiguous" if tossed else "likely", evidence=(doubt, *match.evidence))


def _units(repeats: Repeats) -> list[Unit]:
    """Returns the units of a side, each with as many copies as every one of its tensors has."""
    found: list[Unit] = []
    for unit in units_of(repeats.specs):
        copies = repeats.counts(unit.tensors[0].key)
        own = [t for t in unit.tensors if repeats.copies and repeats.counts(t.key) != copies]
        tensors = tuple(t for t in unit.tensors if t not in own) if own else unit.tensors
        found.append(replace(unit, tensors=tensors, copies=copies, numbers=repeats.numbers(tensors[0].key)))
        found += [Unit(t.key, (t,), repeats.counts(t.key), repeats.numbers(t.key)) for t in own]
    return found
