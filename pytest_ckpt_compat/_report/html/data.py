"""The two trees of a verdict as JSON for a page: short, and without a sign that HTML would act on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_ckpt_compat._core.links import rule_url
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.html.folded import Folding
from pytest_ckpt_compat._report.html.links import Fact, Linked, Mark, linked
from pytest_ckpt_compat._report.html.trees import Paired, Row, paired

#: Signs that end or open something in HTML, and line ends that JavaScript knows and JSON does not.
_ESCAPES = {sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
#: What stands for a name: none, none but for a level that the other side has more, the same as on the left.
_NONE, _LEVEL, _SAME = 0, 2, 1


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
    facts = _Facts(found, both)
    rows = Folding(facts.alike).folded(both.rows)
    specs = list(dict.fromkeys([*found.old.values(), *found.new.values()]))
    number = {spec: place for place, spec in enumerate(specs)}
    return escaped(
        {
            "old": list(_shortened(both.old)),
            "new": _referring(both.old, both.new),
            "specs": specs,
            "oldSpecs": [number[found.old[key]] for key in both.old],
            "newSpecs": [number[found.new[key]] for key in both.new],
            "marks": [_mark(mark) for mark in facts.marks],
            "facts": facts.numbered,
            "rows": [_row(row, facts) for row in rows],
        }
    )


def escaped(data: Any) -> str:
    """JSON for a ``script`` element: ASCII, and nothing in it that ends the element or begins another."""
    text = json.dumps(data, separators=(",", ":"))
    return "".join(_ESCAPES.get(sign, sign) for sign in text) if _ESCAPES.keys() & set(text) else text


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


def _bare(places: list[int]) -> Any:
    """One position without its list."""
    return places[0] if len(places) == 1 else places


def _mark(mark: Mark) -> dict[str, Any]:
    data: dict[str, Any] = {
        "rule": mark.rule,
        "url": rule_url(mark.rule) if mark.rule else "",
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

    facts: frozenset[Hashable]
    alike: bool


class _Facts:
    """The facts by the positions of their keys."""

    def __init__(self, found: Linked, both: Paired) -> None:
        old = {key: place for place, key in enumerate(both.old)}
        new = {key: place for place, key in enumerate(both.new)}
        self._specs = [found.old[key] for key in both.old], [found.new[key] for key in both.new]
        self._at: tuple[defaultdict[int, list[Fact]], defaultdict[int, list[Fact]]]
        self._at = defaultdict(list), defaultdict(list)
        marks: dict[Mark, int] = {}
        self.numbered: list[tuple[int, Any, Any]] = []
        for fact in found.facts:
            olds, news = [old[key] for key in fact.old], [new[key] for key in fact.new]
            self.numbered.append((marks.setdefault(fact.mark, len(marks)), _bare(olds), _bare(news)))
            for places, at in zip((olds, news), self._at, strict=True):
                for place in places:
                    at[place].append(fact)
        self.marks: tuple[Mark, ...] = tuple(marks)

    def alike(self, row: Row) -> Hashable:
        """What rows must have in common to be folded: shapes, and what is said of them."""
        specs = tuple(
            tuple(specs[place] for place in places)
            for specs, places in zip(self._specs, (row.old, row.new), strict=True)
        )
        return specs, self._said(row, 0), self._said(row, 1)

    def _said(self, row: Row, which: int) -> frozenset[Hashable]:
        places = row.new if which else row.old
        facts = (fact for place in places for fact in self._at[which].get(place, ()))
        return frozenset(
            (fact.mark.word, fact.mark.severity, fact.mark.detail, fact.mark.reason) for fact in facts
        )

    def content(self, row: Row) -> _Content:
        """What is said below a row, and whether it is the same for all of it."""
        if not row.rows:
            return _Content(self._said(row, 0) | self._said(row, 1), True)
        found = [self.content(each) for each in row.rows]
        sides = {(each.left is None, each.right is None) for each in row.rows}
        kept = all(each.left == each.right or None in (each.left, each.right) for each in row.rows)
        alike = kept and len(sides) == 1 and len({each.facts for each in found}) == 1
        facts: frozenset[Hashable] = frozenset().union(*(each.facts for each in found))
        return _Content(facts, alike and all(each.alike for each in found))


def _row(row: Row, facts: _Facts) -> list[Any]:
    left: Any = row.left if row.left is not None else _LEVEL if row.level else _NONE
    right: Any = row.right if row.right is not None else _LEVEL if row.level else _NONE
    if row.left is not None and row.left == row.right:
        right = _SAME
    if not row.rows:
        return [left, right, _bare([*row.old]), _bare([*row.new])]
    content = facts.content(row)
    opened = bool(content.facts) and not content.alike
    return [left, right, [_row(each, facts) for each in row.rows], opened]
