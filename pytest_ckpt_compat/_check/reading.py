"""Reads what a definition is to load: of a file's state_dicts the one that fits, or one for each part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check.containers import fitting
from pytest_ckpt_compat._core.errors import ChoiceError, CkptCompatError, ReadError
from pytest_ckpt_compat._core.parts import joined
from pytest_ckpt_compat._core.structure import Source, Structure
from pytest_ckpt_compat._definition.find import Definition

if TYPE_CHECKING:
    from pytest_ckpt_compat._registry.registration import Registration

#: Most state_dicts that a message names.
_SHOWN = 4


@contextlib.contextmanager
def told_as_registered(registration: Registration) -> Iterator[None]:
    """What raises names files as reports do: below the folder from which the registration's path is shown."""
    try:
        yield
    except CkptCompatError as error:
        path = str(registration.path)
        folder = path.removesuffix(str(Path(registration.shown)))
        if not registration.address and folder != path and folder != os.sep:
            error.subject = error.subject.removeprefix(folder)
            error.problem = error.problem.replace(folder, "")
        raise


def read_for(
    path: str | os.PathLike[str],
    key: str | None,
    definition: Definition,
    strip_prefix: str | None = None,
    recorded: Source | None = None,
) -> tuple[Structure, tuple[str, ...]]:
    """Reads a checkpoint for a definition, and notes which other state_dicts the file holds.

    Args:
        path: the checkpoint.
        key: dotted path of the state_dict inside it; of the mapping that holds one a part.
        definition: what it is to be loaded into.
        strip_prefix: taken off the keys before they are compared.
        recorded: what an earlier check has chosen, which stays.

    Raises:
        ReadError: the file cannot be read, or holds none of the parts.
        ChoiceError: several state_dicts fit equally well, and by name none goes first.
    """
    if definition.parts:
        return _Parts(os.fspath(path), key, definition, strip_prefix, recorded).read()
    if key is not None:
        return readers.read(path, key), ()
    if definition.loader is not None:
        return _every(path, recorded), ()
    container = None if recorded is None else recorded.container
    return fitting(lambda each: readers.read(path, each), definition, strip_prefix, container)


def _every(path: str | os.PathLike[str], recorded: Source | None) -> Structure:
    """All state_dicts of a file, of which a project's loader takes what it wants; one as itself."""
    refusal: ChoiceError | None = None
    try:
        first = readers.read(path)
    except ChoiceError as error:
        every, refusal = error.keys, error
    else:
        every = (first.source.container, *first.source.others)
        if len(every) == 1:
            return first
    if recorded is not None and recorded.container in every:
        return readers.read(path, recorded.container)
    found = {}
    for each in every:
        with contextlib.suppress(ReadError):
            found[each] = readers.read(path, each)
    if not found and refusal is not None:
        raise refusal
    whole = next(iter(found.values()))
    source = replace(whole.source, container="", others=(), parts=tuple((name, name) for name in found))
    return replace(joined(found, source), optimizers=whole.optimizers)


@dataclass(frozen=True)
class _Parts:
    """The parts of one file; attributes as the arguments of ``read_for``."""

    path: str
    key: str | None
    definition: Definition
    strip_prefix: str | None
    recorded: Source | None

    def read(self) -> tuple[Structure, tuple[str, ...]]:
        whole, failed = self._paths()
        within = f"{self.key}." if self.key else ""
        every = tuple(each for each in whole if each.startswith(within))
        known = dict(self.recorded.parts) if self.recorded is not None else {}
        found = {name: self._part(name, known.get(name), every) for name in self.definition.parts}
        parts = {name: each for name, each in found.items() if each is not None}
        taken = {name: each.source.container for name, each in parts.items()}
        others = [each for each in every if not any(_touch(each, path) for path in taken.values())]
        if not parts:
            if failed is not None:
                raise failed
            raise self._without_parts(whole)
        source = replace(
            next(iter(parts.values())).source, container="", others=tuple(others), parts=tuple(taken.items())
        )
        return joined(parts, source), tuple(self._notes(taken, others))

    def _paths(self) -> tuple[tuple[str, ...], ReadError | None]:
        """The dotted paths of the state_dicts that a search finds, and why it found none."""
        try:
            first = readers.read(self.path)
        except ChoiceError as error:
            every = error.keys
        except ReadError as error:
            return (), error
        else:
            every = (first.source.container, *first.source.others)
        return every, None

    def _part(self, name: str, recorded: str | None, every: Sequence[str]) -> Structure | None:
        """The state_dict of a part: under its name, or at the place of this name that fits."""
        own = f"{self.key}.{name}" if self.key else name
        for path in (recorded, own):
            if path is not None and (found := self._at(path)) is not None:
                return found
        named = [each for each in every if f".{each}".endswith(f".{name}")]
        inside = [each for each in every if f".{name}." in f".{each}"]
        candidates = tuple(named or inside)
        if len(candidates) < 2:
            return readers.read(self.path, candidates[0]) if candidates else None

        def read(path: str | None) -> Structure:
            if path is not None:
                return readers.read(self.path, path)
            listed = ", ".join(map(repr, candidates[:_SHOWN]))
            problem = f"it holds {len(candidates)} state_dicts for the part {name!r}: {listed}"
            raise ChoiceError(self.path, problem, "", candidates)

        try:
            return fitting(read, self.definition.parts[name], self.strip_prefix)[0]
        except ChoiceError as error:
            paths = " or ".join(f'"{path}"' for path in error.equal[:_SHOWN])
            advice = f"name the part by its whole path, {paths}"
            raise ChoiceError(error.subject, error.problem, advice, error.equal, error.keys) from None

    def _at(self, path: str) -> Structure | None:
        try:
            return readers.read(self.path, path)
        except ReadError:
            return None

    def _without_parts(self, every: Sequence[str]) -> ReadError:
        names = ", ".join(map(repr, self.definition.parts))
        if self.key and every != ("",):
            return ReadError(
                self.path,
                f"it holds no state_dict for any of the parts {names} at key={self.key!r}; "
                f"it holds {_listed(every)}",
                "give the key of the mapping that holds the parts, or leave key out",
            )
        if every in ((), ("",)):
            return ReadError(
                self.path,
                f"it holds one state_dict, and none for each of the parts {names}",
                "register one model that has the parts as submodules",
            )
        return ReadError(
            self.path,
            f"it holds no state_dict for any of the parts {names}; it holds {_listed(every)}",
            "name the parts in model= as the file does",
        )

    def _notes(self, taken: dict[str, str], others: Sequence[str]) -> Iterator[str]:
        moved = [f"{name} from {path}" for name, path in taken.items() if name != path]
        if moved:
            yield f"read {', '.join(moved)}"
        if others:
            yield f"the file also holds {_listed(others)}, for which model= has no part"


def _touch(one: str, other: str) -> bool:
    """Whether one path is the other, or lies inside it."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.") or not one


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(path or "tensors at its top level" for path in paths[:_SHOWN])
    return f"{shown}, ..." if len(paths) > _SHOWN else shown
