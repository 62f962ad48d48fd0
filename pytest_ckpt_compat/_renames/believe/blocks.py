"""How sure the numbers of matched blocks are.

Blocks of equal content differ in nothing but their numbers. Equal numbers in a family of the same size
settle which became which. Other numbers do if every block is matched, in order, and either a block of other
content stands among them on one of the sides, or they are many: a few blocks without such an anchor may as
well run backwards, as in the pyramids and decoders of vision models. If the family has another size, nobody
can say where blocks were inserted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set

from pytest_ckpt_compat._renames.believe.alone import left_gaps, moved_alone, one_moved_alone
from pytest_ckpt_compat._renames.believe.families import Family, FreeBlocks, displaced, number_of
from pytest_ckpt_compat._renames.believe.in_step import MANY, in_step, rising
from pytest_ckpt_compat._renames.believe.ranks import increasing, ranks
from pytest_ckpt_compat._renames.believe.renumbered import numbered_families, sizes
from pytest_ckpt_compat._renames.believe.reordered import beside_reordered
from pytest_ckpt_compat._renames.believe.rows import of_longer_rows, with_names_passed_on
from pytest_ckpt_compat._renames.match.index_maps import NUMBERED
from pytest_ckpt_compat._renames.units.paths import (
    blocks_around,
    is_number,
    modules_of,
    natural,
    without_numbers,
)
from pytest_ckpt_compat._renames.units.units import Unit

#: What the numbers say: they settle it, make it plausible (the same ones in a family of another size do), or
#: speak against it.
SETTLED, PLAUSIBLE, AGAINST = 1.0, 0.75, 0.0


def block_maps(
    old: Sequence[Unit],
    new: Sequence[Unit],
    pairs: Iterable[tuple[int, int]],
    reordered: Set[tuple[int, int]] = frozenset(),
) -> dict[tuple[int, int], float]:
    """Returns, for each pair, what the numbers of the blocks around it say; the least of all levels.

    Args:
        old: units of the old side.
        new: units of the new side.
        pairs: the matches.
        reordered: those in families that run in another order now, so that a number settles nothing.
    """
    pairs = list(pairs)
    ours, theirs = Family(old), Family(new)
    paths = [(old[a].path, new[b].path) for a, b in pairs]
    left = FreeBlocks(ours, (path for path, _ in paths))
    came = FreeBlocks(theirs, (path for _, path in paths))
    there = _scores(paths, ours, theirs, came)
    back = _scores([(new_path, old_path) for old_path, new_path in paths], theirs, ours, left)
    crossed, counted = _crossed(old, new, pairs), _counted(old, new, pairs)
    settled, plausible = in_step(old, new, pairs), rising(old, new, pairs)
    unsure = beside_reordered(old, new, pairs) | moved_alone(old, new, pairs) | reordered

    def could_be_others(a: int, b: int) -> bool:
        sides = (ours, left, old[a].path), (theirs, came, new[b].path)
        return any(
            free.could_be(block, family.content(block))
            for family, free, path in sides
            for block in blocks_around(path)
        )

    def said(pair: tuple[int, int], blocks: float) -> float:
        if crossed.get(pair) == AGAINST:
            return AGAINST
        copies = _copies(old[pair[0]], new[pair[1]])
        if copies == SETTLED and old[pair[0]].numbers != new[pair[1]].numbers:
            copies = PLAUSIBLE if could_be_others(*pair) else SETTLED
        in_order = min(crossed.get(pair, SETTLED), PLAUSIBLE if pair in unsure else SETTLED)
        blocks = SETTLED if pair in settled else max(blocks, PLAUSIBLE) if pair in plausible else blocks
        return min(copies, in_order, counted.get(pair, SETTLED), blocks)

    return {pair: said(pair, min(one, other)) for pair, one, other in zip(pairs, there, back, strict=True)}


def _counted(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """Returns what numbers at the end of names say, as in ``output2 -> out.0``, by the rules of blocks."""
    found = dict.fromkeys(of_longer_rows(old, new, pairs) | with_names_passed_on(old, new, pairs), PLAUSIBLE)
    left, came = (_free(units, {pair[side] for pair in pairs}) for side, units in enumerate((old, new)))
    for (ours, theirs), members in numbered_families(old, new, pairs):
        further = {*left.get(ours, {}).values(), *came.get(theirs, {}).values()}
        kinds = Counter(old[a].slot for _, _, (a, _) in members)
        moved = {old[a].slot for one, other, (a, _) in members if one != other}
        rising = increasing([other for _, other, _ in members])
        for _, _, pair in members:
            alike = kinds[old[pair[0]].slot]
            sure = rising and (len(members) > alike or alike >= MANY)
            if old[pair[0]].slot in moved:
                found[pair] = min(found.get(pair, SETTLED), SETTLED if sure or alike < 2 else PLAUSIBLE)
            if old[pair[0]].slot in further:
                found[pair] = PLAUSIBLE  # the family has another size: one was put in or taken out somewhere
    return found


def _free(units: Sequence[Unit], matched: Set[int]) -> dict[str, dict[int, Hashable]]:
    """Returns family -> number -> size of the unmatched layers whose names end in a number."""
    return sizes([unit for index, unit in enumerate(units) if index not in matched])


def _crossed(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """Returns what it says that numbered families do not run in step, nor backwards as a whole.

    Numbers that rise where the files list them in different orders are plausible: the one may be counted
    from its end. In blocks that kept their name and number, they are what they were.
    """
    families: defaultdict[tuple[tuple[str, ...], str, str], list[tuple[int, int, int]]] = defaultdict(list)
    there = {unit.path: unit.main.shape for unit in new}
    for a, b in pairs:
        if there.get(old[a].path, old[a].main.shape) != old[a].main.shape:
            continue  # its name has another size now, so that it could not have kept it
        segments = old[a].path.split(".")
        for depth, segment in enumerate(segments):
            named = NUMBERED.fullmatch(segment)
            if named:
                around, inside = (*segments[:depth], named["family"]), ".".join(segments[depth + 1 :])
                families[around, inside, without_numbers(new[b].path)].append((int(named["number"]), a, b))
    found: dict[tuple[int, int], float] = {}
    for (around, _, _), layers in families.items():
        layers.sort()
        if len(layers) > 2 and increasing([natural(new[b].path) for _, _, b in reversed(layers)]):
            continue  # they run backwards; two say nothing
        for members in _by_kind(layers, old):
            olds, news = [a for _, a, _ in members], [b for _, _, b in members]
            rise = increasing([natural(new[b].path) for b in news])
            placed = increasing(news) or not increasing(olds)
            if not (rise and (placed or _stayed(around, members, new))):
                found.update(dict.fromkeys(((a, b) for _, a, b in members), PLAUSIBLE if rise else AGAINST))
    return found


def _by_kind(layers: Sequence[tuple[int, int, int]], old: Sequence[Unit]) -> list[list[tuple[int, int, int]]]:
    """Divides the layers of a family by what they hold."""
    kinds: defaultdict[Hashable, list[tuple[int, int, int]]] = defaultdict(list)
    for layer in layers:
        kinds[old[layer[1]].kind].append(layer)
    return list(kinds.values())


def _stayed(around: Sequence[str], members: Sequence[tuple[int, int, int]], new: Sequence[Unit]) -> bool:
    """Whether the blocks of a family kept their names and numbers."""
    family = ".".join(around)
    return all(f"{new[b].path}.".startswith(f"{family}{number}.") for number, _, b in members)


def _scores(paths: Sequence[tuple[str, str]], ours: Family, theirs: Family, came: FreeBlocks) -> list[float]:
    """Returns, for each pair of paths, what the numbers in the first one say."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    partners: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for here, there in paths:
        targets = blocks_around(there)
        for module in blocks_around(here):
            votes[module].update(targets)
            partners[module][here.removeprefix(module)] = there
    counterparts = {
        module: _counterpart(counter, ours.size(module), theirs) for module, counter in votes.items()
    }
    gaps = left_gaps(counterparts, ours, theirs)
    told = [
        module
        for module in votes
        if len(ours.alike(module)) > 1 or module in gaps or _is_headless(module, counterparts[module], theirs)
    ]
    firsts = {module: ours.alike(module)[0] for module in told}
    levelled = {first for first in set(firsts.values()) if _is_flat(first, counterparts, ours)}
    flat = {module for module in told if firsts[module] in levelled}
    # Of blocks that hold the same in one module, one says what all do that kept their numbers, or did not.
    alike = {
        m: (firsts[m], frozenset(ours.content(m).items()), number_of(m) == number_of(counterparts[m]))
        for m in told
        if m not in flat
    }
    ones = {group: _score(m, counterparts, gaps, ours, theirs, came) for group, m in _ones(alike).items()}
    scores = {m: ones[group] for m, group in alike.items()}
    layers = {(firsts[m], inner) for m in flat for inner in partners[m]}
    flats = {(first, inner): _flat_score(first, inner, ours, partners) for first, inner in layers}
    found = []
    for here, there in paths:
        levels = [module for module in modules_of(here) if module in scores or module in flat]
        inside = all(f"{there}.".startswith(f"{counterparts[module]}.") for module in levels)
        said = [scores[m] if m in scores else flats[firsts[m], here.removeprefix(m)] for m in levels]
        found.append(min([SETTLED, *said]) if inside else AGAINST)
    return found


