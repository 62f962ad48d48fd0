"""Parts of which a model has several: one that went and one that came may be two of them.

``rgb`` went and ``touch`` came, of the same content as ``audio``, which stayed. Nothing in the names says
that the one is the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

from pytest_ckpt_compat._renames.units.paths import is_number, modules_of
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit

#: Words of a part that is another one, of the same design.
_ANOTHER = frozenset(
    (
        "target",
        "ema",
        "swa",
        "momentum",
        "teacher",
        "ref",
        "reference",
        "aux",
        "auxiliary",
        "second",
        "shadow",
    )
)

#: The names of the layers in a part, and the number of their dimensions.
_Design = frozenset[tuple[str, int]]


def one_of_several(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of parts that have another name and may be two parts.

    Either a part beside it, of the same layers in other sizes perhaps, kept its name. Or the names are of one
    type and each states another of it (``rgb_encoder`` and ``depth_encoder``). Or one says that it is another
    one (``critic_target``).
    """
    ours, theirs = _designs(old), _designs(new)
    parts: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for a, b in chosen:
        part, other = _renamed(old[a].path, theirs.keys()), _renamed(new[b].path, ours.keys())
        several = len(ours.get(part, ())) > 1 and len(theirs.get(other, ())) > 1
        if several and not is_number(_name(part)) and not is_number(_name(other)):
            parts[part, other].append((a, b))
    kept = _kept(ours, theirs)
    found: set[tuple[int, int]] = set()
    for (part, other), members in parts.items():
        words, there = segment_tokens(_name(part)), segment_tokens(_name(other))
        more = set(words) ^ set(there)
        within = set(words) <= set(there) or set(there) <= set(words)
        beside = kept[_parent(part), ours[part]]
        of_one_type = ours[part] == theirs[other] and _are_of_one_type(words, there)
        if more & _ANOTHER or (not within and (beside or of_one_type)):
            found.update(members)
    return found


def _are_of_one_type(words: Sequence[str], there: Sequence[str]) -> bool:
    """Whether two names end in the same word, and say different things of it before."""
    return len(words) > 1 < len(there) and words[-1] == there[-1] and not {*words[:-1]} & {*there[:-1]}


def _renamed(path: str, there: Set[str]) -> str:
    """Returns the outermost module around a layer, or the layer itself, that the other side does not have."""
    return next((module for module in (*modules_of(path), path) if module not in there), "")


def _kept(ours: Mapping[str, _Design], theirs: Mapping[str, _Design]) -> Counter[tuple[str, _Design]]:
    """Counts the parts that both sides have, without numbers, by the module around them and their design."""
    return Counter(
        (_parent(path), ours[path]) for path in ours.keys() & theirs.keys() if not is_number(_name(path))
    )


def _designs(units: Sequence[Unit]) -> dict[str, _Design]:
    """Returns module -> the names of the layers in it, and the number of their dimensions."""
    found: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for unit in units:
        for module in modules_of(unit.path):
            found[module].add((unit.path[len(module) :], len(unit.main.shape)))
    return {module: frozenset(design) for module, design in found.items()}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _name(path: str) -> str:
    return path.rpartition(".")[2]
