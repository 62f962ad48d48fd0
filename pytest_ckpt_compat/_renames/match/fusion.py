"""Joins tensors that the other side holds as one: q, k, v; gate and up; stacked experts.

If the other side has a spare tensor of the shape that the concatenation (or stack) of a group has,
one joint unit replaces the group before the matching, and competes like any other unit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, zip_longest

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.units.paths import home, is_number, numbers
from pytest_ckpt_compat._renames.units.tokens import Names, segment_tokens
from pytest_ckpt_compat._renames.units.units import Tensor, Unit

#: Words of layers that are often stored as one tensor, in the order of concatenation.
TOGETHER: tuple[tuple[str, ...], ...] = (("q", "k", "v"), ("k", "v"), ("q", "k"), ("gate", "up"))

#: A value that is equal for units that can hold the same numbers.
_Class = tuple[object, ...]


def join_groups(old: Sequence[Unit], new: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Returns both sides, with joint units for groups that the other side holds as one tensor.

    A layer that is on both sides in the same size is no part of one. One that is there in another size is no
    joint layer of parts in another module.
    """
    return _join(old, new), _join(new, old)


def _join(units: Sequence[Unit], others: Sequence[Unit]) -> list[Unit]:
    spare = Counter(unit.kind for unit in units)
    spare.subtract(unit.kind for unit in others)
    wanted: defaultdict[_Class, list[Unit]] = defaultdict(list)
    for unit in others:
        if spare[unit.kind] < 0:
            wanted[unit.kind].append(unit)
    if not wanted:
        return list(units)
    here, there = ({unit.path: unit.kind for unit in side} for side in (units, others))
    offers: defaultdict[_Class, list[Unit]] = defaultdict(list)
    for joint in _joints([unit for unit in units if there.get(unit.path) != unit.kind], wanted):
        offers[joint.kind].append(joint)
    for kind, joints in offers.items():
        homes = {home(part.path) for joint in joints for part in joint.parts}
        grown = (each for each in wanted[kind] if here.get(each.path, kind) != kind)
        spare[kind] += sum(home(each.path) not in homes for each in grown)
    names, unlike = {_own_name(unit) for unit in others}, _unlike(units)
    #: Unit, by its identity -> what stands in its stead: the joint unit, and what that has no place for.
    replaced: dict[int, tuple[Unit, ...]] = {}
    for kind, joints in sorted(offers.items(), key=lambda offer: -len(_own_names(offer[1][0]))):
        for joint in _closest(joints, wanted[kind], names, unlike):
            consumed = Counter(part.kind for part in joint.parts)
            taken = any(id(part) in replaced for part in joint.parts)
            if spare[kind] >= 0 or taken or any(spare[each] < count for each, count in consumed.items()):
                continue
            spare.subtract(consumed)
            spare[kind] += 1
            replaced.update((id(part), _left_of(part, joint)) for part in joint.parts)
            replaced[id(joint.parts[0])] = (joint, *replaced[id(joint.parts[0])])
    return [each for unit in units for each in replaced.get(id(unit), (unit,))]


def _left_of(part: Unit, joint: Unit) -> tuple[Unit, ...]:
    """What the joint unit has no place for: the bias of a part, where another part has none."""
    held = {tensor.role for tensor in joint.tensors}
    left = (tensor for tensor in part.tensors[1:] if tensor.role not in held)
    return tuple(replace(part, tensors=(tensor,)) for tensor in left)


def _closest(
    joints: list[Unit], wanted: list[Unit], there: Container[str], unlike: Container[frozenset[str]]
) -> list[Unit]:
    """Sorts the joint units by how well their shapes and names fit a wanted unit.

    Names decide last. A part whose name the other side has as well, as one of those ``there``, probably
    stayed what it was; and two whose names are ``unlike`` elsewhere are no parts of one layer.
    """
    names = Names([joint.path for joint in joints], [unit.path for unit in wanted])
    shapes = {unit.main.shape for unit in wanted}
    blocks = {numbers(unit.path) for unit in wanted}

    def fit(joint: Unit) -> tuple[bool, bool, int, float]:
        own = _own_names(joint)
        stayed = sum(name in there for name in own)
        apart = sum(frozenset(pair) in unlike for pair in combinations(own, 2))
        alike = max(names.similarity(joint.path, each.path) for each in wanted)
        return joint.main.shape in shapes, numbers(joint.path) in blocks, -stayed - apart, alike

    # The best of each block, and then the others: not all that one block has to offer.
    ranked: defaultdict[tuple[int, ...], list[Unit]] = defaultdict(list)
    for joint in sorted(joints, key=fit, reverse=True):
        ranked[numbers(joint.path)].append(joint)
    return [joint for each in zip_longest(*ranked.values()) for joint in each if joint]


def _unlike(units: Sequence[Unit]) -> set[frozenset[str]]:
    """Returns the pairs of names that somewhere stand beside each other with matrices that can't be joined.

    ``w1`` and ``w3`` of a gated layer have one shape, and ``w2`` has another one.
    """
    modules: defaultdict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for unit in units:
        if len(unit.main.shape) > 1:
            modules[home(unit.path)][_own_name(unit)] = unit.main.shape
    return {
        frozenset((one, other))
        for held in modules.values()
        for one, other in combinations(held, 2)
        if held[one][1:] != held[other][1:]
    }