def _ones(groups: Mapping[str, Hashable]) -> dict[Hashable, str]:
    """Returns group -> one of its members."""
    return {group: member for member, group in groups.items()}


def more_of_the_same(units: Sequence[Unit], matched: Set[int]) -> set[int]:
    """Finds the unmatched blocks of a side that have the content of a matched one beside them.

    A deeper or shallower stack has more or fewer of the same: that is no part that was replaced.
    """
    left = [index for index in range(len(units)) if index not in matched]
    free = Counter(module for index in left for module in blocks_around(units[index].path))
    if not free:
        return set()
    family = Family(units)
    whole = {module for module, number in free.items() if number == family.size(module)}
    further = {module for module in whole if any(each not in free for each in family.alike(module))}
    return {index for index in left if not further.isdisjoint(modules_of(units[index].path))}


def _copies(a: Unit, b: Unit) -> float:
    """Blocks that were collapsed have the same numbers on both sides, or many that rise, none for itself."""

    def settled(one: Sequence[int], other: Sequence[int]) -> bool:
        risen = len(one) >= MANY and increasing(one) and increasing(other)
        return one == other or (risen and not one_moved_alone(one, other))

    levels = zip(a.numbers, b.numbers, strict=True)
    return (
        SETTLED if all(settled([*map(int, one)], [*map(int, other)]) for one, other in levels) else PLAUSIBLE
    )


