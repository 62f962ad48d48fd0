"""One refactor: the keys before, the keys after, and which key became which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_ckpt_compat import TensorSpec

Specs = dict[str, TensorSpec]
Kind = Literal["refactor", "mixed", "negative"]


@dataclass(frozen=True)
class Truth:
    """What happened to each key. One that is on both sides and not mentioned is unchanged.

    Attributes:
        renames: old key -> new key of the same tensor, with the same shape.
        splits: old key -> the new keys that it became, in the order of its parts.
        fuses: the old keys, in the order of the parts, and the new key that they became.
        resized: old key -> new key of the same tensor with another shape (transposed, squeezed, wider).
        removed: old keys of tensors that are gone.
        added: new keys of tensors that came.
        blind_old: old keys whose fate nobody can know from keys and shapes.
        blind_new: new keys whose origin nobody can know.
        untold: old keys of which the source of the case does not say what became of them.
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fuses: tuple[tuple[tuple[str, ...], str], ...] = ()
    resized: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    blind_old: frozenset[str] = frozenset()
    blind_new: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Case:
    """Two key lists and the truth about them.

    Attributes:
        name: unique in a corpus.
        family: cases that are alike; a fit leaves out whole families.
        kind: a refactor, one in which a part was replaced as well, or a pair without any rename.
        old: key -> spec, in the file's order.
        new: key -> spec, in the order of the definition.
        truth: which became which.
        ambiguous: pairs that count neither for nor against.
        edits: what was done, for a case that was made up; the first word of each is its kind.
    """

    name: str
    family: str
    kind: Kind
    old: Specs
    new: Specs
    truth: Truth
    ambiguous: frozenset[tuple[str, str]] = frozenset()
    edits: tuple[str, ...] = ()


def to_data(case: Case) -> dict[str, Any]:
    """The case as plain data for JSON; empty parts are left out."""
    truth = case.truth
    told = {
        "renames": dict(truth.renames),
        "splits": {old: list(new) for old, new in truth.splits.items()},
        "fuses": [[list(old), new] for old, new in truth.fuses],
        "resized": dict(truth.resized),
        "removed": _in_order(case.old, truth.removed),
        "added": _in_order(case.new, truth.added),
        "blind": [_in_order(case.old, truth.blind_old), _in_order(case.new, truth.blind_new)],
        "untold": _in_order(case.old, truth.untold),
    }
    data: dict[str, Any] = {
        "name": case.name,
        "family": case.family,
        "kind": case.kind,
        "edits": list(case.edits),
        "old": _triples(case.old),
        "new": _triples(case.new),
        "truth": {name: value for name, value in told.items() if value and value != [[], []]},
        "ambiguous": [list(pair) for pair in sorted(case.ambiguous)],
    }
    return {name: value for name, value in data.items() if value or name in ("old", "new", "truth")}


def from_data(data: Mapping[str, Any]) -> Case:
    """The case from plain data, as ``to_data`` makes it."""
    truth = data["truth"]
    blind_old, blind_new = truth.get("blind", ((), ()))
    return Case(
        data["name"],
        data["family"],
        data["kind"],
        _specs(data["old"]),
        _specs(data["new"]),
        Truth(
            truth.get("renames", {}),
            {old: tuple(new) for old, new in truth.get("splits", {}).items()},
            tuple((tuple(old), new) for old, new in truth.get("fuses", ())),
            truth.get("resized", {}),
            frozenset(truth.get("removed", ())),
            frozenset(truth.get("added", ())),
            frozenset(blind_old),
            frozenset(blind_new),
            frozenset(truth.get("untold", ())),
        ),
        frozenset((old, new) for old, new in data.get("ambiguous", ())),
        tuple(data.get("edits", ())),
    )


def problems(case: Case) -> list[str]:
    """What is wrong with a case's truth: every key of either side must have exactly one fate."""
    truth = case.truth
    fates: dict[str, list[str]] = {
        "old": [*truth.renames, *truth.splits, *truth.resized, *truth.removed],
        "new": [*truth.renames.values(), *truth.resized.values(), *truth.added],
    }
    fates["old"] += [key for old, _ in truth.fuses for key in old]
    fates["new"] += [key for new in truth.splits.values() for key in new]
    fates["new"] += [new for _, new in truth.fuses]
    found = []
    told = {side: set(keys) for side, keys in fates.items()}
    for side, specs, other in (("old", case.old, "new"), ("new", case.new, "old")):
        if len(fates[side]) != len(told[side]):
            found.append(f"{side}: a key with two fates")
        if told[side] - specs.keys():
            found.append(f"{side}: a key that is not there: {min(told[side] - specs.keys())}")
        unchanged = specs.keys() - told[side] if not truth.untold else set()
        if unchanged - (getattr(case, other).keys() - told[other]):
            found.append(
                f"{side}: a key without a fate: {min(unchanged - getattr(case, other).keys(), default='')}"
            )
    found += [
        f"a rename with another shape: {old} -> {new}"
        for old, new in truth.renames.items()
        if old in case.old and new in case.new and case.old[old].shape != case.new[new].shape
    ]
    return found


def _in_order(specs: Specs, keys: frozenset[str]) -> list[str]:
    return [key for key in specs if key in keys]


def _triples(specs: Specs) -> list[list[Any]]:
    return [[key, list(spec.shape), spec.dtype] for key, spec in specs.items()]


def _specs(triples: Iterable[tuple[str, list[int], str]]) -> Specs:
    return {key: TensorSpec(dtype, tuple(shape)) for key, shape, dtype in triples}
