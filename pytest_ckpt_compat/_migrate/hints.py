"""What ``--choose`` is given to accept a step, with ``*`` where blocks share an answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pytest_ckpt_compat._migrate.steps import MOVE, Plan, Step
from pytest_ckpt_compat._migrate.templates import segmented


class Hint(NamedTuple):
    """Keys or modules of both sides, of which one became the other; ``*`` stands for any segment."""

    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.old}={self.new}"

    def module(self) -> Hint:
        """``down1=enc1``: the modules that it is about, without what is below both under one name."""
        left, right = self.old.split("."), self.new.split(".")
        while min(len(left), len(right)) > 1 and left[-1] == right[-1]:
            left, right = left[:-1], right[:-1]
        return Hint(".".join(left), ".".join(right))

    def is_below(self, above: Hint) -> bool:
        """Whether a choice of ``above`` is about this one, too."""
        return all(f"{one}.".startswith(f"{other}.") for one, other in zip(self, above, strict=True))


def hints_of(plan: Plan) -> dict[Step, Hint]:
    """For each doubtful step what accepts it, with ``*`` for each number.

    Where a star would stand for a key that has another answer, as where ``layer1.0`` became ``stages.0.fc1``
    and ``layer1.2`` became ``stages.0.fc2``, the keys themselves are named.
    """
    starred = {step: _starred(step) for step in (*plan.live, *plan.doubtful)}
    doubtful = {step: starred[step] for step in plan.doubtful}
    wide = _too_wide(set(doubtful.values()), starred)
    return {step: _exact(step) if hint in wide else hint for step, hint in doubtful.items()}


def _too_wide(hints: Iterable[Hint], starred: Mapping[Step, Hint]) -> set[Hint]:
    """The hints whose stars stand for the key of a step that they are not about."""
    forms: dict[tuple[int, frozenset[int]], defaultdict[tuple[str, ...], list[Hint]]] = {}
    for hint in hints:
        left = hint.old.split(".")
        stars = frozenset(index for index, segment in enumerate(left) if segment == "*")
        if stars:
            alike = forms.setdefault((len(left), stars), defaultdict(list))
            alike[_without(left, stars)].append(hint)
    return {
        hint
        for (width, stars), alike in forms.items()
        for step, own in starred.items()
        for key in step.old
        for hint in alike.get(_without(key.split(".")[:width], stars), ())
        if not own.is_below(hint)
    }


def _without(segments: list[str], stars: frozenset[int]) -> tuple[str, ...]:
    return tuple(segment for index, segment in enumerate(segments) if index not in stars)


def _starred(step: Step) -> Hint:
    old, new = _exact(step)
    (before, numbers), (after, others) = segmented(old), segmented(new)
    if numbers != others:
        return Hint(old, new)
    left, right = (["*" if each is None else each for each in segments] for segments in (before, after))
    if step.op == MOVE and min(len(left), len(right)) > 1 and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    return Hint(".".join(left), ".".join(right))


def _exact(step: Step) -> Hint:
    return Hint(step.old[0], step.new[0] if step.new else "")
