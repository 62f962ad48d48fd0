"""Renames that are applied in turn, each to what the earlier ones have made, as transformers does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._migrate.moves import renames_for
from pytest_ckpt_compat._migrate.rules import Rename, RulesError
from pytest_ckpt_compat._migrate.steps import Step
from pytest_ckpt_compat._migrate.templates import Ref, Template, expanded

#: Ends a name that no other rename may take for its own; the last rename takes it off.
MARK = "__moved"
#: What means something else than itself in a target of transformers.
_SPECIAL = re.compile(r"[()\\^$*]")
_GROUP = re.compile(r"\\.|\((?:\\.|[^()\\])*\)", re.DOTALL)


@dataclass(frozen=True)
class Replacement:
    r"""One ``WeightRenaming``: the text that a pattern matches gives way to a target, perhaps with ``\1``."""

    source: str
    target: str


def in_sequence(moves: Sequence[Step], keys: Sequence[str]) -> tuple[Replacement, ...]:
    """Replacements that move each key as it is to be when they are applied in turn.

    Raises:
        RulesError: none do.
    """
    wanted = {key: key for key in keys} | {step.old[0]: step.new[0] for step in moves}
    for fine in (0, 1, 2):
        simple = [each for rename in renames_for(moves, keys, fine) for each in _simple(rename)]
        found = _ordered(simple, wanted)
        if found is not None and all(replaced(key, found) == new for key, new in wanted.items()):
            return found
    raise RulesError("transformers' renames, which are applied in turn, cannot give these keys")


def replaced(key: str, replacements: Iterable[Replacement]) -> str:
    """What a key becomes when the replacements are applied in turn, as transformers applies them."""
    for each in replacements:
        found = re.search(each.source, key)
        if found:
            target = each.target.replace(r"\1", found[1] or "") if r"\1" in each.target else each.target
            key = key.replace(found[0], target, 1)
    return key


def _simple(rename: Rename) -> Iterator[Rename]:
    """Renames with one group at most, and no number that is shifted."""
    refs = [part for part in rename.new if isinstance(part, Ref)]
    if len({ref.group for ref in refs}) < 2 and len(refs) < 2 and not any(ref.shift for ref in refs):
        yield rename
        return
    kept = next((ref.group for ref in refs if not ref.shift and _once(ref.group, refs)), 0)
    seen: set[tuple[str, ...]] = set()
    for step in rename.steps:
        found = re.search(rename.pattern, step.old[0])
        values = found.groups() if found else ()
        fixed = tuple("" if number == kept else value for number, value in enumerate(values, 1))
        if found and fixed not in seen:
            seen.add(fixed)
            yield Rename(*_fixed(rename, values, kept), rename.steps)


def _once(group: int, refs: Sequence[Ref]) -> bool:
    return [ref.group for ref in refs].count(group) == 1


def _fixed(rename: Rename, values: Sequence[str], kept: int) -> tuple[str, Template]:
    """The pattern and the template with each group but one as the text that it has found."""
    number = 0

    def fix(found: re.Match[str]) -> str:
        nonlocal number
        if found[0].startswith("\\"):
            return found[0]
        number += 1
        return found[0] if number == kept else re.escape(values[number - 1])

    pattern = _GROUP.sub(fix, rename.pattern)
    parts: list[str | Ref] = []
    for part in rename.new:
        same = isinstance(part, str) or part.group == kept
        parts.append((part if isinstance(part, str) else Ref(1)) if same else expanded((part,), values))
    return pattern, tuple(parts)


def _ordered(renames: Sequence[Rename], wanted: Mapping[str, str]) -> tuple[Replacement, ...] | None:
    """The renames in an order in which none takes what another has made; those in a circle are marked."""
    compiled = [re.compile(rename.pattern) for rename in renames]
    before: list[set[int]] = [set() for _ in renames]
    for key, new in wanted.items():
        matching = [i for i, pattern in enumerate(compiled) if pattern.search(key)]
        if not matching:
            continue
        first = matching[0]
        for other in matching[1:]:
            before[other].add(first)
        for i, pattern in enumerate(compiled):
            if i != first and pattern.search(new):
                before[first].add(i)
    order: list[int] = []
    marked: set[int] = set()
    left = list(range(len(renames)))
    while left:
        free = [i for i in left if before[i] <= set(order) | marked]
        if not free:
            marked.add(left[0])  # what it makes is no other's any more, so nothing has to come before it
            free = [left[0]]
        order += free
        left = [i for i in left if i not in free]
    made = [_replacement(renames[i], i in marked) for i in order]
    if any(each is None for each in made):
        return None
    last = (Replacement(MARK, ""),) if marked else ()
    return (*(each for each in made if each is not None), *last)


def _replacement(rename: Rename, marked: bool) -> Replacement | None:
    parts = [part if isinstance(part, str) else "\0" for part in rename.new]
    text = "".join(parts)
    if _SPECIAL.search(text):
        return None
    if marked:
        text = f"{text[:-1]}{MARK}." if text.endswith(".") else f"{text}{MARK}"
    source = rename.pattern[:-2] + "$" if rename.pattern.endswith(r"\Z") else rename.pattern
    return Replacement(source, text.replace("\0", r"\1"))
