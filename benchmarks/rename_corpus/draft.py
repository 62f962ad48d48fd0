"""A refactor in the making: the keys that a model had, and what each tensor of the new one was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from benchmarks.rename_corpus.case import Specs, Truth
from pytest_ckpt_compat import TensorSpec

#: A path with its numbers as ``*``.
Pattern = tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A tensor of the new model.

    Attributes:
        key: its key.
        spec: its dtype and shape.
        sources: the old keys that it is made of; none if it is new.
        blind: whether nobody can know where it comes from.
        by_order: whether only the order of the old keys tells where it comes from.
    """

    key: str
    spec: TensorSpec
    sources: tuple[str, ...] = ()
    blind: bool = False
    by_order: bool = False


@dataclass(frozen=True)
class Draft:
    """What a refactor has done so far.

    Attributes:
        old: the keys before.
        slots: the tensors after, in order.
        edits: what was done; the first word of each is its kind.
        blind: old keys that are gone, but whose loss nobody can know.
    """

    old: Specs
    slots: tuple[Slot, ...]
    edits: tuple[str, ...] = ()
    blind: frozenset[str] = frozenset()

    @classmethod
    def of(cls, specs: Specs) -> Draft:
        """The draft in which nothing has happened."""
        return cls(specs, tuple(Slot(key, spec, (key,)) for key, spec in specs.items()))

    def with_slots(self, slots: Iterator[Slot] | tuple[Slot, ...], edit: str) -> Draft | None:
        """The draft after an edit, or None where two tensors would have one key or nothing changed."""
        slots = tuple(slots)
        if len({slot.key for slot in slots}) != len(slots) or slots == self.slots:
            return None
        return replace(self, slots=slots, edits=(*self.edits, edit))

    def rekeyed(
        self, key_of: Callable[[str], str], edit: str, by_order: Callable[[str], bool] = lambda _: False
    ) -> Draft | None:
        """The draft after a change of keys, as ``with_slots``.

        Args:
            key_of: the new key, from the key so far.
            edit: what it is.
            by_order: whether only the order tells what became of a key that changes.
        """
        slots = []
        for slot in self.slots:
            key = key_of(slot.key)
            unclear = key != slot.key and by_order(slot.key)
            slots.append(replace(slot, key=key, by_order=slot.by_order or unclear))
        return self.with_slots(tuple(slots), edit)

    @property
    def whole(self) -> frozenset[str]:
        """The keys of tensors that are one old tensor each, and all of it."""
        fed = Counter(source for slot in self.slots for source in slot.sources)
        return frozenset(
            slot.key for slot in self.slots if len(slot.sources) == 1 and fed[slot.sources[0]] == 1
        )

    def truth(self, order_is_lost: bool) -> Truth:
        """Which became which.

        Args:
            order_is_lost: whether the old keys stand in another order than the model's.
        """
        fed: defaultdict[str, list[Slot]] = defaultdict(list)
        for slot in self.slots:
            for source in slot.sources:
                fed[source].append(slot)
        renames, resized, splits = {}, {}, {}
        for old, slots in fed.items():
            if len(slots) > 1:
                splits[old] = tuple(slot.key for slot in slots)
            elif len(slots[0].sources) == 1:
                same = slots[0].spec.shape == self.old[old].shape
                if not same:
                    resized[old] = slots[0].key
                elif slots[0].key != old:
                    renames[old] = slots[0].key
        blind = [s for s in self.slots if s.blind or (s.by_order and order_is_lost)]
        return Truth(
            renames,
            splits,
            tuple((slot.sources, slot.key) for slot in self.slots if len(slot.sources) > 1),
            resized,
            frozenset(self.old.keys() - fed.keys()),
            frozenset(slot.key for slot in self.slots if not slot.sources),
            self.blind | {source for slot in blind for source in slot.sources},
            frozenset(slot.key for slot in blind),
        )


def pattern(path: str) -> Pattern:
    """A key or a part of one, as a pattern."""
    return tuple("*" if part.isdigit() else part for part in path.split("."))


def modules(draft: Draft) -> Counter[Pattern]:
    """The patterns of all modules that hold tensors, at any depth -> how many tensors."""
    found: Counter[Pattern] = Counter()
    for slot in draft.slots:
        parts = pattern(slot.key)
        found.update(parts[:end] for end in range(1, len(parts)))
    return found


def families(draft: Draft) -> dict[str, list[int]]:
    """Numbered lists of modules, by the path in front of the number -> their numbers."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for slot in draft.slots:
        parts = slot.key.split(".")
        for place, part in enumerate(parts[:-1]):
            if part.isdigit():
                found[".".join(parts[:place])].add(int(part))
    return {path: sorted(numbers) for path, numbers in found.items() if len(numbers) > 1}


def content(draft: Draft, path: str) -> list[tuple[str, TensorSpec]]:
    """The tensors under a path: what follows it in the key, and the spec."""
    inside = f"{path}." if path else ""
    return [(slot.key[len(inside) :], slot.spec) for slot in draft.slots if slot.key.startswith(inside)]


def alike(draft: Draft, path: str, numbers: list[int]) -> bool:
    """Whether every module of a numbered list has the same tensors."""
    first = content(draft, join(path, str(numbers[0])))
    return all(content(draft, join(path, str(number))) == first for number in numbers)


def join(*parts: str) -> str:
    """A key from its parts; empty ones are left out."""
    return ".".join(part for part in parts if part)


def matches(parts: list[str], wanted: Pattern) -> bool:
    """Whether a key begins with a module of this pattern."""
    return len(parts) > len(wanted) and all(
        part.isdigit() if want == "*" else part == want for part, want in zip(parts, wanted, strict=False)
    )


def shapes(draft: Draft, path: Pattern) -> Counter[str]:
    """The shapes under all modules of a pattern."""
    found: Counter[str] = Counter()
    for slot in draft.slots:
        if matches(slot.key.split("."), path):
            found[str(slot.spec)] += 1
    return found


def keys(draft: Draft) -> list[str]:
    """The keys of the new model, in order."""
    return [slot.key for slot in draft.slots]
