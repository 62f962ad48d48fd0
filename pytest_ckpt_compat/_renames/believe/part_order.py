"""Whether names say in which order the parts of a joint tensor stand in it.

Rows load in any order: parts of 8 and 16 rows make 24 either way. Query, key and value stand so where they
are not kept head by head, and numbered siblings by their numbers; for anything else, the name of the joint
tensor has to hold those of its parts, in order, as ``gate_up_proj`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit

#: Parts that stand in this order wherever they are joined.
_CONVENTION = ("q", "k", "v")

#: Names under which the three are kept head by head (BLOOM, GPT-NeoX and Falcon in huggingface/transformers).
_BY_HEAD = frozenset({"query_key_value"})

#: The same, where several heads of the query share a key and a value (InternLM2).
_BY_GROUP = frozenset({"wqkv"})

#: What is said of a match whose rows may stand so.
HEAD_BY_HEAD = "models that name it so keep its rows head by head, query, key and value in turn"

#: What is said of a match whose parts are in doubt.
IN_DOUBT = "the names do not say in which order the parts stand"


def doubt(one: Unit, other: Unit) -> str:
    """Why the order of the parts of a match is not known, of which one side may be joint; "" if it is."""
    joint, whole = (one, other) if one.parts else (other, one)
    if len(joint.parts) < 2:
        return ""
    if not _is_told(joint, whole):
        return IN_DOUBT
    name = whole.path.rpartition(".")[2]
    rows = {part.main.shape[0] for part in joint.parts if part.main.shape}
    by_head = name in _BY_HEAD or (name in _BY_GROUP and len(rows) > 1)
    return HEAD_BY_HEAD if by_head else ""


def is_tossed(one: Unit, other: Unit, *, listed: bool) -> bool:
    """Whether nothing says in which order the parts stand, or the name of the joint tensor says another one.

    Args:
        one: unit of the old side.
        other: unit of the new side.
        listed: whether the parts stand in the order of their model.
    """
    joint, whole = (one, other) if one.parts else (other, one)
    words = list(dict.fromkeys(own_words([part.path for part in joint.parts])))
    places = _places(words, whole)
    if len(words) > 1 and len(places) == len(words):
        return places != sorted(places)
    return not listed and doubt(one, other) == IN_DOUBT


def _places(words: Sequence[str], whole: Unit) -> list[int]:
    """The places of those words that the name of a joint tensor has."""
    named = [word for segment in whole.path.split(".")[-2:] for word in segment_tokens(segment)]
    return [named.index(word) for word in words if word in named]


def _is_told(joint: Unit, whole: Unit) -> bool:
    paths = [part.path for part in joint.parts]
    numbers = _numbers(paths)
    if numbers is not None:
        return numbers == sorted(numbers)
    words = own_words(paths)
    places = _places(words, whole)
    if len(places) == len(words):
        return places == sorted(places)
    return set(words) <= {*_CONVENTION} and words == sorted(words, key=_CONVENTION.index)


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


def own_words(paths: Sequence[str]) -> list[str]:
    """The word by which each part differs from the others, or ""."""
    tokens = [[word for segment in path.split(".") for word in segment_tokens(segment)] for path in paths]
    common = set(tokens[0]).intersection(*tokens[1:])
    own = [[word for word in each if word not in common] for each in tokens]
    return [each[0] if each else "" for each in own]
