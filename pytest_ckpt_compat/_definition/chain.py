"""Applies the migrations of a registration to a state_dict, and says what became of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.structure import SNAPSHOT, Structure, modules_of
from pytest_ckpt_compat._definition.project_code import Remap, remap_of
from pytest_ckpt_compat._registry.chain import Link, is_migrate, is_version, links, numbers, require_version

if TYPE_CHECKING:
    from torch import nn

    from pytest_ckpt_compat._core.migrated import Applied, Migrated, RuleUse
    from pytest_ckpt_compat._definition.origin_texts import Texts
    from pytest_ckpt_compat._definition.origins import Origins

#: Values that a note names.
_SHOWN = 3


@dataclass(frozen=True)
class Chain:
    """The migrations of a registration, in order.

    Attributes:
        links: the migrations.
        version: the version of the file, or the dotted path of its version inside it; None where none of
            the migrations leads to a version, or those that the file needs are chosen already.
    """

    links: tuple[Remap, ...]
    version: int | str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the migrations."""
        return tuple(each.name for each in self.links)

    @property
    def name(self) -> str:
        """``migration a.v1_to_v2``, or ``migrations a.v1_to_v2, a.v2_to_v3``."""
        return f"migration{'s' if len(self.links) > 1 else ''} {', '.join(self.names)}"

    def for_file(self, structure: Structure) -> Chosen:
        """The migrations that a file needs by its version.

        Raises:
            UsageError: what the file has as its version is none.
        """
        if self.version is None:
            return Chosen(self)
        if is_version(self.version):
            return self._newer_than(str(self.version))
        found = _version_in(structure, str(self.version))
        if found is None:
            what = "snapshot" if structure.source.format == SNAPSHOT else "file"
            place = str(self.version)
            note = f"the {what} has no {place}{_beside(structure, place)}: taken for the oldest"
            return Chosen(Chain(self.links), notes=(note,), lacks=_lacking(structure, place))
        if not is_version(found):
            problem = f"is {found!r} in {structure.source.path}"
            advice = "it must be a whole number, or numbers with dots between them"
            raise UsageError(f"version {self.version}", problem, advice)
        return replace(self._newer_than(str(found)), version=str(found))

    def _newer_than(self, version: str) -> Chosen:
        needed = tuple(each for each in self.links if numbers(each.to) > numbers(version))
        notes = () if needed else (f"no migration is for a file of version {version}",)
        passed = tuple(each.name for each in self.links if each not in needed)
        return Chosen(Chain(needed), passed, notes=notes)

    @property
    def later(self) -> tuple[Chain, ...]:
        """The migrations without the first ones, fewest first; all of them last."""
        return tuple(Chain(self.links[start:]) for start in range(len(self.links) - 1, -1, -1))

    def __call__(
        self, state: Mapping[str, Any], module: nn.Module | None, structure: Structure
    ) -> Mapping[str, Any]:
        """What the migrations make of a state_dict.

        Args:
            state: the checkpoint's entries.
            module: what they are to be loaded into, for migrations that take it.
            structure: of the checkpoint, whose version decides which migrations it needs.

        Raises:
            RemapError: one raises, or returns no mapping.
            UsageError: as ``for_file``.
        """
        for link in self.for_file(structure).chain.links:
            state = link(state, module)
        return state

    def watched(
        self, state: Mapping[str, Any], module: nn.Module, structure: Structure
    ) -> tuple[Mapping[str, Any], Migrated]:
        """As a call, and says what each migration did, and where every value went."""
        from pytest_ckpt_compat._definition.origin_texts import Texts
        from pytest_ckpt_compat._definition.origins import Origins

        origins, made = Origins(state), state
        applied: list[Applied] = []
        with origins.watched():
            start = before = _marks(state, origins)
            for link in self.for_file(structure).chain.links:
                given = list(made)
                made = link(made, module)
                after = _marks(made, origins)
                applied.append(_applied(link, given, _changed(before, after)))
                before = after
        return made, _migrated(start, before, applied, Texts(state, origins))


@dataclass(frozen=True)
class Chosen:
    """The migrations that a file needs.

    Attributes:
        chain: the migrations.
        passed: names of those that it does not need.
        version: of the file, as it says itself, or "".
        notes: remarks on how the version was known, a line each.
        lacks: the module whose version it was to be, which the file does not have, or "".
    """

    chain: Chain
    passed: tuple[str, ...] = ()
    version: str = ""
    notes: tuple[str, ...] = ()
    lacks: str = ""


