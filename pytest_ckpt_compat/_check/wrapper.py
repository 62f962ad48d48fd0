"""A prefix that every key of one side carries, and the changes beneath it by the keys of both sides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._check.explain import grouped
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.adapters import ADAPTER
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import Structure

#: Kinds that say something besides about keys whose story another change tells.
_BESIDE: frozenset[Kind] = frozenset({"retyped", "retied"})
#: Labels of the lines that say what to do about a prefix.
PREFIX = ("fix", "then")


@dataclass(frozen=True)
class Wrapper:
    """A prefix that every key of one side carries, and the other side's keys lack.

    Attributes:
        prefix: with its last dot (``module.``).
        on_checkpoint: whether the checkpoint's keys carry it, or the definition's.
    """

    prefix: str
    on_checkpoint: bool

    def unwrap(self, old: Structure) -> Structure:
        """The checkpoint with the keys that the definition has."""
        return prefixes.strip(old, self.prefix) if self.on_checkpoint else prefixes.prepend(old, self.prefix)

    def unwrapped(self, key: str) -> str:
        """The key that ``unwrap`` gives a key of the checkpoint."""
        return key.removeprefix(self.prefix) if self.on_checkpoint else self.prefix + key

    def own(self, key: str) -> str:
        """The checkpoint's own key: the inverse of ``unwrapped``."""
        return self.prefix + key if self.on_checkpoint else key.removeprefix(self.prefix)

    def repairs(self, new: Structure) -> tuple[tuple[str, str], ...]:
        """What to do in the program, and then in the registration: a label and a line each."""
        prefix, inner = self.prefix, _attribute(self.prefix)
        if self.on_checkpoint:
            first = f'take "{prefix}" off where the program loads the keys'
            first = f"save {inner}.state_dict(), or {first}" if inner else first
            return ("fix", first), (
                "then",
                f'register it with strip_prefix="{prefix}", as the program loads it',
            )
        if new.source.format == ADAPTER:
            return (("fix", f"put {prefix} before the keys while loading (migrate=), as peft saves them"),)
        first = f'put "{prefix}" before the keys where the program loads them'
        if not inner:
            return ("fix", first), ("then", "register that function (migrate=)")
        first = f"load it into {inner}, or {first}"
        return ("fix", first), ("then", f"register what gives {inner}, or that function (migrate=)")


def _attribute(prefix: str) -> str:
    """How code names the module under a prefix (``model.net[0]``); "" where a segment is no name."""
    segments = prefix.removesuffix(".").split(".")
    if not all(each.isidentifier() or each.isdecimal() for each in segments):
        return ""
    return "model" + "".join(f"[{each}]" if each.isdecimal() else f".{each}" for each in segments)


def repairs_of(
    wrapper: Wrapper | None, changes: Iterable[Change], new: Structure
) -> tuple[tuple[str, str], ...]:
    """What to do about a prefix; not where the keys below it are those of an adapter, which would be lost."""
    if wrapper is None or any(change.kind == "unmerged" for change in changes):
        return ()
    return wrapper.repairs(new)


def by_names(old: Structure, new: Structure) -> Wrapper | None:
    """The prefix that explains most keys by their names alone."""
    return by_prefix(old.tensors, new.tensors)


def by_prefix(old: Mapping[str, object], new: Mapping[str, object]) -> Wrapper | None:
    """The same for two mappings of keys."""
    if prefix := prefixes.common(old, new):
        return Wrapper(prefix, on_checkpoint=True)
    if prefix := prefixes.common(new, old):
        return Wrapper(prefix, on_checkpoint=False)
    return None


def possible(old: Structure, new: Structure) -> Iterator[Wrapper]:
    """The prefixes that only a load can tell apart from an ordinary module."""
    for on_checkpoint, keys, others in ((True, old.tensors, new.tensors), (False, new.tensors, old.tensors)):
        prefix = prefixes.first(keys)
        if prefix and prefixes.first(others) != prefix:
            yield Wrapper(prefix, on_checkpoint)


