"""Whether names say in which order the parts of a joint tensor stand in it.

Numbers of one shape load in any order. Query, key and value stand so in every library known; for anything
else, the name of the joint tensor has to hold those of its parts, in order, as ``gate_up_proj`` does.
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
    if len(joint.parts) < 2 or len({part.main.shape for part in joint.parts}) > 1:
        return True  # parts of other sizes go where they fit
    words = _own_words([part.path for part in joint.parts])
    if words is None:
        return True
    if set(words) <= {*_CONVENTION}:
        return words == sorted(words, key=_CONVENTION.index)
    named = [word for segment in whole.path.split(".")[-2:] for word in segment_tokens(segment)]
    places = [named.index(word) for word in words if word in named]
    return len(places) == len(words) and places == sorted(places)


def _own_words(paths: Sequence[str]) -> list[str] | None:
    """The word by which each part differs from the others; None if they differ in numbers alone."""
    tokens = [[word for segment in path.split(".") for word in segment_tokens(segment)] for path in paths]
    common = set(tokens[0]).intersection(*tokens[1:])
    own = [[word for word in each if word not in common] for each in tokens]
    if all(word.isdigit() for each in own for word in each):
        return None
    return [each[0] if each else "" for each in own]
