"""One form for numbered blocks, wherever the digits stand.

``encoder_layer_7``, ``block3-4`` and ``s3.b4`` are blocks with a number, as ``layers.7`` is. Their keys
are rewritten so that each number is a segment of its own; the engine then sees one form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from pytest_ckpt_compat._renames.units.paths import home, is_number, modules_of, without_numbers

_DIGITS = re.compile(r"\d{1,18}")

#: Least number of blocks in a family. Two alike may be called ``first1`` and ``second2`` by accident.
_MIN_FAMILY = 3

#: The same, of single layers: ``norm1``, ``norm2`` and ``norm3`` are three names.
_MIN_LAYERS = 6


def canonical(keys: Iterable[str]) -> dict[str, str]:
    """Returns canonical key -> key, in the order given; keys that have no other form keep their own.

    A family is three or more siblings whose names differ in digits alone, and which hold modules; or six
    or more layers, as ``block_01`` to ``block_12``. ``norm1``, ``norm2`` and ``norm3`` are three names and no
    family. One that some block has is one in each block of this name, however few there are in it. A number
    that only repeats that of the block around, as the first one of ``block3-4`` in ``block3``, is left out.
    """
    keys = list(keys)
    families = _families(keys)
    if not families:
        return {key: key for key in keys}
    found = {_rewritten(key, families): key for key in keys}
    return found if len(found) == len(keys) else {key: key for key in keys}


def _families(keys: Iterable[str]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Returns (skeleton of the module around, of the name) of each family -> which of its numbers count."""
    children: defaultdict[tuple[str, str], defaultdict[str, set[str]]]
    children = defaultdict(lambda: defaultdict(set))
    holders: set[tuple[str, str]] = set()
    for module in {module for place in set(map(home, keys)) for module in modules_of(place)}:
        parent, _, name = module.rpartition(".")
        outer, _, outer_name = parent.rpartition(".")
        holders.add((outer, outer_name))
        if not is_number(name) and (skeleton := without_numbers(name)) != name:
            children[without_numbers(parent), skeleton][parent].add(name)
    return {
        family: _counting(blocks)
        for family, blocks in children.items()
        if any(
            len(names) >= (_MIN_FAMILY if any((parent, name) in holders for name in names) else _MIN_LAYERS)
            for parent, names in blocks.items()
        )
    }


def _counting(blocks: Mapping[str, Collection[str]]) -> tuple[int, ...]:
    """Returns the places of those numbers in the names of a family that the block around does not have."""
    numbers = [
        (_DIGITS.findall(parent)[-1:], _DIGITS.findall(name))
        for parent, names in blocks.items()
        for name in names
    ]
    places = range(len(numbers[0][1]))
    return tuple(place for place in places if any(own[place : place + 1] != outer for outer, own in numbers))


def _rewritten(key: str, families: Mapping[tuple[str, str], Sequence[int]]) -> str:
    segments = key.split(".")
    result: list[str] = []
    for depth, segment in enumerate(segments):
        counting = families.get((without_numbers(".".join(segments[:depth])), without_numbers(segment)))
        if counting is not None and not is_number(segment):
            words = [word.strip("_-") for word in _DIGITS.split(segment)]
            numbers = _DIGITS.findall(segment)
            result += ["_".join(word for word in words if word), *(numbers[place] for place in counting)]
        else:
            result.append(segment)
    return ".".join(result)
