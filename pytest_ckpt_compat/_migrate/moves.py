"""Finds few renames that give exactly the wanted new keys on a list of old ones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._migrate.families import Family, families, limited, unpatterned
from pytest_ckpt_compat._migrate.rules import Rename
from pytest_ckpt_compat._migrate.steps import Step
from pytest_ckpt_compat._migrate.templates import (
    Ref,
    Template,
    expanded,
    joined,
    pattern_of,
    segmented,
    template_of,
)

#: Keys of one form and one fate with which a candidate is tried before it is tried with all.
_SAMPLE = 3


@dataclass
class _Wanted:
    """What is wanted of each key that no rule has claimed yet."""

    #: key -> its new key, which is the key itself if it stays.
    keys: dict[str, str]
    #: A few keys of each form and fate.
    sample: dict[str, str]

    @classmethod
    def of(cls, wanted: Mapping[str, str]) -> _Wanted:
        forms: defaultdict[object, list[str]] = defaultdict(list)
        for key, new in wanted.items():
            forms[segmented(key)[0], segmented(new)[0]].append(key)
        chosen = [each for keys in forms.values() for each in {keys[0], keys[len(keys) // 2], keys[-1]}]
        return cls(dict(wanted), {key: wanted[key] for key in chosen})

    def claim(self, rename: Rename) -> list[str] | None:
        """Takes the keys that a rename matches, if it gives each its wanted key; returns them, or None."""
        pattern = re.compile(rename.pattern)
        for some in (self.sample, self.keys):
            matched = {}
            for key in some:
                found = pattern.search(key)
                if found:
                    matched[key] = _replaced(key, found, rename.new)
            if any(some[key] != new for key, new in matched.items()):
                return None
        for key in matched:
            del self.keys[key]
            self.sample.pop(key, None)
        return list(matched)


def _replaced(key: str, found: re.Match[str], new: Template) -> str | None:
    try:
        return key[: found.start()] + expanded(new, found.groups()) + key[found.end() :]
    except ValueError:
        return None


def renames_for(moves: Sequence[Step], keys: Iterable[str], fine: int = 0) -> tuple[Rename, ...]:
    """Renames that move each key as it is to be, and leave every other key as it is.

    Args:
        moves: the moves, one key to one key.
        keys: the keys that the renames will be applied to, those of the moves among them.
        fine: 0 for rules as general as they may be, 1 for one a family, 2 for one a key.
    """
    moves = [step for step in moves if step.old != step.new]
    by_key = {step.old[0]: step for step in moves}
    wanted = {key: by_key[key].new[0] if key in by_key else key for key in keys}
    if fine > 1:
        return _covering([unpatterned(step) for step in moves], wanted, by_key, fine)
    found = families(moves)
    # What differs most first: simpler rules may then hold for all that is left.
    hardest = sorted(found, key=_hardness)
    ways = (_pruned(_covering(order, wanted, by_key, fine), wanted) for order in (found, hardest))
    return min(ways, key=len)


def _hardness(family: Family) -> int:
    start, end = _core(family)
    return start - end


def _covering(
    pending: Sequence[Family], keys: Mapping[str, str], by_key: Mapping[str, Step], fine: int
) -> tuple[Rename, ...]:
    """Renames for families, each as general as the keys allow that no earlier one has claimed."""
    wanted, left, found = _Wanted.of(keys), list(reversed(pending)), []
    while left:
        family = left.pop()
        if not any(step.old[0] in wanted.keys for step in family.steps):
            continue
        for candidate in _candidates(family, fine):
            claimed = wanted.claim(candidate)
            if claimed is not None:
                steps = tuple(by_key[key] for key in claimed if key in by_key)
                found.append(Rename(candidate.pattern, candidate.new, steps))
                break
        else:  # no pattern of the family tells its keys from others
            alone = [unpatterned(step) for step in family.steps if step.old[0] in wanted.keys]
            left += [] if alone == [family] else reversed(alone)
    return tuple(found)


def _pruned(renames: Sequence[Rename], wanted: Mapping[str, str]) -> tuple[Rename, ...]:
    """The renames without those whose keys a later one moves in the same way."""
    kept = list(renames)
    compiled = {rename.pattern: re.compile(rename.pattern) for rename in renames}
    for rename in renames:
        place = next(i for i, each in enumerate(kept) if each.pattern == rename.pattern)
        later = kept[place + 1 :]
        heirs: defaultdict[int, list[Step]] = defaultdict(list)
        for step in rename.steps:
            key = step.old[0]
            for number, other in enumerate(later):
                found = compiled[other.pattern].search(key)
                if found:
                    if _replaced(key, found, other.new) == wanted[key]:
                        heirs[number].append(step)
                    break
        if sum(map(len, heirs.values())) == len(rename.steps):
            kept[place : place + 1] = []
            for number, steps in heirs.items():
                heir = kept[place + number]
                kept[place + number] = Rename(heir.pattern, heir.new, (*heir.steps, *steps))
    return tuple(kept)


def _candidates(family: Family, fine: int) -> Iterator[Rename]:
    """Renames for a family: the fewest segments first, then with more of what stands around them."""
    seen: set[str] = set()
    for form in (family, limited(family)):
        for start, end in _cuts(form) if fine == 0 else [(0, len(form.old))]:
            candidate = _rename(form, start, end)
            if candidate is not None and candidate.pattern not in seen:
                seen.add(candidate.pattern)
                yield candidate


def _cuts(family: Family) -> Iterator[tuple[int, int]]:
    """The segments that a rename may name: those that differ, then with more of what stands around them."""
    start, end = _core(family)
    for right in range(end, len(family.old) + 1):
        yield from ((left, right) for left in range(min(start, right), -1, -1))


def _core(family: Family) -> tuple[int, int]:
    """The segments of the old keys that differ, between a common beginning and a common end."""
    old, new = _comparable(family)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < min(len(old), len(new)) - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(old) - tail


def _comparable(family: Family) -> tuple[list[object], list[object]]:
    """Segments that are equal where both keys have the same text or the same number."""
    column = 0
    old: list[object] = []
    numbers = segmented(family.steps[0].old[0])[0]
    for segment, own in zip(family.old, numbers, strict=True):
        column += own is None
        old.append(Ref(column) if own is None and not isinstance(segment, str) else segment)
    return old, list(family.new)


def _rename(family: Family, start: int, end: int) -> Rename | None:
    """The rename of the segments from ``start`` to ``end``; None if the others differ, or it names none."""
    old, new = _comparable(family)
    before, after = old[:start], old[end:]
    stop = len(new) - len(after)
    if stop < start or before != new[:start] or after != new[stop:] or (start == end and start):
        return None
    columns = [each.group for each in old[start:end] if isinstance(each, Ref)]
    middle = new[start:stop]
    if any(isinstance(each, Ref) and each.group not in columns for each in middle):
        return None
    made = template_of([_renumbered(each, columns) for each in middle])
    return Rename(*_bounded(pattern_of(family.old[start:end]), made, start > 0, bool(after)))


def _renumbered(part: object, columns: Sequence[int]) -> str | Ref:
    """A part of a template whose references count the groups of the pattern."""
    if isinstance(part, Ref):
        return Ref(columns.index(part.group) + 1, part.shift)
    return str(part)


def _bounded(pattern: str, made: Template, inside: bool, more: bool) -> tuple[str, Template]:
    """A pattern and a template with the dots around them, so that they begin and end with whole segments."""
    if not pattern:
        return "^", joined((*made, "."))
    whole = (r"\." if inside else "^") + pattern + (r"\." if more else r"\Z")
    if made:
        return whole, joined(("." if inside else "", *made, "." if more else ""))
    return whole, (".",) if inside and more else ()
