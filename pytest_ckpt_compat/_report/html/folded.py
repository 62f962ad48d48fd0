"""Folds rows: consecutive numbered siblings that are alike become one, ``blocks.{0..11}``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import pairwise

from pytest_ckpt_compat._report.html.trees import Row


class Folding:
    """Folds rows that differ only in their number.

    Args:
        alike: what two tensors must have in common, given their row.
    """

    def __init__(self, alike: Callable[[Row], Hashable]) -> None:
        self._alike = alike
        self._numbers: dict[Hashable, int] = {}

    def folded(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """The rows with everything in them folded."""
        return tuple(row for row, _ in self._fold(rows))

    def _fold(self, rows: Sequence[Row]) -> list[tuple[Row, int]]:
        """The folded rows, each with a number that stands for its content."""
        done: list[tuple[Row, int]] = []
        run: list[Row] = []
        content = -1
        for row in rows:
            inner = self._fold(row.rows)
            here = self._number((row.level, self._alike(row), tuple((r.left, r.right, n) for r, n in inner)))
            if inner:
                row = replace(row, rows=tuple(each for each, _ in inner))
            if run and here == content and _follows(run, row):
                run.append(row)
                continue
            if run:
                done.append((_merged(run), content))
            run, content = [row], here
        if run:
            done.append((_merged(run), content))
        return done

    def _number(self, content: Hashable) -> int:
        return self._numbers.setdefault(content, len(self._numbers))


def _follows(run: Sequence[Row], row: Row) -> bool:
    """Whether a row continues a run: both of its names count on, in the direction of the run."""
    return _counts_on([each.left for each in run[-2:]], row.left) and _counts_on(
        [each.right for each in run[-2:]], row.right
    )


def _counts_on(before: Sequence[str | None], name: str | None) -> bool:
    if name is None or before[-1] is None:
        return name is before[-1]
    numbers = [int(each) for each in (*before, name) if each is not None and _is_number(each)]
    if len(numbers) <= len(before):
        return False
    steps = {b - a for a, b in pairwise(numbers)}
    return steps in ({1}, {-1})


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 10 and str(int(name)) == name


def _merged(rows: Sequence[Row]) -> Row:
    """One row for several that are alike."""
    if len(rows) == 1:
        return rows[0]
    return replace(
        _together(rows),
        left=_range([row.left for row in rows]),
        right=_range([row.right for row in rows]),
    )


def _together(rows: Sequence[Row]) -> Row:
    """The first of some rows, which stands for the keys of all of them."""
    first = rows[0]
    return replace(
        first,
        rows=tuple(_together(each) for each in zip(*(row.rows for row in rows), strict=True)),
        old=tuple(place for row in rows for place in row.old),
        new=tuple(place for row in rows for place in row.new),
    )


def _range(names: Sequence[str | None]) -> str | None:
    """``{0..11}``."""
    if names[0] is None:
        return None
    return f"{{{names[0]}..{names[-1]}}}" if len(names) > 2 else f"{{{names[0]},{names[-1]}}}"