def _migrated(
    start: Mapping[Any, Any], end: Mapping[Any, Any], applied: Sequence[Applied], texts: Texts
) -> Migrated:
    from pytest_ckpt_compat._core.migrated import Migrated

    found = {
        key: texts.origin(mark)
        for key, mark in end.items()
        if isinstance(key, str) and (key not in start or start[key] != mark)
    }
    sources = {key for each in found.values() for key in each.keys}
    dropped = tuple(key for key in start if key is not None and key not in end and key not in sources)
    names = tuple(each.name for each in applied if each.changed)
    return Migrated(names, found, dropped, applied=tuple(applied))


def _marks(state: Mapping[str, Any], origins: Origins) -> dict[Any, Any]:
    """The origin of each entry; under None, the versions of the modules."""
    metadata = getattr(state, "_metadata", None)
    versions = None if metadata is None else {name: dict(each) for name, each in metadata.items()}
    return {None: versions, **{key: origins.of(value) for key, value in state.items()}}


def _changed(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> bool:
    """Whether anything is another; versions that are lost by the way, as in a new dict, are none."""
    return before != {**after, None: after[None] or before[None]}


def _applied(link: Remap, keys: Sequence[str], changed: bool) -> Applied:
    from pytest_ckpt_compat._core.migrated import Applied

    uses: tuple[RuleUse, ...] = ()
    takes: Mapping[str, str] = {}
    leaves: Mapping[str, str] = {}
    if link.rules is not None:
        from pytest_ckpt_compat._migrate.rules import second_matches, usage

        uses, takes = usage(link.rules, keys)
        leaves = second_matches(link.rules, takes)
    return Applied(link.name, changed, uses, takes, leaves)


def _version_in(structure: Structure, place: str) -> Any:
    """What a checkpoint has as its version, or None; a module's ``_version`` is in its ``_metadata``.

    A snapshot says it itself: its values may be those of a file that has taken the recorded one's place.
    """
    if structure.migrated is not None and structure.migrated.version:
        return structure.migrated.version
    found = _at(structure.values, place)
    module, _, name = place.rpartition(".")
    if (
        found is None
        and name == "_version"
        and structure.versions is not None
        and not _lacking(structure, place)
    ):
        return structure.versions.get(module, 1)
    return found


def _lacking(structure: Structure, place: str) -> str:
    """The module whose version a place is, if the checkpoint does not have it; else ""."""
    module, _, name = place.rpartition(".")
    lacks = name == "_version" and module and module not in modules_of(structure)
    return module if lacks and not isinstance(_at(structure.values, module), Mapping) else ""


def _beside(structure: Structure, place: str) -> str:
    """What stands beside the place of a version, if anything may be one: `` (it has meta.version)``."""
    within, _, name = place.rpartition(".")
    found = _at(structure.values, within) if within else structure.values
    there = (
        {str(key) for key, value in found.items() if is_version(value)}
        if isinstance(found, Mapping)
        else set()
    )
    names = difflib.get_close_matches(name, there, n=1) or sorted(there)
    shown = ", ".join(f"{within}.{each}" if within else each for each in names[:_SHOWN])
    return f" (it has {shown}{', ...' if len(names) > _SHOWN else ''})" if names else ""


def _at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path in nested mappings, or None."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def chain_of(given: Any, version: Any = None, subject: str = "check()") -> Chain | None:
    """Resolves what a registration or a caller gives as ``migrate`` and ``version``.

    Raises:
        BuildError: a name cannot be imported.
        UsageError: something is no migration, or no version, or one of both is wanted and not there.
    """
    resolved = isinstance(given, tuple) and all(isinstance(each, Link) for each in given)
    if isinstance(given, (str, list, tuple, Mapping)) and not resolved and not is_migrate(given):
        advice = 'give a function, "package.module:function", a file of rules, a list or a dict of these'
        raise UsageError(f"{subject}, migrate", f"is {given!r}", advice)
    require_version(subject, given, version)
    found = tuple(map(remap_of, links(given)))
    return Chain(found, version) if found else None


def single(function: Any, name: str) -> Chain:
    """One function that takes a state_dict."""
    return Chain((Remap(function, name, takes_model=False),))


def without(chain: Chain, names: Sequence[str]) -> Chain | None:
    """The migrations but for those of these names; None if none is left."""
    left = tuple(each for each in chain.links if each.name not in names)
    return replace(chain, links=left) if left else None
