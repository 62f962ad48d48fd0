"""Explains missing and unexpected keys: which of them became which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pytest_ckpt_compat._check.attention import in_own_forms
from pytest_ckpt_compat._check.compare import missing
from pytest_ckpt_compat._check.former import is_in_one_recurrent_layer
from pytest_ckpt_compat._check.notes import failed
from pytest_ckpt_compat._check.recorded import Recorded, nothing, with_modules
from pytest_ckpt_compat._check.wrapped import without_wrappers
from pytest_ckpt_compat._core.adapters import ADAPTER
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import OBJECT, Structure, TensorSpec

#: Kinds of facts that an explanation may replace.
_EXPLAINED: frozenset[Kind] = frozenset({"missing", "unexpected", "resized", "head-resized"})
#: Kinds that tell what became of a key without an explanation.
_TOLD: frozenset[Kind] = frozenset({"unexpected", "renamed", "split", "fused"})
#: Kinds that say something besides about keys whose story another change tells.
_BESIDE: frozenset[Kind] = frozenset({"retyped", "retied"})
#: Kinds of which a report gives the specs beside the keys.
_BY_SPECS: frozenset[Kind] = frozenset(
    {"resized", "head-resized", "retyped", "transposed", "optimizer-mismatch"}
)


def explain(
    facts: Iterable[Change], old: Structure, new: Structure, recorded: Recorded = nothing
) -> tuple[Change, ...]:
    """Replaces facts about missing, unexpected and resized keys by what became of these keys.

    The facts are torch's. Keys that a hook has already dealt with are not among them and need no
    explanation, even if only one structure has them.

    Args:
        facts: what a load found.
        old: the checkpoint.
        new: the definition.
        recorded: gives definitions of which one may have saved the checkpoint; then the classes of its
            modules are known.
    """
    facts, asked = _kept_in_parts(facts, new)
    found = _inferred(facts, old, new, recorded)
    lacking = _lacking(found)
    return (*found, *(fact for fact, parts in asked if not lacking.isdisjoint(parts)))


def _inferred(
    facts: tuple[Change, ...], old: Structure, new: Structure, recorded: Recorded
) -> tuple[Change, ...]:
    """The explanation of facts about keys that their sides have."""
    found = grouped(without_wrappers(in_own_forms(facts, old, new), old, new), old, new)
    open_facts = [fact for fact in found if _is_open(fact)]
    unmatched_old = {key for fact in open_facts for key in fact.old}
    unmatched_new = {key for fact in open_facts for key in fact.new}
    if not unmatched_old or not unmatched_new or _only_grew(open_facts):
        return found
    from pytest_ckpt_compat._renames import infer, owners_of  # only a check that found something pays for it

    told = [fact for fact in found if not _is_open(fact) and (fact.kind in _TOLD or _is_moved(fact))]
    told_old = {key for fact in told for key in fact.old}
    told_new = {key for fact in told for key in fact.new}
    before, after = _sides(old, new, unmatched_old, unmatched_new, told_old, told_new)
    owners = None
    if new.modules and (saved := with_modules(old, recorded)).modules:
        before = {key: before[key] for key in saved.tensors if key in before}
        owners = (
            owners_of(saved.tensors, saved.modules, saved.settings),
            owners_of(new.tensors, new.modules, new.settings),
        )
    known = {(fact.kind, fact.old, fact.new): fact for fact in found}
    inferred = infer(before, after, owners)
    wrong = {key for each in inferred if is_in_one_recurrent_layer(each) for key in (*each.old, *each.new)}
    kept = [
        known.get((change.kind, change.old, change.new), change)
        for change in inferred
        if not _of_one(change, old, new)
        and not wrong.issuperset((*change.old, *change.new))
        and (
            (change.kind not in _EXPLAINED and change.old != change.new)
            or (unmatched_old.issuperset(change.old) and unmatched_new.issuperset(change.new))
        )
    ]
    if new.source.format == ADAPTER:  # its last layer is no head
        in_place = {(fact.old, fact.new): fact for fact in found if fact.old == fact.new}
        kept = [in_place.get((change.old, change.new), change) for change in kept]
    explained_old = {key for change in kept for key in change.old}
    explained_new = {key for change in kept for key in change.new}
    rest = [
        fact
        for fact in found
        if not _is_open(fact)
        or not (explained_old.issuperset(fact.old) and explained_new.issuperset(fact.new))
    ]
    return (*kept, *_left(kept, rest, new), *rest)


def _kept_in_parts(
    facts: Iterable[Change], new: Structure
) -> tuple[tuple[Change, ...], list[tuple[Change, set[str]]]]:
    """The facts, and apart from them the missing keys that the definition keeps in parts, with these.

    A hook of torch's old spectral norm asks for the weight itself where the checkpoint has none of its parts.
    """
    facts = tuple(facts)
    asked = {key for key in _lacking(facts) if key not in new.tensors}
    if not asked:
        return facts, []
    from pytest_ckpt_compat._renames.units.parametrized import parametrized

    parts: dict[str, set[str]] = {}
    for key, each in parametrized(new.tensors).items():
        parts.setdefault(each.parameter, set()).add(key)
    lacking = _lacking(facts)
    told = {key for key in asked & parts.keys() if parts[key] <= lacking}
    apart = [fact for fact in facts if fact.kind == "missing" and told.issuperset(fact.new)]
    kept = tuple(fact for fact in facts if fact not in apart)
    return kept, [(fact, set().union(*(parts[key] for key in fact.new))) for fact in apart]


def _lacking(facts: Iterable[Change]) -> set[str]:
    """The keys that are missing."""
    return {key for fact in facts if fact.kind == "missing" for key in fact.new}


def _of_one(change: Change, old: Structure, new: Structure) -> bool:
    """Whether the parts that are said to be joined, or to come of a split, are names of one tensor."""
    parts, side = {"fused": (change.old, old), "split": (change.new, new)}.get(change.kind, ((), old))
    return len(parts) > 1 and any({*parts} <= {*group} for group in side.aliases)


def _only_grew(facts: Sequence[Change]) -> bool:
    """Whether tensors have other sizes in their places, and none has as many elements as another had.

    Then none is another's, and nothing is left to explain.
    """
    if any(fact.old != fact.new for fact in facts):
        return False
    before = {spec.numel for fact in facts for spec in fact.old_specs}
    return before.isdisjoint(spec.numel for fact in facts for spec in fact.new_specs)


def _left(kept: Sequence[Change], rest: Sequence[Change], new: Structure) -> Iterator[Change]:
    """The keys of the definition whose tensor of the same key an explanation gave to another one."""
    taken = {key for change in kept if change.old != change.new and change.new for key in change.old}
    given = {key for change in (*kept, *rest) if change.kind not in _BESIDE for key in change.new}
    for key in new.tensors:
        if key in taken and key not in given:
            detail = "the checkpoint has another layer's under this key"
            yield replace(missing(key, new, {}), detail=detail)


def explained(
    facts: Iterable[Change], old: Structure, new: Structure, recorded: Recorded = nothing
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The changes and no note, or the bare facts and a note if explaining them failed."""
    facts = tuple(facts)
    try:
        return explain(facts, old, new, recorded), ()
    except Exception as error:  # an explanation serves the reader; the facts stand without it
        return facts, failed("explaining the changes", error)


