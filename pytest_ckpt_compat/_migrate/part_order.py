"""In which order the parts of a joint tensor stand in it, as far as names say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.believe import part_order
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit, units_of
from pytest_ckpt_compat._renames.units.word_order import crossed

#: What is said of parts whose order no name tells, at its beginning.
UNTOLD = part_order.IN_DOUBT
#: Most parts that are named.
_SHOWN = 4


def by_name(parts: Sequence[str], whole: str) -> tuple[str, ...]:
    """The parts in the order in which the name of the joint tensor has their words, if it has them.

    ``kqv`` holds the rows of ``k``, ``q`` and ``v``, in this order. Of ``experts.0.gate``, ``experts.0.up``,
    ``experts.1.gate``, ``experts.1.up``, each pair is put into the order of ``up_gate``.

    Args:
        parts: their keys.
        whole: its key.
    """
    groups = _groups(parts, whole)
    return tuple(part for group in groups for part in group) or tuple(parts)


def doubt(
    parts: Sequence[str], whole: str, many: Mapping[str, TensorSpec], one: Mapping[str, TensorSpec]
) -> str:
    """Why it is not known that the parts stand in this order; "" if it is.

    Args:
        parts: their keys, in the order in which they are joined or divided.
        whole: the key of the joint tensor.
        many: the tensors of the side that has the parts.
        one: those of the side that has it.
    """
    units = [units_of({key: many[key]})[0] for key in parts]
    joint = Unit(units[0].path, units[0].tensors, parts=tuple(units))
    found = part_order.doubt(joint, units_of({whole: one[whole]})[0])
    if found != part_order.IN_DOUBT:
        return f"{found} ({_last(whole)})" if found else ""
    return "" if _groups(parts, whole) else f"{found}: here it is {_in_turn(parts)}"


def told(given: Sequence[str], parts: Sequence[str], whole: str) -> str:
    """What is said of parts that the name of the joint tensor has put into another order; "" of others."""
    if tuple(given) == tuple(parts):
        return ""
    return f"that the parts stand as {_in_turn(parts)} is told by the name {_last(whole)} alone"


def renamed_across(old: str, new: str, spec: TensorSpec) -> str:
    """What is said of a joint tensor that gets a name with its parts in another order; "" of another."""
    one, other = _last(old), _last(new)
    if spec.shape[:1] in ((), (1,)) or not crossed(one, other):
        return ""
    return f"{one} and {other} name their parts in another order, and here the rows stay as they are"


def by_head_no_more(old: str, new: str) -> str:
    """What is said of a joint layer that loses or gets a name under which rows stand head by head; or ""."""
    one, other = (units_of({key: TensorSpec("float32", ())})[0] for key in (old, new))
    if not all(set("qkv") <= set(segment_tokens(_last(key))) for key in (old, new)):
        return ""
    parts = tuple(Unit(name, one.tensors) for name in "qkv")
    said = [part_order.doubt(Unit("", one.tensors, parts=parts), each) for each in (one, other)]
    if {*said} != {"", part_order.HEAD_BY_HEAD}:
        return ""
    by_head = old if said[0] else new
    return (
        f"models that name it {_last(by_head)} keep its rows head by head, query, key and value in turn, "
        f"and here the rows of {_last(old)} stay as they are"
    )


def _groups(parts: Sequence[str], whole: str) -> list[list[str]]:
    """The parts by turns, each in the order of the joint tensor's name; none if some are not in it."""
    words = part_order.own_words(parts)
    number = len(dict.fromkeys(words))
    named = _named(words, whole)
    if number < 2 or not named or len(words) % number:
        return []
    groups = [range(start, start + number) for start in range(0, len(words), number)]
    if any(len({words[i] for i in group}) < number for group in groups):
        return []
    return [[parts[i] for i in sorted(group, key=lambda i: named.index(words[i]))] for group in groups]


def _in_turn(parts: Sequence[str]) -> str:
    """The names of the layers, one after another; those of a few where they are many."""
    names = list(map(_last, parts))
    return ", ".join(names if len(names) <= _SHOWN else [*names[:_SHOWN], "..."])


def _last(key: str) -> str:
    """The name of the layer that a tensor is in, without the modules around it."""
    return units_of({key: TensorSpec("float32", ())})[0].path.rpartition(".")[2]


def _named(words: Sequence[str], whole: str) -> list[str]:
    """The words of a joint tensor's layer, or of it and the module around; [] if not all are in it."""
    path = units_of({whole: TensorSpec("float32", ())})[0].path
    segments = [segment_tokens(each) for each in path.split(".")]
    for number in (1, 2):
        found = [word for segment in segments[-number:] for word in segment]
        if set(words) <= {*found}:
            return found
    return []