def _counterpart(votes: Counter[str], size: int, theirs: Family) -> str:
    """Returns the numbered module that holds more than half of a module's partners and least else, or "".

    Of two that hold the same, it is the inner one.
    """
    best = [module for module, number in votes.items() if 2 * number > size]
    return max(
        best, key=lambda module: (votes[module] / (size + theirs.size(module)), len(module)), default=""
    )


def _score(
    module: str,
    counterparts: Mapping[str, str],
    gaps: Set[str],
    ours: Family,
    theirs: Family,
    came: FreeBlocks,
) -> float:
    """Returns what the number of one of several blocks of equal content says."""
    alike = ours.alike(module)
    targets = [counterparts.get(each, "") for each in alike]
    known = [target for target in targets if target]
    if len(set(known)) < len(known):
        return AGAINST
    complete = len(known) == len(alike) and (
        len(theirs.alike_beside(targets)) == len(alike) or _kept(module, counterparts, ours, theirs)
    )
    if all(number_of(a) == number_of(b) for a, b in zip(alike, targets, strict=True) if b):
        return SETTLED if complete and not displaced(module, counterparts, ours, theirs) else PLAUSIBLE
    kept = sum(number_of(a) == number_of(b) for a, b in zip(alike, targets, strict=True))
    if not complete and 2 * kept > len(known) and number_of(module) == number_of(counterparts[module]):
        return PLAUSIBLE  # one that has no number of its own there was taken out, and others came
    gap = not gaps.isdisjoint(alike)
    if gap and complete and len(alike) == 1:
        return PLAUSIBLE  # what it holds tells it from all others, wherever it stands now
    family = _beside(module, counterparts, ours) if complete else []
    if complete and len(family) > len(alike) and _rising(targets[::-1], family[::-1], theirs):
        return PLAUSIBLE  # a decoder may count from its end, where others stand among those alike
    if not complete or not _rising(targets, family, theirs):
        return AGAINST
    headless = any(_is_headless(one, other, theirs) for one, other in zip(alike, targets, strict=True))
    if gap or (headless and not _moved_as_one(module, counterparts, ours, theirs)):
        return PLAUSIBLE
    if ours.numbers(module) == theirs.numbers(targets[0]):
        return PLAUSIBLE  # the same blocks, of which some exchanged what they hold
    if came.could_be(targets[0], ours.content(module)):
        return PLAUSIBLE  # a block that came has all that this one holds, and more
    anchored = len(family) > len(alike) or len(theirs.siblings(targets[0])) > len(targets)
    return SETTLED if anchored or len(alike) >= MANY else PLAUSIBLE


