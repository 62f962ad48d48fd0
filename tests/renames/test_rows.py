"""Layers in a row, each with a number of its own, that nothing but the number tells apart."""

from __future__ import annotations

import re

import pytest

from pytest_ckpt_compat._renames import infer

from .models import Specs, by_name, linear, merged


def row(family: str, count: int) -> Specs:
    return merged(*(linear(f"{family}.{n}", 32, 32) for n in range(count)))


def confidences(old: Specs, new: Specs, word: str) -> set[str]:
    """What is told of layers with a word in their names, in every order of the files and both directions."""
    ends = linear("stem", 32, 7), linear("head", 10, 32)
    one, other = merged(ends[0], old, ends[1]), merged(ends[0], new, ends[1])
    orders = (one, other), (by_name(one), other), (by_name(one), by_name(other))
    return {
        change.confidence
        for sides in orders
        for a, b in (sides, sides[::-1])
        for change in infer(a, b)
        if change.old and change.new and word in change.old[0] and word in change.new[0]
    }


def levels(numbers: range, *, lateral: str, smooth: str) -> Specs:
    """Laterals, each of a size of its own, and outputs of one size."""
    places = list(enumerate(numbers))
    if "{}" in lateral:
        return merged(
            *(
                {**linear(lateral.format(n), 16 * (k + 1), 16 * k), **linear(smooth.format(n), 32, 32)}
                for n, k in places
            )
        )
    laterals = [linear(f"{lateral}.{n}", 16 * (k + 1), 16 * k) for n, k in places]
    return merged(*laterals, *(linear(f"{smooth}.{n}", 32, 32) for n, _ in places))


@pytest.mark.parametrize("count", [1, 3, 5, 12])
@pytest.mark.parametrize("front", [True, False])
def test_a_row_that_is_longer_than_its_blocks_is_not_certain(count: int, front: bool) -> None:
    old = levels(range(2, 2 + count), lateral="levels.{}.lateral", smooth="levels.{}.smooth")
    numbers = range(1, 2 + count) if front else range(2, 3 + count)
    new = levels(numbers, lateral="lateral", smooth="smooth")
    assert "certain" not in confidences(old, new, "smooth")


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_a_longer_row_follows_those_whose_sizes_show_the_way_or_is_ambiguous(count: int) -> None:
    """A level was put in front, as the laterals show. By the numbers alone, the outputs kept theirs."""
    old = levels(range(2, 2 + count), lateral="levels.{}.lateral", smooth="levels.{}.smooth")
    moved = levels(range(1, 2 + count), lateral="lateral", smooth="smooth")
    new = {re.sub(r"\d+", lambda found: str(int(found[0]) + 1), key): spec for key, spec in moved.items()}
    for one, other in ((old, new), (new, old)):
        for change in infer(by_name(one), by_name(other)):
            if change.old and change.new and "smooth" in change.old[0] and change.confidence != "ambiguous":
                before, after = (re.findall(r"\d+", key)[0] for key in (change.old[0], change.new[0]))
                assert int(after) - int(before) == (1 if one is old else -1)


@pytest.mark.parametrize("count", [5, 12])
def test_a_row_as_long_as_its_blocks_is_certain(count: int) -> None:
    old = levels(range(2, 2 + count), lateral="levels.{}.lateral", smooth="levels.{}.smooth")
    new = levels(range(2, 2 + count), lateral="lateral", smooth="smooth")
    assert confidences(old, new, "smooth") == {"certain"}


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_a_row_whose_name_another_one_seems_to_have_is_not_certain(count: int) -> None:
    """``fcs`` became ``gates``, and that ``linears``; or the one got a layer, and the other lost one."""
    old = merged(row("fcs", count), row("gates", count + 1))
    new = merged(row("linears", count + 1), row("gates", count))
    assert "certain" not in confidences(old, new, "")
