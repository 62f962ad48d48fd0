"""Finds few operations on families of keys that give exactly the wanted steps on a list of keys."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pytest_ckpt_compat._migrate.rules import Joint
from pytest_ckpt_compat._migrate.steps import COPY, DROP, Step
from pytest_ckpt_compat._migrate.templates import (
    Ref,
    Segments,
    Template,
    expanded,
    is_number,
    pattern_of,
    segmented,
    template_of,
)

Numbers = tuple[int, ...]

#: Names that tell the tensors of one layer apart; steps that differ in nothing else share an operation.
_LEAVES = ("weight", "bias")


def joints_for(steps: Sequence[Step], keys: Sequence[str], fine: int = 0) -> tuple[Joint, ...]:
    """Operations that do what the steps do, and match no other key.

    Copies come first, for they leave their old key in place.

    Args:
        steps: the steps, none of which is a mere move.
        keys: all old keys.
        fine: 0 for operations as general as they may be, 2 for one a step.
    """
    left = dict.fromkeys(keys)
    found = _dropped(steps, left) if fine < 1 else []
    done = {step for joint in found for step in joint.steps}
    for members in _forms([step for step in steps if step not in done], fine):
        candidates = list(_candidates(members)) if fine < 2 else []
        chosen = next((each for each in candidates if _exact(each, members, left)), None)
        found += [chosen] if chosen else [_alone(step) for step in members]
    return tuple(_ending_alike(found, left) if fine < 1 else found)


def _forms(steps: Sequence[Step], fine: int) -> list[list[Step]]:
    """Steps that differ in their numbers alone, or in whether they are about a weight or its bias."""
    forms: defaultdict[object, list[Step]] = defaultdict(list)
    for step in sorted(steps, key=lambda step: step.op != COPY):
        named = _leaf(step) if fine < 1 else None
        base = segmented(step.old[0])[1]
        rest = tuple(_shape(key, named, base) for key in (*step.old, *step.new))
        forms[step.op, len(step.old), rest, named is None].append(step)
    return list(forms.values())


def _leaf(step: Step) -> str | None:
    """The last segment of all keys of a step, if it is one of ``_LEAVES``."""
    ends = {key.rpartition(".")[2] for key in (*step.old, *step.new)}
    leaf = ends.pop()
    return leaf if not ends and leaf in _LEAVES else None


def _shape(key: str, leaf: str | None, base: Numbers) -> object:
    """What keys share that differ from the first old key of their step in the same way."""
    segments, numbers = segmented(key)
    if len(numbers) == len(base):
        return segments if leaf is None else segments[:-1], tuple(
            n - b if n != b else 0 for n, b in zip(numbers, base, strict=True)
        )
    return segments if leaf is None else segments[:-1], len(numbers)


def _candidates(members: Sequence[Step]) -> Iterator[Joint]:
    """Operations for steps of one form, the general one first."""
    first = members[0]
    leaves = tuple(dict.fromkeys(leaf for step in members if (leaf := _leaf(step))))
    leaves = leaves if len(leaves) > 1 else ()
    bases = [segmented(step.old[0])[1] for step in members]
    if all(_follow(members, bases, place) for place in _places(first)):
        for limited in (False, True):
            yield _joint(members, bases, leaves, limited)


def _dropped(steps: Sequence[Step], keys: dict[str, None]) -> list[Joint]:
    """Drops of all that lies below a module; takes their keys away."""
    drops = {step.old[0]: step for step in steps if step.op == DROP}
    found: list[Joint] = []
    for key in drops:
        segments = key.split(".")
        for end in range(1, len(segments) if key in keys else 0):
            pattern = pattern_of(segments[:end]) + r"\..*"
            matched = [each for each in keys if re.fullmatch(pattern, each)]
            if len(matched) > 1 and drops.keys() >= set(matched):
                found.append(Joint(DROP, pattern, steps=tuple(drops[each] for each in matched)))
                for each in matched:
                    del keys[each]
                break
    return found


def _ending_alike(joints: Sequence[Joint], keys: Iterable[str]) -> list[Joint]:
    """The operations, with one drop in place of several that each take one key, of modules of one name."""
    alone = {joint.steps[0].old[0]: joint for joint in joints if joint.op == DROP and len(joint.steps) == 1}
    modules: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key in alone:
        module, _, leaf = key.rpartition(".")
        modules[module.rpartition(".")[2]][leaf].append(module)
    joined: list[Joint] = []
    for name, leaves in modules.items():
        alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for leaf, parents in leaves.items():
            alike[tuple(sorted(parents))].append(leaf)
        for inside, ends in alike.items():
            end = "|".join(map(re.escape, ends))
            pattern = rf".*\.{re.escape(name)}\.{f'(?:{end})' if len(ends) > 1 else end}"
            taken = {f"{module}.{leaf}" for module in inside for leaf in ends}
            if len(taken) > 1 and {key for key in keys if re.fullmatch(pattern, key)} == taken:
                steps = tuple(joint.steps[0] for key, joint in alone.items() if key in taken)
                joined.append(Joint(DROP, pattern, steps=steps))
    gone = {step for joint in joined for step in joint.steps}
    return [*joined, *(joint for joint in joints if gone.isdisjoint(joint.steps))]


def _places(step: Step) -> list[int]:
    """The positions of a step's keys but the first old one."""
    return list(range(1, len(step.old) + len(step.new)))