def _own_names(joint: Unit) -> list[str]:
    """Returns the names of its parts, each once."""
    return list(dict.fromkeys(map(_own_name, joint.parts)))


def _own_name(unit: Unit) -> str:
    return unit.path.rpartition(".")[2]


def _joints(units: Sequence[Unit], wanted: Mapping[_Class, Sequence[Unit]]) -> Iterator[Unit]:
    """Yields a joint unit for every group of plain tensors whose joint shape is wanted."""
    units = [unit for unit in units if all(tensor.form == "plain" for tensor in unit.tensors)]
    blocks: defaultdict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        blocks[_block(unit.path)].append(unit)
    for path, parts in _siblings(units):
        groups = [parts]
        if len(parts) > 2:
            inner = parts[0].main.shape[1:]
            groups += [
                [*parts, unit]
                for unit in blocks[_block(path)]
                if unit.copies == parts[0].copies
                and len(unit.main.shape) > 1
                and unit.main.shape[1:] == inner
                and unit not in parts
            ]
        for group in groups:
            yield from (joint for joint in _concatenations(path, group) if joint.kind in wanted)
    lengths = {unit.main.shape[0] for each in wanted.values() for unit in each if unit.main.shape}
    yield from (joint for joint in _stacks(units, lengths) if joint.kind in wanted)


def _siblings(units: Sequence[Unit]) -> Iterator[tuple[str, list[Unit]]]:
    """Yields groups of sibling layers with a joint path: parts by name, or two or three alike."""
    families: defaultdict[tuple[str, tuple[str, ...], tuple[int, ...]], dict[str, Unit]]
    families = defaultdict(dict)
    alike: defaultdict[tuple[str, tuple[int, ...], tuple[int, ...]], list[Unit]] = defaultdict(list)
    for unit in units:
        if len(unit.main.shape) < 2:
            continue
        parent, _, name = unit.path.rpartition(".")
        words = segment_tokens(name)
        for word in {word for group in TOGETHER for word in group}.intersection(words):
            rest = tuple(each for each in words if each != word)
            families[parent, rest, unit.copies][word] = unit
        alike[parent, unit.main.shape, unit.copies].append(unit)
    for (parent, rest, _), members in families.items():
        for together in TOGETHER:
            if members.keys() >= set(together):
                yield f"{parent}.{'_'.join((*together, *rest))}", [members[word] for word in together]
    for (parent, _, _), layers in alike.items():
        if len(layers) in (2, 3):
            yield f"{parent}.{'_'.join(unit.path.rpartition('.')[2] for unit in layers)}", layers


def _concatenations(path: str, parts: Sequence[Unit]) -> Iterator[Unit]:
    """Yields the parts concatenated along their first axis, and along their last."""
    shapes = [part.main.shape for part in parts]
    if any(len(shape) != len(shapes[0]) for shape in shapes):
        return
    for axis in {0, len(shapes[0]) - 1}:
        around = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
        if len(around) == 1:
            size = sum(shape[axis] for shape in shapes)
            yield _joint(path, parts, (*shapes[0][:axis], size, *shapes[0][axis + 1 :]), parts[0].copies)


def _stacks(units: Sequence[Unit], lengths: set[int]) -> Iterator[Unit]:
    """Numbered siblings (experts) stacked along a new axis, one layer of each or two alike."""
    rows: defaultdict[tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]], defaultdict[str, list[Unit]]]
    rows = defaultdict(lambda: defaultdict(list))
    for unit in units:
        segments = unit.path.split(".")
        for index, segment in enumerate(segments):
            if is_number(segment):
                before, after = tuple(segments[:index]), ".".join(segments[index + 1 :])
                rows[before, unit.main.shape, unit.copies][after].append(unit)
        if unit.copies and unit.copies[-1] in lengths:
            yield _joint(unit.path, [unit], (unit.copies[-1], *unit.main.shape), unit.copies[:-1])
    for (before, shape, copies), tails in rows.items():
        full = {tail: row for tail, row in tails.items() if len(row) in lengths}
        for tail, row in full.items():
            yield _joint(".".join((*before, tail)), row, (len(row), *shape), copies)
        for one, other in combinations(full, 2):
            if len(full[one]) == len(full[other]) and shape:
                parts = [unit for pair in zip(full[one], full[other], strict=True) for unit in pair]
                size = (len(full[one]), 2 * shape[0], *shape[1:])
                yield _joint(".".join((*before, f"{one}_{other}")), parts, size, copies)


def _joint(path: str, parts: Sequence[Unit], shape: tuple[int, ...], copies: tuple[int, ...]) -> Unit:
    tensors = [Tensor("weight", parts[0].tensors[0].key, TensorSpec(parts[0].main.dtype, shape))]
    biases = [tensor for part in parts for tensor in part.tensors if tensor.role == "bias"]
    if len(biases) == len(parts):
        size = sum(bias.spec.numel for bias in biases)
        tensors.append(Tensor("bias", biases[0].key, TensorSpec(biases[0].spec.dtype, (size,))))
    return Unit(path.lstrip("."), tuple(tensors), copies, parts[0].numbers[: len(copies)], tuple(parts))


def _block(path: str) -> str:
    """Returns the path up to its last number: the repeated block around it."""
    segments = path.split(".")
    while segments and not is_number(segments[-1]):
        segments.pop()
    return ".".join(segments)
