"""How much of the part around a match is explained: counted as it is defined, in little work."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat._renames.believe.parts import NEARLY_ALL, RICH, explained_parts
from pytest_ckpt_compat._renames.units.units import Unit, units_of
from tests.counting import calls

from .models import spec


def _units(paths: Sequence[str]) -> list[Unit]:
    """Units of as many kinds as there are paths, up to nine."""
    return units_of({f"{path}.weight": spec(2 + index % 9, 3) for index, path in enumerate(paths)})


def _inside(unit: Unit, module: str) -> bool:
    return not module or unit.path.startswith(f"{module}.")


def _modules(unit: Unit) -> list[str]:
    names = unit.path.split(".")
    return [".".join(names[:depth]) for depth in range(len(names))]


def _by_definition(old: Sequence[Unit], new: Sequence[Unit], moved: Sequence[tuple[int, int]]) -> list[float]:
    def share(one: str, other: str) -> float:
        within = [(a, b) for a, b in moved if _inside(old[a], one) and _inside(new[b], other)]
        if len({old[a].kind for a, _ in within}) < RICH:
            return 0.0
        sizes = sorted((sum(_inside(u, one) for u in old), sum(_inside(u, other) for u in new)))
        fewer, more = (min(len(within) / size, 1.0) for size in sizes)
        return fewer if more >= NEARLY_ALL else more

    return [
        max(share(one, other) for one in _modules(old[a]) for other in _modules(new[b])) for a, b in moved
    ]


_path = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
_paths = st.lists(_path, min_size=RICH, max_size=24).map(
    lambda found: [f"{path}.n{index}" for index, path in enumerate(found)]
)


@given(_paths, _paths)
def test_it_is_the_largest_share_of_any_rich_part(old: list[str], new: list[str]) -> None:
    ours, theirs = _units(old), _units(new)
    moved = list(zip(range(len(ours)), range(len(theirs)), strict=False))[: max(RICH, len(ours) - 3)]
    found = explained_parts(ours, theirs, moved, (range(len(ours)), range(len(theirs))))
    assert list(found) == moved
    assert list(found.values()) == pytest.approx(_by_definition(ours, theirs, moved))


def test_the_work_grows_with_the_depth_of_a_name_and_not_with_its_square() -> None:
    def work(depth: int) -> int:
        trunk = ".".join(["a"] * depth)
        units = _units([f"{trunk}.n{index}" for index in range(RICH)])
        moved = [(index, index) for index in range(len(units))]
        with calls() as counted:
            found = explained_parts(units, units, moved, (range(len(units)), range(len(units))))
            number = counted()
        assert set(found.values()) == {1.0}
        return number

    assert work(400) < 5 * work(100)
