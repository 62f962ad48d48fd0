"""Groups moves of keys that differ in nothing but their numbers, and finds how the numbers map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._migrate.steps import Step
from pytest_ckpt_compat._migrate.templates import Ref, Segments, segmented

#: Most different shifts of one number that are told apart before each number has a rule of its own.
_MOST_SHIFTS = 3

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """Moves of keys of one form whose new numbers follow from the old ones in one way.

    Attributes:
        old: the segments of the old keys: text, None for a number, or the numbers that it may be.
        new: the segments of the new keys: text, or a reference to a number of the old key.
        steps: the moves.
    """

    old: tuple[str | tuple[str, ...] | None, ...]
    new: tuple[str | Ref, ...]
    steps: tuple[Step, ...]


def families(steps: Sequence[Step]) -> list[Family]:
    """Families of moves, in the order of their first steps."""
    forms: defaultdict[tuple[Segments, Segments], list[tuple[Numbers, Numbers, Step]]] = defaultdict(list)
    for step in steps:
        old, before = segmented(step.old[0])
        new, after = segmented(step.new[0])
        forms[old, new].append((before, after, step))
    found = [each for (old, new), members in forms.items() for each in _mapped(old, new, members)]
    position = {step: number for number, step in enumerate(steps)}
    return sorted(found, key=lambda family: position[family.steps[0]])


def _mapped(old: Segments, new: Segments, members: list[tuple[Numbers, Numbers, Step]]) -> Iterator[Family]:
    """Families of moves of one form: one if the numbers map in one way, else one for each way."""
    chosen: list[Ref | int] = []
    for column in range(len(members[0][1])):
        way = _way(column, members, [each.group for each in chosen if isinstance(each, Ref)])
        if way is None:
            for part in _divided(column, members):
                yield from _mapped(old, new, part)
            return
        chosen.append(way)
    fixed = _fixed(
        [before for before, _, _ in members], [each.group - 1 for each in chosen if isinstance(each, Ref)]
    )
    yield Family(_with(old, fixed), _of(new, chosen), tuple(step for _, _, step in members))


def _way(
    column: int, members: Sequence[tuple[Numbers, Numbers, Step]], used: Sequence[int]
) -> Ref | int | None:
    """How a number of the new keys follows from the old ones: the same, shifted, or always one value."""
    values = {after[column] for _, after, _ in members}
    width = len(members[0][0])
    order = sorted(range(width), key=lambda i: (i + 1 in used, abs(i - column)))
    for shifted in (False, True):
        if shifted and len(values) == 1:
            return values.pop()
        for i in order:
            if len(values) == 1 and i + 1 in used:
                continue  # one layer's number that comes up a second time: more likely an index of its own
            shifts = {after[column] - before[i] for before, after, _ in members}
            if len(shifts) == 1 and (shifted or 0 in shifts):
                return Ref(i + 1, shifts.pop())
    return values.pop() if len(values) == 1 else None


def _divided(
    column: int, members: list[tuple[Numbers, Numbers, Step]]
) -> Iterator[list[tuple[Numbers, Numbers, Step]]]:
    """Moves divided by the shift of a number if few shifts occur, else by the old number it follows."""
    width = len(members[0][0])
    best: dict[int, list[tuple[Numbers, Numbers, Step]]] = {}
    for i in sorted(range(width), key=lambda i: abs(i - column)):
        by_shift: defaultdict[int, list[tuple[Numbers, Numbers, Step]]] = defaultdict(list)
        for member in members:
            by_shift[member[1][column] - member[0][i]].append(member)
        if not best or len(by_shift) < len(best):
            best = by_shift
    if width and 1 < len(best) <= _MOST_SHIFTS:
        yield from best.values()
        return
    by_value: defaultdict[int, list[tuple[Numbers, Numbers, Step]]] = defaultdict(list)
    for member in members:
        by_value[member[1][column]].append(member)
    yield from by_value.values()


def _fixed(numbers: Sequence[Numbers], free: Iterable[int]) -> dict[int, int]:
    """The columns of the old numbers that never vary, but for those that the new keys follow."""
    free = set(free)
    columns = range(len(numbers[0]))
    varying = {i for i in columns if len({each[i] for each in numbers}) > 1}
    return {i: numbers[0][i] for i in columns if i not in varying and i not in free}


def _with(old: Segments, fixed: dict[int, int]) -> tuple[str | tuple[str, ...] | None, ...]:
    """The old segments; a number that never varies is text."""
    column = -1
    found: list[str | None] = []
    for segment in old:
        column += segment is None
        found.append(str(fixed[column]) if segment is None and column in fixed else segment)
    return tuple(found)


def _of(new: Segments, chosen: Sequence[Ref | int]) -> tuple[str | Ref, ...]:
    each = iter(chosen)
    return tuple(_number(next(each)) if segment is None else segment for segment in new)


def _number(way: Ref | int) -> str | Ref:
    return str(way) if isinstance(way, int) else way


def limited(family: Family) -> Family:
    """The family with each number restricted to those that its old keys have."""
    segments = segmented(family.steps[0].old[0])[0]
    numbers = [segmented(step.old[0])[1] for step in family.steps]
    old, new, column = list(family.old), list(family.new), -1
    for index, segment in enumerate(segments):
        column += segment is None
        if segment is not None or old[index] is not None:
            continue
        values = sorted({each[column] for each in numbers})
        old[index] = str(values[0]) if len(values) == 1 else tuple(map(str, values))
        if len(values) == 1:
            new = [_settled(part, column + 1, values[0]) for part in new]
    return Family(tuple(old), tuple(new), family.steps)


def _settled(part: str | Ref, group: int, value: int) -> str | Ref:
    return str(value + part.shift) if isinstance(part, Ref) and part.group == group else part


def unpatterned(step: Step) -> Family:
    """The family of one move alone, without any number that may vary."""
    return Family(tuple(step.old[0].split(".")), tuple(step.new[0].split(".")), (step,))
