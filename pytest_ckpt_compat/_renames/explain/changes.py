"""Turns matched units into changes. Each key that differs is in exactly one change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._core.changes import Change, Confidence, Kind
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.units.blocks import Repeats
from pytest_ckpt_compat._renames.units.parametrized import MAGNITUDE, MAIN
from pytest_ckpt_compat._renames.units.units import Tensor, Unit, shape_class


@dataclass(frozen=True)
class Match:
    """Two units that are believed to be the same, with the evidence."""

    old: Unit
    new: Unit
    confidence: Confidence = "likely"
    evidence: tuple[str, ...] = ()
    #: The new units that would fit as well, if the match is ambiguous.
    rivals: tuple[Unit, ...] = ()


@dataclass(frozen=True)
class Sides:
    """Both sides: all specs by key, the repeated blocks, and the keys of the new side's heads."""

    old: Mapping[str, TensorSpec]
    new: Mapping[str, TensorSpec]
    old_repeats: Repeats
    new_repeats: Repeats
    heads: frozenset[str] = frozenset()


def changes(sides: Sides, matches: Sequence[Match]) -> list[Change]:
    """Returns the changes of the matches, then those of the keys outside every match."""
    found: list[Change] = []
    settled_old: set[str] = set()
    settled_new: set[str] = set()
    for match in matches:
        for change in _of_match(sides, match):
            settled_old.update(change.old)
            settled_new.update(change.new)
            if change.old != change.new or _shapes(change.old_specs) != _shapes(change.new_specs):
                found.append(change)
    return found + list(_leftovers(sides, settled_old, settled_new))


def _shapes(specs: Sequence[TensorSpec]) -> list[tuple[int, ...]]:
    return [spec.shape for spec in specs]


def _of_match(sides: Sides, match: Match) -> Iterator[Change]:
    if match.old.parts or match.new.parts:
        yield from _of_joint(sides, match)
    else:
        for one, other in _corresponding(_parameters(match.old), _parameters(match.new)):
            yield from _of_parameter(sides, match, one, other)


#: Part of a parameter -> the tensor that holds it; a parameter stored as itself has the main part alone.
_Parameter = dict[str, Tensor]


def _parameters(unit: Unit) -> list[_Parameter]:
    """Returns the parameters of a unit, the main one first."""
    found: dict[str, _Parameter] = {}
    for tensor in unit.tensors:
        found.setdefault(tensor.role.partition(":")[0], {})[tensor.part] = tensor
    return [parts for parts in found.values() if MAIN in parts]


def _corresponding(
    old: Sequence[_Parameter], new: Sequence[_Parameter]
) -> Iterator[tuple[_Parameter, _Parameter]]:
    """Pairs the main parameters, then the others by role."""
    yield from zip(old[:1], new[:1], strict=False)
    others = {parts[MAIN].role: parts for parts in new[1:]}
    for parts in old[1:]:
        if parts[MAIN].role in others:
            yield parts, others[parts[MAIN].role]


def _of_parameter(sides: Sides, match: Match, old: _Parameter, new: _Parameter) -> Iterator[Change]:
    """Yields the changes of one parameter; none if it is not known how to make the new parts."""
    same_form = old[MAIN].form == new[MAIN].form
    if old.keys() == new.keys() and (same_form or MAGNITUDE not in old):
        for part, tensor in old.items():
            if same_form or tensor.spec.shape == new[part].spec.shape:
                yield from _pairs(
                    sides, match, [tensor], [new[part]], None if same_form else "reparametrized"
                )
    elif _shapes([old[MAIN].spec]) == _shapes([new[MAIN].spec]) and (
        old.keys() <= new.keys() or old.keys() >= new.keys()
    ):
        ours, theirs = ([parts[part] for part in sorted(parts, key=_order)] for parts in (old, new))
        yield from _pairs(sides, match, ours, theirs, kind="reparametrized")


def _order(part: str) -> tuple[bool, str]:
    """Sorts a magnitude before its direction, and any other part after the main one."""
    return part != MAGNITUDE, part


