"""The migrations of a registration in a check: which a file needs, and what they take too much of."""

from __future__ import annotations

import contextlib
import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import CkptCompatError, UsageError
from pytest_ckpt_compat._core.structure import Structure, modules_of
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.chain import Chain, Chosen
from pytest_ckpt_compat._definition.find import Definition, find_registered
from pytest_ckpt_compat._definition.remap import Remapped

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.migrated import Migrated
    from pytest_ckpt_compat._registry.registration import Registration

#: Keys that a note names.
_SHOWN = 2
#: Modules that an error names.
_SHOWN_MODULES = 4


def for_file(structure: Structure, definition: Definition) -> tuple[Definition, Chosen]:
    """The definition with the migrations that a file needs by its version, and how they were chosen.

    Raises:
        UsageError: what the file has as its version is none.
    """
    if definition.remap is None:
        return definition, Chosen(Chain(()))
    chosen = definition.remap.for_file(structure)
    return replace(definition, remap=chosen.chain if chosen.chain.links else None), chosen


def require_module(chosen: Chosen, structure: Structure, new: Structure) -> None:
    """Refuses a version that is said to be that of a module which neither side has.

    Args:
        chosen: the migrations, with the module that the file lacks.
        structure: the checkpoint.
        new: the definition that it is loaded into.

    Raises:
        UsageError: the definition lacks the module, too.
    """
    if not chosen.lacks or chosen.lacks in {*modules_of(new), *new.modules}:
        return
    there = modules_of(structure)
    near = difflib.get_close_matches(chosen.lacks, there, n=1)
    shown = near or sorted(there, key=lambda name: (name.count("."), name))[:_SHOWN_MODULES]
    more = ", ..." if not near and len(there) > len(shown) else ""
    named = ", ".join(f"{name}._version" for name in shown) + more
    problem = "names a module that neither the file nor the definition has"
    advice = f"did you mean {named}?" if near else f"the file has {named or 'no modules'}, and _version"
    raise UsageError(f"version {chosen.lacks}._version", problem, advice)


def migrated(done: Remapped | None, chosen: Chosen) -> Migrated | None:
    """What migrations did, with those that the file does not need, which did nothing."""
    found = done.migrated if done is not None else None
    if not (chosen.passed or chosen.version):
        return found
    from pytest_ckpt_compat._core.migrated import Applied, Migrated

    found = found or Migrated(())
    passed = tuple(Applied(name, changed=False) for name in chosen.passed)
    return replace(found, applied=(*passed, *found.applied), version=chosen.version)


def later(definition: Definition, elsewhere: Iterable[Chain] = ()) -> Iterator[Definition]:
    """The definition with fewer of its migrations: what was saved since some of them needs but the others.

    Args:
        definition: with its migrations.
        elsewhere: those of other registrations of the definition, which are for what it has saved, too.
    """
    for chain in (*([definition.remap] if definition.remap else []), *elsewhere):
        for each in chain.later:
            yield replace(definition, remap=each)


class Elsewhere:
    """The migrations of all registered checkpoints, each found once.

    Args:
        registrations: every registered checkpoint, once all are known.
    """

    def __init__(self, registrations: Iterable[Registration] = ()) -> None:
        self._registrations = registrations

    def of(self, registration: Registration, definition: Definition) -> tuple[Chain, ...]:
        """The migrations of other registered checkpoints of the same definition."""
        found = self._chains.get(definition.name, ()) if definition.name else ()
        return tuple(chain for migrate, chain in found if migrate != registration.migrate)

    @functools.cached_property
    def _chains(self) -> dict[str, list[tuple[Any, Chain]]]:
        """Name of a definition -> its different migrations, as they are registered and as found."""
        found: dict[str, list[tuple[Any, Chain]]] = {}
        for each in self._registrations:
            if not each.migrate or each.problem is not None:
                continue
            with contextlib.suppress(CkptCompatError):  # its own check says so
                other = find_registered(each)
                known = found.setdefault(other.name, [])
                if other.remap is not None and all(migrate != each.migrate for migrate, _ in known):
                    known.append((each.migrate, other.remap))
        return found


def with_excesses(verdict: Verdict) -> Verdict:
    """The verdict, with a note on what its migrations take too much."""
    return replace(verdict, notes=(*verdict.notes, *_excesses(verdict), *_overlaps(verdict)))


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
        yield f"{name} takes too much: the definition wants {_some(keys)} as the file has it"


def _overlaps(verdict: Verdict) -> Iterator[str]:
    """Notes on keys that two rules match, and that the first of them made into none that is wanted.

    A rule for a few keys before one for many matches some twice on purpose; then what it makes is wanted.
    """
    if verdict.migrated is None or verdict.new is None:
        return
    wanted = verdict.new.tensors
    shared: dict[tuple[str, str, str], list[str]] = {}
    for old, new in verdict.remapped.items():
        if old in wanted or new in wanted:
            continue
        for each in verdict.migrated.applied:
            if old in each.leaves:
                shared.setdefault((each.name, each.takes[old], each.leaves[old]), []).append(old)
    for (name, first, second), keys in shared.items():
        yield (
            f"{name}: {first} takes {_some(keys)}, so {second} after it does not, though it matches; the "
            "definition wants no key that comes of that: write one rule that makes both changes, above these"
        )


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
