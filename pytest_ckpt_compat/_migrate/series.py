"""Finds keys that differ in one number that counts up from 0, so that code need not list them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_ckpt_compat._migrate.rules import Joint
from pytest_ckpt_compat._migrate.templates import Ref, Template, expanded, joined

#: Fewer keys than this are listed one by one.
_FEW = 4

#: Templates with a reference to group 0 in place of the number, in the order in which they take turns; and
#: how often they do.
Series = tuple[tuple[Template, ...], int]


def of_results(joint: Joint) -> Series | None:
    """The series that the new keys of an operation are, or None."""
    return _series(joint.new, _turns(joint))


def of_parts(joint: Joint) -> Series | None:
    """The series that all old keys of an operation are, or None."""
    turns = _turns(joint)
    first = _first(joint, turns)
    return None if first is None else _series((first, *joint.others), turns)


def _turns(joint: Joint) -> int:
    """How many keys in a row belong to one number."""
    return joint.op.numbers[1] if joint.op.name in ("stack", "unstack") else 1


def _first(joint: Joint, turns: int) -> Template | None:
    """The template of the first old key, of which an operation has a pattern alone."""
    if len(joint.others) < 2 * turns or not joint.steps:
        return None
    one, two = (_segments(joint.others[n * turns - 1]) for n in (1, 2))
    places = [i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
    if len(places) != 1 or one[places[0]] != ("1",):
        return None
    one[places[0]] = ("0",)
    first = _whole(one)
    key = joint.steps[0].old[0]
    found = re.fullmatch(joint.pattern, key)
    return first if found and expanded(first, found.groups()) == key else None


def _series(templates: Sequence[Template], turns: int) -> Series | None:
    if len(templates) < _FEW * turns or len(templates) % turns:
        return None
    found = [_counted(templates[start::turns]) for start in range(turns)]
    if any(each is None for each in found):
        return None
    return tuple(each for each in found if each is not None), len(templates) // turns


def _counted(templates: Sequence[Template]) -> Template | None:
    split = [_segments(each) for each in templates]
    if len({len(each) for each in split}) > 1:
        return None
    places = [i for i in range(len(split[0])) if len({each[i] for each in split}) > 1]
    if len(places) != 1 or [each[places[0]] for each in split] != [(str(n),) for n in range(len(split))]:
        return None
    split[0][places[0]] = (Ref(0),)
    return _whole(split[0])


def _whole(segments: Sequence[Template]) -> Template:
    return joined(part for i, each in enumerate(segments) for part in (*((".",) if i else ()), *each))


def _segments(template: Template) -> list[Template]:
    """A template divided at the dots."""
    found: list[Template] = [()]
    for part in template:
        first, *rest = part.split(".") if isinstance(part, str) else [part]
        if first != "":
            found[-1] = (*found[-1], first)
        found += [(each,) if each else () for each in rest]
    return found