def _pairs(
    sides: Sides, match: Match, old: Sequence[Tensor], new: Sequence[Tensor], kind: Kind | None = None
) -> Iterator[Change]:
    """Yields one change per copy of the units."""
    columns = [sides.old_repeats.expand(tensor.key) for tensor in old]
    others = [sides.new_repeats.expand(tensor.key) for tensor in new]
    rivals = [sides.new_repeats.expand(_same_role(unit, new[0]).key) for unit in match.rivals]
    rivals = [keys for keys in rivals if len(keys) == len(others[0])]
    kind = kind or _kind(sides, old[0].spec, new[0].spec, new[0].key)
    for index, (ours, theirs) in enumerate(
        zip(zip(*columns, strict=True), zip(*others, strict=True), strict=True)
    ):
        yield _change(sides, match, kind, ours, theirs, tuple(keys[index] for keys in rivals))


def _same_role(unit: Unit, tensor: Tensor) -> Tensor:
    """Returns the tensor of ``unit`` with the role of ``tensor``, or its main one."""
    return next((other for other in unit.tensors if other.role == tensor.role), unit.tensors[0])


def _kind(sides: Sides, old: TensorSpec, new: TensorSpec, key: str) -> Kind:
    if old.shape == new.shape:
        return "renamed"
    if shape_class(old) == shape_class(new):
        return "transposed"
    return "head-resized" if key in sides.heads and old.shape[1:] == new.shape[1:] else "resized"


def _of_joint(sides: Sides, match: Match) -> Iterator[Change]:
    """Yields a split or a fusion for each tensor of a layer and each copy."""
    splits = bool(match.new.parts)
    joint, whole = (match.new, match.old) if splits else (match.old, match.new)
    many, one = (sides.new_repeats, sides.old_repeats) if splits else (sides.old_repeats, sides.new_repeats)
    for index, tensor in enumerate(whole.tensors):
        role = "main" if index == 0 else tensor.role
        rows = _rows(many, joint, role)
        if tensor.form != "plain" or not rows:
            continue
        rivals = [_rows(sides.new_repeats, unit, role) for unit in match.rivals]
        for number, (single, several) in enumerate(zip(one.expand(tensor.key), rows, strict=True)):
            candidates = tuple(key for each in rivals if len(each) == len(rows) for key in each[number])
            if splits:
                yield _change(sides, match, "split", (single,), several, candidates)
            else:
                yield _change(sides, match, "fused", several, (single,), candidates)


def _rows(repeats: Repeats, unit: Unit, role: str) -> list[tuple[str, ...]]:
    """Returns the keys of one role in all parts of a unit, for each copy; nothing if a part has none."""
    pieces = [_piece(part, role) for part in unit.parts or (unit,)]
    copies = math.prod(unit.copies)
    columns = [_chunks(repeats.expand(piece.key), copies) for piece in pieces if piece]
    if len(columns) < len(pieces):
        return []
    return [
        tuple(key for row in zip(*groups, strict=True) for key in row)
        for groups in zip(*columns, strict=True)
    ]


def _piece(part: Unit, role: str) -> Tensor | None:
    if role == "main":
        return part.tensors[0]
    return next((tensor for tensor in part.tensors[1:] if tensor.role == role), None)


def _chunks(keys: list[str], number: int) -> list[list[str]]:
    size = len(keys) // number
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def _change(
    sides: Sides,
    match: Match,
    kind: Kind,
    old: tuple[str, ...],
    new: tuple[str, ...],
    candidates: tuple[str, ...] = (),
) -> Change:
    return Change(
        kind,
        old,
        new,
        tuple(sides.old[key] for key in old),
        tuple(sides.new[key] for key in new),
        match.confidence,
        match.evidence,
        candidates,
    )


def _leftovers(sides: Sides, settled_old: set[str], settled_new: set[str]) -> Iterator[Change]:
    """Yields the changes of keys outside every match."""
    for key, spec in sides.old.items():
        if key in settled_old:
            continue
        if key in sides.new and key not in settled_new:
            settled_new.add(key)
            if sides.new[key].shape != spec.shape:
                kind = _kind(sides, spec, sides.new[key], key)
                yield Change(kind, (key,), (key,), (spec,), (sides.new[key],))
        else:
            yield Change("unexpected", old=(key,), old_specs=(spec,))
    for key, spec in sides.new.items():
        if key not in settled_new:
            yield Change("missing", new=(key,), new_specs=(spec,))
