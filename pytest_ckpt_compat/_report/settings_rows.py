"""Changes of settings as text: the modules folded, the values, and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.patterns import fold, fold_pairs
from pytest_ckpt_compat._core.verdict import Verdict

#: How a report names the outermost module, whose path is empty.
_OUTERMOST = "the outermost module"


class Line(NamedTuple):
    """One line on changes that say the same."""

    changes: tuple[Change, ...]
    modules: str
    what: str
    number: int
    consequence: str

    @property
    def note(self) -> str:
        """What stands beside the modules in a row."""
        return "   ".join(each for each in (self.what, _number(self.number), self.consequence) if each)


def settings_lines(changes: Sequence[Change], verdict: Verdict, full: bool = False) -> Iterator[Line]:
    """A line for all modules with one change, folded; ``full`` gives each its own.

    Args:
        changes: of settings, with equal details.
        verdict: what they are of.
        full: whether to fold nothing.
    """
    first = changes[0]
    what, _, consequence = first.detail.rpartition(", ")
    if full:
        for each in changes:
            exact = each.evidence[0] if each.evidence else ""
            own = f"{what.partition(' ')[0]} {exact}" if exact else what
            yield Line((each,), _pair(*_paths(each)), own, 1, consequence)
        return
    by_paths = {_paths(each): each for each in changes}
    for modules, places in _places(list(by_paths), verdict):
        members = tuple(by_paths[each] for each in places)
        yield Line(members, modules, what, len(members), consequence)


def settings_phrase(changes: Sequence[Change], verdict: Verdict) -> str:
    """``encoder.norm: eps 1e-12 -> 1e-06, computes something else``, and how many more there are."""
    alike = [each for each in changes if each.detail == changes[0].detail]
    first = next(settings_lines(alike, verdict))
    modules = f" ({_number(first.number)})" if first.number > 1 else ""
    left = len(changes) - first.number
    more = f"; {count(left, 'more change')} of settings" if left else ""
    return visible(f"{first.modules}: {first.what}{modules}, {first.consequence}{more}")


def _paths(change: Change) -> tuple[str | None, str | None]:
    return (change.old[0] if change.old else None, change.new[0] if change.new else None)


_Paths = tuple[str | None, str | None]


def _places(paths: Sequence[_Paths], verdict: Verdict) -> Iterator[tuple[str, list[_Paths]]]:
    """The modules as few patterns, each with the paths that it stands for."""
    moved = [pair for pair in paths if None not in pair and pair[0] != pair[1]]
    kept = [pair for pair in paths if None in pair or pair[0] == pair[1]]
    same = {(new if new is not None else old) or "": (old, new) for old, new in kept}
    sides = [tuple(each.modules) if each else () for each in (verdict.old, verdict.new)]
    universe = sides[0] if paths[0][1] is None else sides[1]
    if "" in same:
        yield _OUTERMOST, [same[""]]
    for found in fold([path for path in same if path], [path for path in universe if path]):
        yield found.pattern, [same[key] for key in found.keys]
    for pair in (pair for pair in moved if "" in pair):
        yield _pair(*pair), [pair]
    inner = [(old, new) for old, new in moved if old and new]
    for both in fold_pairs(inner, *([path for path in side if path] for side in sides)):
        yield str(both), list(both.pairs)


def _pair(old: str | None, new: str | None) -> str:
    shown = [each or _OUTERMOST for each in (old, new) if each is not None]
    return " -> ".join(dict.fromkeys(shown))


def _number(number: int) -> str:
    return count(number, "module") if number > 1 else ""
