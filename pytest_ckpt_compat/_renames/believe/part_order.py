"""Whether names say in which order the parts of a joint tensor stand in it.

Rows load in any order: parts of 8 and 16 rows make 24 either way. Query, key and value stand so in every
library known, and numbered siblings by their numbers; for anything else, the name of the joint tensor has to
hold those of its parts, in order, as ``gate_up_proj`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit

#: Parts that stand in this order wherever they are joined.
_CONVENTION = ("q", "k", "v")

#: What is said of a match whose parts are in doubt.
IN_DOUBT = "the names do not say in which order the parts stand"


def is_known(one: Unit, other: Unit) -> bool:
    """Whether the order of the parts is known, of a match of which one side may be a joint unit."""
    joint, whole = (one, other) if one.parts else (other, one)
    if len(joint.parts) < 2:
        return True
    paths = [part.path for part in joint.parts]
    numbers = _numbers(paths)
    if numbers is not None:
        return numbers == sorted(numbers)
    words = _own_words(paths)
    if set(words) <= {*_CONVENTION}:
        return words == sorted(words, key=_CONVENTION.index)
    named = [word for segment in whole.path.split(".")[-2:] for word in segment_tokens(segment)]
    places = [named.index(word) for word in words if word in named]
    return len(places) == len(words) and places == sorted(places)


def _numbers(paths: Sequence[str]) -> list[int] | None:
    """The numbers of siblings such as ``experts.0`` and ``experts.1``; None of parts that have names."""
    segments = [path.split(".") for path in paths]
    if len(set(map(len, segments))) > 1:
        return None
    differing = [column for column in zip(*segments, strict=True) if len(set(column)) > 1]
    if not differing:
        return []
    if len(differing) > 1 or not all(map(str.isdecimal, differing[0])):
        return None
    return [int(number) for number in differing[0]]


def _own_words(paths: Sequence[str]) -> list[str]:
    """The word by which each part differs from the others, or ""."""
    tokens = [[word for segment in path.split(".") for word in segment_tokens(segment)] for path in paths]
    common = set(tokens[0]).intersection(*tokens[1:])
    own = [[word for word in each if word not in common] for each in tokens]
    return [each[0] if each else "" for each in own]
