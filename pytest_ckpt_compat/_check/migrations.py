"""The migrations of a registration in a check: which a file needs, and what they take too much of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pytest_ckpt_compat._core.migrated import Applied, Migrated
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.chain import Chain, Chosen
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.remap import Remapped

#: Keys that a note names.
_SHOWN = 2


def for_file(structure: Structure, definition: Definition) -> tuple[Definition, Chosen]:
    """The definition with the migrations that a file needs by its version, and how they were chosen.

    Raises:
        UsageError: what the file has as its version is none.
    """
    if definition.remap is None:
        return definition, Chosen(Chain(()))
    chosen = definition.remap.for_file(structure)
    return replace(definition, remap=chosen.chain if chosen.chain.links else None), chosen


def migrated(done: Remapped | None, chosen: Chosen) -> Migrated | None:
    """What migrations did, with those that the file does not need, which did nothing."""
    found = done.migrated if done is not None else None
    if not (chosen.passed or chosen.version):
        return found
    found = found or Migrated(())
    passed = tuple(Applied(name, changed=False) for name in chosen.passed)
    return replace(found, applied=(*passed, *found.applied), version=chosen.version)


def later(definition: Definition) -> Iterator[Definition]:
    """The definition with fewer of its migrations: what was saved since some of them needs but the others."""
    for chain in definition.remap.later if definition.remap else ():
        yield replace(definition, remap=chain)


def with_excesses(verdict: Verdict) -> Verdict:
    """The verdict, with a note on what its migrations take too much."""
    return replace(verdict, notes=(*verdict.notes, *_excesses(verdict)))


def _excesses(verdict: Verdict) -> Iterator[str]:
    """Notes on keys that a migration renamed though the definition wants them, and not what they became."""
    if verdict.migrated is None or verdict.new is None:
        return
    wanted = verdict.new.tensors
    lost: dict[str, list[str]] = {}
    for old, new in verdict.remapped.items():
        if old in wanted and new not in wanted and verdict.old is not None and old not in verdict.old.tensors:
            by = next((each for each in verdict.migrated.applied if old in each.takes), None)
            name = f"{by.name}: {by.takes[old]}" if by else ", ".join(verdict.migrated.names)
            lost.setdefault(name, []).append(old)
    for name, keys in lost.items():
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        shown = ", ".join(keys[:_SHOWN]) + more
        yield f"{name} takes too much: the definition wants {shown} as the file has it"
