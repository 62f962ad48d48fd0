"""One form for numbered blocks, wherever the digits stand.

``encoder_layer_7``, ``block3-4`` and ``s3.b4`` are blocks with a number, as ``layers.7`` is. Their keys
are rewritten so that each number is a segment of its own; the engine then sees one form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable

from pytest_ckpt_compat._renames.units.paths import home

_DIGITS = re.compile(r"\d{1,18}")

#: Least number of blocks in a family. Two alike may be called ``first1`` and ``second2`` by accident.
_MIN_FAMILY = 3

#: The same, of single layers: ``norm1``, ``norm2`` and ``norm3`` are three names.
_MIN_LAYERS = 6


def canonical(keys: Iterable[str]) -> dict[str, str]:
    """Returns canonical key -> key, in the order given; keys that have no other form keep their own.

    A family is three or more siblings whose names differ in digits alone, and which hold modules; or six
    or more layers, as ``block_01`` to ``block_12``. ``norm1``, ``norm2`` and ``norm3`` are three names and no
    family.
    """
    keys = list(keys)
    children: defaultdict[str, defaultdict[str, set[str]]]
    children = defaultdict(lambda: defaultdict(set))
    holders: set[tuple[str, str]] = set()
    for place in set(map(home, keys)):
        segments = place.split(".")
        holders.update((".".join(segments[:depth]), segments[depth]) for depth in range(len(segments) - 2))
        for depth, segment in enumerate(segments[:-1]):
            if not segment.isdigit() and (skeleton := _DIGITS.sub("#", segment)) != segment:
                children[".".join(segments[:depth])][skeleton].add(segment)
    families = {
        (parent, name)
        for parent, skeletons in children.items()
        for names in skeletons.values()
        if len(names) >= (_MIN_FAMILY if any((parent, name) in holders for name in names) else _MIN_LAYERS)
        for name in names
    }
    if not families:
        return {key: key for key in keys}
    found = {_rewritten(key, families): key for key in keys}
    return found if len(found) == len(keys) else {key: key for key in keys}


def _rewritten(key: str, families: Container[tuple[str, str]]) -> str:
    segments = key.split(".")
    result: list[str] = []
    for depth, segment in enumerate(segments):
        if (".".join(segments[:depth]), segment) in families:
            words = [word.strip("_-") for word in _DIGITS.split(segment)]
            result += ["_".join(word for word in words if word), *_DIGITS.findall(segment)]
        else:
            result.append(segment)
    return ".".join(result)
