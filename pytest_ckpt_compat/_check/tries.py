"""The renames that a difference gives, carried out on values; and the other ways to pair what is in doubt."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_ckpt_compat._check.trial import Trial
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._definition.filling import NotFilledError, Way
from pytest_ckpt_compat._definition.operations import carried_out
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.steps import COPY, MOVE, Plan, Step

#: Other ways to pair renamed modules that are run.
TRIES = 24
_NAME = "the renames"
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")

#: What is in one module: the last name of each key, and its spec.
_Signature = frozenset[tuple[str, TensorSpec]]


def own(changes: Iterable[Change], old: Structure, new: Structure) -> Iterator[Trial]:
    """The renames as the difference has them, the likely ones as well."""
    plan = plan_of(changes, old, new)
    if plan.live or plan.doubtful:
        yield _trial((*plan.live, *plan.doubtful), plan.doubtful)


def others(changes: Iterable[Change], old: Structure, new: Structure) -> Iterator[Trial]:
    """The other ways to pair modules that are in doubt; none where there are too many.

    Modules of one numbered place are paired alike, and only those that hold the same tensors.
    """
    plan = plan_of(changes, old, new)
    groups = list(_groups(plan, old, new))
    if math.prod(math.factorial(len(befores)) for befores, _ in groups) > TRIES + 1:
        return
    first = {step.old[0]: step.new[0] for step in plan.doubtful if step.op == MOVE}
    for chosen in itertools.product(*(itertools.permutations(afters) for _, afters in groups)):
        pairs: dict[str, str] = {}
        for (befores, _), afters in zip(groups, chosen, strict=True):
            for before, after in zip(befores, afters, strict=True):
                pairs |= _keys(before, after)
        if pairs == {key: first.get(key) for key in pairs}:
            continue
        taken = set(pairs.values())
        kept = [s for s in plan.doubtful if not {*s.old} & pairs.keys() and not {*s.new} & taken]
        live = [s for s in plan.live if not {*s.old} & pairs.keys()]
        tried = [Step(MOVE, (one,), (other,), "ambiguous") for one, other in pairs.items()]
        yield _trial((*live, *kept, *tried), (*kept, *tried))


#: The modules of one numbered place: numbers -> the keys in it, in order of their last names.
_Place = Mapping[tuple[str, ...], Sequence[str]]


def _groups(plan: Plan, old: Structure, new: Structure) -> Iterator[tuple[list[_Place], list[_Place]]]:
    """Places of both sides that can be paired in several ways, for they hold the same tensors."""
    before = [key for step in plan.doubtful if step.op == MOVE for key in step.old]
    after = [key for step in plan.doubtful if step.op == MOVE for key in step.new]
    before += [key for each in plan.decisions if not each.new for key in each.old]
    after += [key for each in plan.decisions if not each.old for key in each.new]
    ones, rest = _places(before, old), _places(after, new)
    for signature, befores in ones.items():
        afters = rest.get(signature, [])
        if len(befores) == len(afters) > 1:
            yield befores, afters


def _places(keys: Iterable[str], side: Structure) -> dict[object, list[_Place]]:
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        modules[key.rpartition(".")[0]].append(key)
    places: defaultdict[tuple[str, _Signature], dict[tuple[str, ...], Sequence[str]]] = defaultdict(dict)
    for path, inside in modules.items():
        held = frozenset((key.rpartition(".")[2], side.tensors[key]) for key in inside)
        numbers = tuple(_NUMBER.findall(path))
        places[_NUMBER.sub("{n}", path), held][numbers] = sorted(
            inside, key=lambda key: key.rpartition(".")[2]
        )
    found: defaultdict[object, list[_Place]] = defaultdict(list)
    for (_, held), place in places.items():
        found[held, frozenset(place)].append(place)
    return found


def _keys(before: _Place, after: _Place) -> dict[str, str]:
    return {
        one: other
        for numbers, keys in before.items()
        for one, other in zip(keys, after[numbers], strict=True)
    }


def _trial(steps: Sequence[Step], doubtful: Iterable[Step]) -> Trial:
    moved = {step.old[0]: step.new[0] for step in steps if step.op == MOVE}
    doubts = {step.old[0]: step.new[0] for step in doubtful if step.op == MOVE}
    return Trial(_NAME, _way(steps), doubts, moved)


def _way(steps: Sequence[Step]) -> Way:
    def way(state: Mapping[str, Any], _module: Any) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        taken: set[str] = set()
        for step in steps:
            if not state.keys() >= {*step.old}:  # an object, or what only gives it a place
                continue
            try:
                found |= carried_out(step, state.__getitem__)
            except RuntimeError as error:
                raise NotFilledError(
                    f"{step.old[0]} does not become {', '.join(step.new)}: {error}"
                ) from error
            if step.op != COPY:
                taken.update(step.old)
        return {**{key: each for key, each in state.items() if key not in taken}, **found}

    return way