def _follow(members: Sequence[Step], bases: Sequence[Numbers], place: int) -> bool:
    return _references(members, bases, place) is not None


def _references(members: Sequence[Step], bases: Sequence[Numbers], place: int) -> list[Ref | int] | None:
    """How the numbers of one key of the steps follow from those of the first; None if they do not."""
    numbers = [segmented((*step.old, *step.new)[place])[1] for step in members]
    found: list[Ref | int] = []
    for column in range(len(numbers[0])):
        way = _way([each[column] for each in numbers], bases, column)
        if way is None:
            return None
        found.append(way)
    return found


def _way(values: Sequence[int], bases: Sequence[Numbers], column: int) -> Ref | int | None:
    width = len(bases[0])
    constant = values[0] if len(set(values)) == 1 else None
    for i in sorted(range(width), key=lambda i: abs(i - column)):
        if all(value == base[i] for value, base in zip(values, bases, strict=True)) and (
            constant is None or i == column
        ):
            return Ref(i + 1)
    if constant is not None:
        return constant
    for i in range(width):
        shifts = {value - base[i] for value, base in zip(values, bases, strict=True)}
        if len(shifts) == 1:
            return Ref(i + 1, shifts.pop())
    return None


def _joint(
    members: Sequence[Step], bases: Sequence[Numbers], leaves: tuple[str, ...], limited: bool
) -> Joint:
    first = members[0]
    keys = (*first.old, *first.new)
    segments, base = segmented(first.old[0])
    ways = [_references(members, bases, place) or [] for place in _places(first)]
    referred = [{way.group - 1 for way in each if isinstance(way, Ref)} for each in ways]
    followed = set.intersection(*referred) if referred else set()
    varying = {i for i in range(len(base)) if len({each[i] for each in bases}) > 1}
    free = sorted(varying | (followed if len(members) > 1 else set()))
    old = _pattern_segments(segments, base, bases, set(free), limited)
    if leaves:
        old[-1] = leaves
    groups = {column: number + 1 for number, column in enumerate(free)}
    made = [
        _template(key, way, groups, base, len(free) + 1 if leaves else 0)
        for key, way in zip(keys[1:], ways, strict=True)
    ]
    number = len(first.old) - 1
    return Joint(first.op, pattern_of(old), tuple(made[:number]), tuple(made[number:]), tuple(members))


def _pattern_segments(
    segments: Segments, base: Numbers, bases: Sequence[Numbers], free: set[int], limited: bool
) -> list[str | Sequence[str] | None]:
    column = -1
    found: list[str | Sequence[str] | None] = []
    for segment in segments:
        column += segment is None
        if segment is not None:
            found.append(segment)
        elif column not in free:
            found.append(str(base[column]))
        elif limited:
            found.append([str(n) for n in sorted({each[column] for each in bases})])
        else:
            found.append(None)
    return found


def _template(
    key: str, ways: Sequence[Ref | int], groups: dict[int, int], base: Numbers, leaf_group: int
) -> Template:
    each = iter(ways)
    parts: list[str | Ref] = []
    for segment in key.split("."):
        way = next(each) if is_number(segment) else None
        if isinstance(way, Ref):
            column = way.group - 1
            known = column in groups
            parts.append(Ref(groups[column], way.shift) if known else str(base[column] + way.shift))
        else:
            parts.append(segment)
    if leaf_group:
        parts[-1] = Ref(leaf_group)
    return template_of(parts)


def _exact(joint: Joint, members: Sequence[Step], keys: Iterable[str]) -> bool:
    """Whether an operation does what the steps do on the keys that are left, and no more."""
    wanted = {step.old[0]: step for step in members}
    for key in keys:
        found = re.fullmatch(joint.pattern, key)
        if not found:
            continue
        step = wanted.pop(key, None)
        if step is None:
            return False
        made = tuple(expanded(each, found.groups()) for each in (*joint.others, *joint.new))
        if made != (*step.old[1:], *step.new):
            return False
    return not wanted


def _alone(step: Step) -> Joint:
    """The operation of one step, by its exact keys."""
    others, new = (tuple((key,) for key in keys) for keys in (step.old[1:], step.new))
    return Joint(step.op, re.escape(step.old[0]), others, new, (step,))