def composed(
    wrapper: Wrapper,
    found: Iterable[Change],
    old: Structure,
    new: Structure,
    missing: Collection[str] = (),
    unexpected: Collection[str] = (),
) -> tuple[Change, ...]:
    """The prefix itself, and the changes of the unwrapped checkpoint by the checkpoint's own keys.

    A key that only lost or gained the prefix is in the change ``prefixed``; any other is in the one that
    tells what else became of it.

    Args:
        wrapper: the prefix.
        found: how the unwrapped checkpoint differs from the definition.
        old: the checkpoint as it is.
        new: the definition.
        missing: the keys that a load of ``old`` as it is did not find.
        unexpected: the keys that it had no use for.
    """
    found = tuple(found)
    lost = {wrapper.own(key) for change in found if change.kind == "unexpected" for key in change.old}
    asked = lost.union(missing)
    named = [
        replace(
            change,
            old=tuple(map(wrapper.own, change.old)),
            rivals=tuple(map(wrapper.own, change.rivals)),
        )
        for change in found
        # Without the prefix, layers read their versions in the file, and may ask for more than they do now.
        if not missing or change.kind != "missing" or not asked.isdisjoint(change.new)
    ]
    told, moved = _Told.by(named), _Told.by(change for change in named if change.old and change.new)
    pairs = {key: wrapper.unwrapped(key) for key in old.tensors if key not in told.old}
    pairs = {key: other for key, other in pairs.items() if other in new.tensors and other not in told.new}
    # An explanation passes over a key that torch finds on both sides, even if another took its place.
    left_old = [key for key in old.tensors if key not in told.old and wrapper.unwrapped(key) in moved.new]
    left_new = [key for key in new.tensors if key not in told.new and wrapper.own(key) in moved.old]
    tied = compare.tied_to(new, frozenset(left_new))
    changes = [
        *_without_unmoved(named, old, new),
        *(compare.missing(key, new, tied) for key in left_new),
        *(compare.unexpected(key, old) for key in left_old),
    ]
    # What a hook of the definition moved: nothing shows which key became which, so none are paired.
    known = _Told({*told.old, *left_old, *pairs}, {*told.new, *left_new, *pairs.values()})
    hooked_old = tuple(key for key in unexpected if key not in known.old)
    hooked_new = tuple(key for key in missing if key not in known.new)
    # A hook may name keys that neither side has.
    changes += [compare.missing(key, new, {}) for key in hooked_new if key not in new.tensors]
    changes += [compare.unexpected(key, old) for key in hooked_old if key not in old.tensors]
    hooked_old = tuple(key for key in hooked_old if key in old.tensors)
    hooked_new = tuple(key for key in hooked_new if key in new.tensors)
    sides = ((tuple(pairs), tuple(pairs.values())), (hooked_old, ()), ((), hooked_new))
    prefixed = (_prefixed(wrapper, keys, others, old, new) for keys, others in sides if keys or others)
    return (*prefixed, *grouped(changes, old, new))


@dataclass(frozen=True)
class _Told:
    """The keys of each side whose story some changes tell."""

    old: Set[str]
    new: Set[str]

    @classmethod
    def by(cls, changes: Iterable[Change]) -> _Told:
        told = [change for change in changes if change.kind not in _BESIDE]
        return cls({k for change in told for k in change.old}, {k for change in told for k in change.new})


def _without_unmoved(changes: Sequence[Change], old: Structure, new: Structure) -> Iterator[Change]:
    """The changes, less what only the prefix made of a key that stands on both sides as it is."""
    lost = {key for change in changes if change.kind == "unexpected" for key in change.old}
    both = lost.intersection(key for change in changes if change.kind == "missing" for key in change.new)
    for change in changes:
        if change.kind == "unexpected" and change.old[0] in both:
            continue
        stays = bool(change.old) and change.old == change.new
        if stays or (change.kind == "missing" and change.new[0] in both):
            key = change.new[0]
            if not compare.fits(old.tensors[key], new.tensors[key]):
                yield compare.resized(key, old, new)
        else:
            yield change


def _prefixed(
    wrapper: Wrapper, keys: tuple[str, ...], others: tuple[str, ...], old: Structure, new: Structure
) -> Change:
    prefix = wrapper.prefix
    if wrapper.on_checkpoint:
        group, detail = f"{prefix}* -> *", f"every key begins with {prefix}"
    else:
        begin = any(key.startswith(prefix) for key in old.tensors)
        which = "not every key begins" if begin else "no key begins"
        group, detail = f"* -> {prefix}*", f"{which} with {prefix} as the definition's do"
    specs = tuple(old.tensors[key] for key in keys), tuple(new.tensors[key] for key in others)
    return Change("prefixed", keys, others, *specs, group=group, detail=detail)
