"""The two trees of a verdict as JSON for a page: short, and without a sign that HTML would act on."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.html.folded import Folding
from pytest_ckpt_compat._report.html.links import Linked, Mark, linked
from pytest_ckpt_compat._report.html.trees import Paired, Row, paired

#: What stands for a name: none, the same as on the left, none because the other side has a level more, and
#: the last segment of the key.
_NONE, _SAME, _LEVEL, _LAST = 0, 1, 2, 3


def trees(verdict: Verdict) -> str:
    """The trees as JSON; "" where one side is not known. ``report.js`` reads it.

    ``old`` and ``new`` have the keys, each without the segments that it shares with the key before it, whose
    number comes first; in ``new``, ``[3, 5]`` stands for the five keys of ``old`` from the fourth on.
    ``facts`` has for each change its mark and the positions of its keys. A row is ``[left, right, old, new]``
    for tensors, with the positions of their keys, and ``[left, right, rows, open]`` for a module. One
    position stands without a list.
    """
    found = linked(verdict)
    if found is None:
        return ""
    both = paired(found)
    specs = list(dict.fromkeys([*found.old.values(), *found.new.values()]))
    number = {spec: place for place, spec in enumerate(specs)}
    old_specs = [number[found.old[key]] for key in both.old]
    new_specs = [number[found.new[key]] for key in both.new]
    facts = _Facts(found, both, (old_specs, new_specs))
    rows = Folding(facts.alike).folded(both.rows)
    return escaped(
        {
            "old": list(_shortened(both.old)),
            "new": _referring(both.old, both.new),
            "specs": specs,
            "oldSpecs": old_specs,
            "newSpecs": new_specs,
            "marks": [_mark(mark) for mark in facts.marks],
            "facts": facts.numbered,
            "rows": [facts.row(row)[0] for row in rows],
        }
    )


def escaped(data: Any) -> str:
    """JSON for a ``script`` element: ASCII, and nothing in it that ends the element or begins another."""
    text = json.dumps(data, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _shortened(keys: Iterable[str]) -> Iterator[str]:
    """``0 blocks.0.weight``, ``2 bias``: how many segments are those of the key before, and the others."""
    before: list[str] = []
    for key in keys:
        parts = key.split(".")
        shared = 0
        while shared < min(len(before), len(parts) - 1) and before[shared] == parts[shared]:
            shared += 1
        yield f"{shared} {'.'.join(parts[shared:])}"
        before = parts


def _referring(old: Sequence[str], new: Sequence[str]) -> list[Any]:
    """The new keys; runs of them that the old side has in the same order are referred to."""
    places = {key: place for place, key in enumerate(old)}
    found: list[Any] = []
    rest: list[str] = []
    for key in new:
        place = places.get(key)
        if place is None:
            rest.append(key)
            continue
        found += _shortened(rest)
        rest = []
        if found and isinstance(found[-1], list) and sum(found[-1]) == place:
            found[-1][1] += 1
        else:
            found.append([place, 1])
    return [*found, *_shortened(rest)]


def _bare(places: Sequence[int]) -> Any:
    """One position without its list."""
    return places[0] if len(places) == 1 else list(places)


def _mark(mark: Mark) -> dict[str, Any]:
    data: dict[str, Any] = {
        "rule": mark.rule,
        "word": mark.word,
        "sign": mark.sign,
        "severity": mark.severity,
        "confidence": mark.confidence,
        "evidence": list(mark.evidence),
        "candidates": list(mark.candidates),
        "detail": mark.detail,
        "group": mark.group,
        "reason": mark.reason,
    }
    return {name: value for name, value in data.items() if value}


@dataclass(frozen=True)
class _Content:
    """What is said of the tensors below a row, and whether the same is said of all, under kept names."""

    said: frozenset[int]
    alike: bool


_NOTHING: frozenset[int] = frozenset()


class _Facts:
    """The facts by the positions of their keys."""

    def __init__(self, found: Linked, both: Paired, specs: Sequence[Sequence[int]]) -> None:
        self._specs, self._keys = specs, (both.old, both.new)
        places = [{key: place for place, key in enumerate(keys)} for keys in (both.old, both.new)]
        #: Position of a key -> numbers of the kinds of facts about it, on either side.
        self._at: tuple[dict[int, frozenset[int]], ...] = ({}, {})
        self.numbered: list[tuple[int, Any, Any]] = []
        marks: dict[Mark, int] = {}
        kinds: dict[Hashable, frozenset[int]] = {}
        for fact in found.facts:
            mark = fact.mark
            kind = kinds.setdefault(
                (mark.word, mark.severity, mark.detail, mark.reason), frozenset((len(kinds),))
            )
            sides = [[at[key] for key in keys] for at, keys in zip(places, (fact.old, fact.new), strict=True)]
            self.numbered.append((marks.setdefault(mark, len(marks)), *map(_bare, sides)))
            for side, at in zip(sides, self._at, strict=True):
                for place in side:
                    at[place] = at[place] | kind if place in at else kind
        self.marks: tuple[Mark, ...] = tuple(marks)

    def alike(self, row: Row) -> Hashable:
        """What rows must have in common to be folded: shapes, and what is said of them."""
        sides = ((0, row.old), (1, row.new))
        return tuple(
            (tuple(self._specs[side][at] for at in row_at), self._said(side, row_at))
            for side, row_at in sides
        )

    def _said(self, side: int, places: Sequence[int]) -> frozenset[int]:
        if len(places) == 1:
            return self._at[side].get(places[0], _NOTHING)
        return _NOTHING.union(*(self._at[side].get(place, _NOTHING) for place in places))

    def _name(self, row: Row, name: str | None, side: int, places: Sequence[int]) -> Any:
        if name is None:
            return _LEVEL if row.level else _NONE
        known = len(places) == 1 and self._keys[side][places[0]].rpartition(".")[2] == name
        return _LAST if known else name

    def row(self, row: Row) -> tuple[list[Any], _Content]:
        """A row as JSON has it, and what is said of what is in it."""
        left = self._name(row, row.left, 0, row.old)
        right = _SAME if row.left is not None and row.left == row.right else ""
        right = right or self._name(row, row.right, 1, row.new)
        if not row.rows:
            said = self._said(0, row.old) | self._said(1, row.new)
            return [left, right, _bare(row.old), _bare(row.new)], _Content(said, True)
        found = [self.row(each) for each in row.rows]
        content = _together(row.rows, [inner for _, inner in found])
        opened = bool(content.said) and not content.alike
        return [left, right, [data for data, _ in found], opened], content


def _together(rows: Sequence[Row], contents: Sequence[_Content]) -> _Content:
    sides = {(each.left is None, each.right is None) for each in rows}
    kept = all(each.left == each.right or None in (each.left, each.right) for each in rows)
    alike = kept and len(sides) == 1 and len({each.said for each in contents}) == 1
    said = _NOTHING.union(*(each.said for each in contents))
    return _Content(said, alike and all(each.alike for each in contents))
