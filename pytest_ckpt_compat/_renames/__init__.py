"""Finds out which layer became which, from missing and unexpected keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.believe.confidence import judge
from pytest_ckpt_compat._renames.believe.interchangeable import interchangeable
from pytest_ckpt_compat._renames.believe.plausibility import believed_matches, support
from pytest_ckpt_compat._renames.explain.changes import Match, Sides, changes
from pytest_ckpt_compat._renames.explain.patterns import (
    RenamePattern,
    RenamePatterns,
    grouped,
    rename_patterns,
)
from pytest_ckpt_compat._renames.explain.reasons import reasons
from pytest_ckpt_compat._renames.match.alignment import align
from pytest_ckpt_compat._renames.match.fusion import join_groups
from pytest_ckpt_compat._renames.match.leftovers import ends_model, resized
from pytest_ckpt_compat._renames.units.blocks import Repeats, collapse
from pytest_ckpt_compat._renames.units.units import Unit, units_of

__all__ = ["RenamePattern", "RenamePatterns", "infer", "rename_patterns"]


def infer(old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> tuple[Change, ...]:
    """Explains every key that differs between the two sides, each in exactly one change.

    Args:
        old: key -> spec of the checkpoint, complete and in order.
        new: key -> spec of the definition, complete and in order.
    """
    if dict(old) == dict(new):
        return ()
    old_repeats, new_repeats = collapse(old, new)
    old_units, new_units = join_groups(_units(old_repeats), _units(new_repeats))
    found = align(old_units, new_units)
    believed = believed_matches(old_units, new_units, support(found))
    renumbered = {
        a
        for a, b in believed
        if old_repeats.numbers(old_units[a].tensors[0].key)
        != new_repeats.numbers(new_units[b].tensors[0].key)
    }
    unproven = renumbered | interchangeable(old_units, new_units, believed)
    judged = judge(old_units, new_units, found, believed, unproven)
    evidence = reasons(found, old_units)
    matches = [
        Match(
            old_units[a],
            new_units[b],
            judged[a].confidence,
            evidence[a],
            tuple(new_units[other] for other in judged[a].rivals),
        )
        for a, b in believed
    ]
    matches += [
        Match(old_units[a], new_units[b], "likely", ("the same position and name, with one size changed",))
        for a, b in resized(old_units, new_units, believed)
    ]
    heads = frozenset(
        tensor.key for unit in new_units if ends_model(unit, new_units) for tensor in unit.tensors
    )
    sides = Sides(old, new, old_repeats, new_repeats, heads)
    return grouped(changes(sides, matches), old, new)


def _units(repeats: Repeats) -> list[Unit]:
    """Returns the units of a side, each with as many copies as every one of its tensors has."""
    found: list[Unit] = []
    for unit in units_of(repeats.specs):
        copies = repeats.counts(unit.tensors[0].key)
        own = [t for t in unit.tensors if repeats.copies and repeats.counts(t.key) != copies]
        tensors = tuple(t for t in unit.tensors if t not in own) if own else unit.tensors
        found.append(replace(unit, tensors=tensors, copies=copies))
        found += [Unit(t.key, (t,), repeats.counts(t.key)) for t in own]
    return found
