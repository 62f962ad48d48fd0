"""The verdict on a checkpoint of several parts: each part's own, by keys that name the part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pytest_ckpt_compat._core import parts
from pytest_ckpt_compat._core.changes import TIED, Change, Policy, Severity
from pytest_ckpt_compat._core.migrated import Applied, Migrated
from pytest_ckpt_compat._core.rules import accept, judge
from pytest_ckpt_compat._core.structure import SNAPSHOT, Source, Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import Definition

#: Loads the structure of a part into its definition.
Load = Callable[[Structure, Definition, Policy], Verdict]

_ARROW = " -> "


def check_parts(structure: Structure, definition: Definition, policy: Policy, load: Load) -> Verdict:
    """Loads each part of a structure into its definition, and joins what the loads found.

    Args:
        structure: as ``_core.parts.joined`` makes it.
        definition: one with parts.
        policy: strictness and accepted breaks; keys in these name the part.
        load: makes the verdict on one part.
    """
    lacking = _lacking(structure, definition)
    own = replace(policy, accepted=())
    found = {}
    for name, each in definition.parts.items():
        verdict = load(parts.part_of(structure, name), each, own)
        if name in lacking:
            verdict = replace(verdict, changes=(*judge([_absent(structure)], own), *verdict.changes))
        found[name] = verdict
    changes = [_named(change, name) for name, each in found.items() for change in each.changes]
    repairs = dict.fromkeys(pair for each in found.values() for pair in each.repairs)
    failing = [each for each in found.values() if any(each.of(Severity.ERROR))]
    return replace(
        next(iter(found.values())),
        changes=accept(changes, policy),
        old=_joined({name: each.old for name, each in found.items()}, structure),
        new=_joined({name: each.new for name, each in found.items()}, None, definition),
        old_label=structure.source.path,
        new_label=definition.label,
        where=(failing or list(found.values()))[0].where,
        notes=tuple(f"{name}: {note}" for name, each in found.items() for note in each.notes),
        repairs=tuple(repairs),
        before=_before(found, structure),
        migrated=_migrated(found),
        remapped={
            f"{name}.{old}": f"{name}.{new}" for name, v in found.items() for old, new in v.remapped.items()
        },
    )


def _lacking(structure: Structure, definition: Definition) -> set[str]:
    """The parts of which there is nothing in a structure."""
    return definition.parts.keys() - held(structure, definition)


def held(structure: Structure, definition: Definition) -> set[str]:
    """The parts of a definition that a structure has; their keys tell where nothing else does."""
    known = dict(structure.source.parts)
    if known:
        return definition.parts.keys() & known.keys()
    return {part for part in definition.parts if any(key.startswith(f"{part}.") for key in structure.tensors)}


def _absent(structure: Structure) -> Change:
    if structure.source.format == SNAPSHOT:
        detail = "the snapshot has no state_dict of this name; if the file has one, record it again by its id"
        return Change("load-raises", detail=detail)
    others = ", ".join(structure.source.others[:4])
    also = f"; it also holds {others}" if others else ""
    return Change("load-raises", detail=f"the file has no state_dict of this name{also}")


def _named(change: Change, part: str) -> Change:
    """A change by keys that name the part; one without keys names it in its words."""
    start = f"{part}."

    def keys(listed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(start + key for key in listed)

    detail = change.detail
    if change.kind == "prefixed" or not (change.old or change.new):
        detail = f"{part}: {detail}"
    elif detail.startswith(TIED):
        detail = f"{TIED}{start}{detail.removeprefix(TIED)}"
    return replace(
        change,
        old=keys(change.old),
        new=keys(change.new),
        candidates=keys(change.candidates),
        rivals=keys(change.rivals),
        group=_ARROW.join(start + side for side in change.group.split(_ARROW)) if change.group else "",
        detail=detail,
    )


def _joined(
    sides: Mapping[str, Structure | None], whole: Structure | None, definition: Definition | None = None
) -> Structure | None:
    """The structures of all parts as one; None where one is not known."""
    known = {name: each for name, each in sides.items() if each is not None}
    if len(known) < len(sides):
        return None
    if whole is not None:
        made = parts.joined(known, whole.source)
        return replace(made, values=whole.values, optimizers=whole.optimizers, pickled=whole.pickled)
    label = (definition.name or definition.label) if definition is not None else ""
    return parts.joined(known, Source(label, "definition", parts=tuple((name, name) for name in known)))


def _migrated(found: Mapping[str, Verdict]) -> Migrated | None:
    """What migrations made of all parts, by keys that name the part."""
    known = {name: each.migrated for name, each in found.items() if each.migrated is not None}
    if not known:
        return None
    by_name: dict[str, list[Applied]] = {}
    for part, each in known.items():
        for one in each.applied:
            takes = {f"{part}.{key}": pattern for key, pattern in one.takes.items()}
            by_name.setdefault(one.name, []).append(replace(one, takes=takes))
    return Migrated(
        tuple(name for name, done in by_name.items() if any(one.changed for one in done)),
        {
            f"{part}.{key}": replace(origin, keys=tuple(f"{part}.{source}" for source in origin.keys))
            for part, each in known.items()
            for key, origin in each.origins.items()
        },
        tuple(f"{part}.{key}" for part, each in known.items() for key in each.dropped),
        next(iter(known.values())).version,
        tuple(map(_one, by_name.values())),
    )


def _one(done: list[Applied]) -> Applied:
    """What a migration did to several parts."""
    rules = (
        next((each for each in uses if each.used), uses[0])
        for uses in zip(*(one.rules for one in done), strict=True)
    )
    takes = {key: pattern for one in done for key, pattern in one.takes.items()}
    return Applied(done[0].name, any(one.changed for one in done), tuple(rules), takes)


def _before(found: Mapping[str, Verdict], whole: Structure) -> Structure | None:
    """The checkpoint as its file has it, where the load of a part got something else."""
    if not any(each.before for each in found.values()):
        return None
    return _joined({name: each.before or each.old for name, each in found.items()}, whole)
