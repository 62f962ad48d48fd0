"""Finds the commit at which a checkpoint stopped loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: A checkpoint loads at a commit, does not, or that cannot be told.
State = Literal["good", "bad", "unknown"]


@dataclass(frozen=True)
class Break:
    """Where a checkpoint stopped loading, as places in a list of commits, the oldest first.

    Attributes:
        good: the last at which it is known to load.
        bad: the first after it at which it is known not to.
        unknown: those between, of which that cannot be told.
    """

    good: int
    bad: int
    unknown: tuple[int, ...] = ()


def first_bad(number: int, probe: Callable[[int], State]) -> Break | None:
    """The break between a commit at which a checkpoint loads and the last one, at which it does not.

    Where it loads at the oldest commit, the break is found by halves, as ``git bisect`` does: of several
    breaks it is one of them. Otherwise it is the last one, found step by step from the end.

    Args:
        number: how many commits there are.
        probe: tells the state at a place in the list; the last one is bad.

    Returns:
        The break; None if the checkpoint is not known to load at any commit.
    """
    last = number - 1
    if last > 0 and probe(0) == "good":
        return _by_halves(0, last, probe)
    bad = last
    unknown: list[int] = []
    for place in range(last - 1, -1, -1):
        state = probe(place)
        if state == "good":
            return Break(place, bad, tuple(sorted(each for each in unknown if each < bad)))
        if state == "bad":
            bad = place
        else:
            unknown.append(place)
    return None


def _by_halves(good: int, bad: int, probe: Callable[[int], State]) -> Break:
    unknown: set[int] = set()
    while places := [place for place in range(good + 1, bad) if place not in unknown]:
        place = places[len(places) // 2]
        state = probe(place)
        if state == "good":
            good = place
        elif state == "bad":
            bad = place
        else:
            unknown.add(place)
    return Break(good, bad, tuple(sorted(each for each in unknown if good < each < bad)))