def grouped(changes: Iterable[Change], old: Structure, new: Structure) -> tuple[Change, ...]:
    """The changes; those between different keys with the pattern that each belongs to.

    Where a report gives specs or a detail, they are the same for all keys of a pattern.
    """
    result = list(changes)
    alike: dict[object, list[int]] = {}
    for position, change in enumerate(result):
        if change.old and change.new and change.old != change.new and change.kind != "retied":
            specs = (change.old_specs, change.new_specs) if change.kind in _BY_SPECS else None
            alike.setdefault((change.kind, change.detail, specs), []).append(position)
    if not alike:
        return tuple(result)
    from pytest_ckpt_compat._renames.explain.patterns import grouped as by_pattern

    for positions in alike.values():
        members = by_pattern([result[position] for position in positions], old.tensors, new.tensors)
        for position, change in zip(positions, members, strict=True):
            result[position] = change
    return tuple(result)


def _is_open(fact: Change) -> bool:
    """Whether an explanation may replace a fact; not one of which both sides show more than the names."""
    known = fact.kind in _EXPLAINED and bool(fact.old or fact.kind == "missing") and not fact.advice
    return known and not _is_moved(fact)


def _is_moved(fact: Change) -> bool:
    """Whether a fact is about one tensor of two keys: those that a wrapper's name alone tells apart."""
    return bool(fact.old and fact.new) and fact.old != fact.new and fact.kind in ("resized", "head-resized")


def _sides(
    old: Structure,
    new: Structure,
    unmatched_old: set[str],
    unmatched_new: set[str],
    told_old: set[str],
    told_new: set[str],
) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """The tensors of each side, without those that a hook has dealt with, and those whose story is told."""
    ours = {key: spec for key, spec in _tensors(old).items() if key not in told_old}
    theirs = {key: spec for key, spec in _tensors(new).items() if key not in told_new}
    hooked = any(key not in new.tensors and key not in unmatched_old for key in ours)
    before = {key: spec for key, spec in ours.items() if key in new.tensors or key in unmatched_old}
    if not hooked:
        # Keys that torch filled in by itself (num_batches_tracked) belong to their layers.
        return before, theirs
    return before, {k: spec for k, spec in theirs.items() if k in old.tensors or k in unmatched_new}


def _tensors(structure: Structure) -> dict[str, TensorSpec]:
    return {key: spec for key, spec in structure.tensors.items() if spec.dtype != OBJECT}
