"""Single layers that seem to have joined or left a module of which the rest is what it was.

``cls.out`` is where it was, and ``cls.dense`` is there now, while ``pool.dense`` or ``dense`` went. Either
the layer was put there, or it went while another of its shape and name came: nobody can say. A module
that came around the layer is another thing, and so are several layers that moved together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pytest_ckpt_compat._renames.units.paths import around, modules_of, template
from pytest_ckpt_compat._renames.units.units import Unit


def strayed(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Returns the single layers of which the rest of a module around, of either side, is elsewhere.

    Args:
        old: units of the old side.
        new: units of the new side.
        chosen: the matches.
    """
    paths = {(a, b): (old[a].path, new[b].path) for a, b in chosen}
    often = Counter((template(one), template(other)) for one, other in paths.values())
    lone = {
        (a, b)
        for (a, b), (one, other) in paths.items()
        if not (old[a].copies or new[b].copies) and often[template(one), template(other)] == 1
    }
    turned = {pair: (other, one) for pair, (one, other) in paths.items()}
    return lone & (_strays(paths) | _strays(turned))


def _strays(paths: Mapping[tuple[int, int], tuple[str, str]]) -> set[tuple[int, int]]:
    """The pairs that alone left a module: most of the others in it are together in another one."""
    held = Counter(module for here, _ in paths.values() for module in modules_of(here))
    became: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for here, there in paths.values():
        for module, other in _linked(here, there):
            became[module][other] += 1
    rest = {module: _most(module, others) for module, others in became.items()}
    left: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for pair, (here, there) in paths.items():
        reached = set(around(there))
        for module in modules_of(here):
            other = rest.get(module, "")
            if other not in reached and 2 * became[module][other] > held[module] - 1:
                left[module].append(pair)
    return {pairs[0] for pairs in left.values() if len(pairs) == 1}


def _most(module: str, others: Counter[str]) -> str:
    """The module that most layers of one are in; of two halves, the one under the same name."""
    name = module.rpartition(".")[2]
    return max(others, key=lambda other: (others[other], other.rpartition(".")[2] == name))


def _linked(here: str, there: str) -> Iterator[tuple[str, str]]:
    """The modules around two paths, as far as what follows them is the same."""
    one, other = here.split("."), there.split(".")
    for depth in range(1, len(one)):
        if one[-depth:] != other[-depth:]:
            return
        yield ".".join(one[:-depth]), ".".join(other[:-depth])
