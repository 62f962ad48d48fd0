"""Which layer became which: explains missing and unexpected keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.believe.acceptance import accepted, support
from pytest_ckpt_compat._renames.believe.confidence import judge
from pytest_ckpt_compat._renames.believe.twins import twins
from pytest_ckpt_compat._renames.match.alignment import align
from pytest_ckpt_compat._renames.match.fusion import join_groups
from pytest_ckpt_compat._renames.match.leftovers import ends_model, resized
from pytest_ckpt_compat._renames.tell.clauses import evidence
from pytest_ckpt_compat._renames.tell.explain import Match, Sides, changes
from pytest_ckpt_compat._renames.tell.rules import Rule, RuleSet, grouped, rules
from pytest_ckpt_compat._renames.units.blocks import Repeats, collapse
from pytest_ckpt_compat._renames.units.units import Unit, units_of

__all__ = ["Rule", "RuleSet", "infer", "rules"]


def infer(old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> tuple[Change, ...]:
    """What happened to every key that is not the same on both sides, each exactly once.

    Args:
        old: key -> spec of the checkpoint, complete and in order.
        new: key -> spec of the definition, complete and in order.
    """
    if dict(old) == dict(new):
        return ()
    old_repeats, new_repeats = collapse(old, new)
    old_units, new_units = join_groups(_units(old_repeats), _units(new_repeats))
    found = align(old_units, new_units)
    believed = accepted(old_units, new_units, support(found))
    renumbered = {
        a
        for a, b in believed
        if old_repeats.numbers(old_units[a].path) != new_repeats.numbers(new_units[b].path)
    }
    unproven = renumbered | twins(old_units, new_units, believed)
    judged = judge(old_units, new_units, found, believed, unproven)
    clauses = evidence(found, old_units)
    matches = [
        Match(
            old_units[a],
            new_units[b],
            judged[a].confidence,
            clauses[a],
            tuple(new_units[other] for other in judged[a].rivals),
        )
        for a, b in believed
    ]
    matches += [
        Match(old_units[a], new_units[b], "likely", ("the same place and name, but for one size",))
        for a, b in resized(old_units, new_units, believed)
    ]
    heads = frozenset(
        tensor.key for unit in new_units if ends_model(unit, new_units) for tensor in unit.tensors
    )
    sides = Sides(old, new, old_repeats, new_repeats, heads)
    return grouped(changes(sides, matches), old, new)


def _units(repeats: Repeats) -> list[Unit]:
    return [replace(unit, copies=repeats.counts(unit.path)) for unit in units_of(repeats.specs)]