def _beside(module: str, counterparts: Mapping[str, str], ours: Family) -> list[str]:
    """The counterparts of the blocks beside a module; if those alike are in one parent, its blocks alone.

    A block that is in a module without a number now, beside them, is none of them.
    """
    found = [counterparts[each] for each in ours.siblings(module) if counterparts.get(each)]
    parents = {counterparts[each].rpartition(".")[0] for each in ours.alike(module)}
    if len(parents) > 1:
        return found
    depth = counterparts[module].count(".") + 1
    blocks = [".".join(each.split(".")[:depth]) for each in found]
    return [each for each in blocks if each.rpartition(".")[0] in parents and is_number(number_of(each))]


def _rising(targets: Sequence[str], family: Sequence[str], theirs: Family) -> bool:
    """Whether the blocks of a family rise; several may have become one, but none of equal content."""
    ranks_of = [theirs.rank(each) for each in family]
    return increasing([theirs.rank(each) for each in targets]) and ranks_of == sorted(ranks_of)


def _is_flat(module: str, counterparts: Mapping[str, str], ours: Family) -> bool:
    """Whether the other side has the contents of several equal blocks in one module."""
    targets = {counterparts.get(each, "") for each in ours.alike(module)}
    return len(targets) == 1 < len(ours.alike(module)) and "" not in targets


def _flat_score(module: str, inner: str, ours: Family, partners: Mapping[str, Mapping[str, str]]) -> float:
    """Returns what the numbers of equal blocks say of a layer that has a number of its own on the other side.

    ``conv.1.norm`` and ``conv.2.norm`` are ``norm1`` and ``norm2`` by the rules of blocks. A layer that only
    one of the blocks has under this name is told by the name.
    """
    alike = [each for each in ours.alike(module) if inner in partners[each]]
    paths = [partners[each][inner] for each in alike]
    numbered = len({without_numbers(path) for path in paths}) == 1
    if not increasing([*map(natural, paths)] if numbered else ranks(paths)):
        return AGAINST
    anchored = len(ours.siblings(module)) > len(alike)
    return SETTLED if len(alike) < 2 or anchored or len(alike) >= MANY else PLAUSIBLE


def _is_headless(module: str, target: str, theirs: Family) -> bool:
    """Whether a block has another number, in a family of which the first ones are not there.

    Those may have been removed, or have another name now, and the block be a new one. Layers that are
    numbered beside blocks are of their family.
    """
    moved = bool(target) and number_of(module) != number_of(target)
    return moved and theirs.first(target) > 1


def _moved_as_one(module: str, counterparts: Mapping[str, str], ours: Family, theirs: Family) -> bool:
    """Whether all blocks of a family, no two of them alike, became all of another, in step.

    Such a family starts with another number: ``layer1`` to ``layer4`` became ``res2`` to ``res5``. A block
    beside them may have become what is no block: ``layers.3`` became ``last``.
    """
    family = [each for each in ours.siblings(module) if counterparts.get(each)]
    for target in blocks_around(f"{counterparts[module]}."):
        beside = theirs.siblings(target)
        inside = all(f"{counterparts[a]}.".startswith(f"{b}.") for a, b in zip(family, beside, strict=False))
        shifts = {int(number_of(b)) - int(number_of(a)) for a, b in zip(family, beside, strict=False)}
        if inside and len(family) == len(beside) and len(shifts) == 1:
            return all(len(ours.alike(each)) == 1 for each in family)
    return False


def _kept(module: str, counterparts: Mapping[str, str], ours: Family, theirs: Family) -> bool:
    """Whether all blocks beside a module have partners with their own numbers, and these no others beside."""
    family = ours.siblings(module)
    targets = [counterparts.get(each, "") for each in family]
    same = all(number_of(a) == number_of(b) for a, b in zip(family, targets, strict=True))
    return same and {len(theirs.siblings(target)) for target in targets} == {len(family)}
