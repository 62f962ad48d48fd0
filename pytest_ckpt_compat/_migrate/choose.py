"""What the user has decided: which key became which, or that one is dropped."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._migrate.generate import hints
from pytest_ckpt_compat._migrate.part_order import by_head_no_more, renamed_across
from pytest_ckpt_compat._migrate.plan import operation
from pytest_ckpt_compat._migrate.settle import accepted, settled
from pytest_ckpt_compat._migrate.squares import TRANSPOSITION, decisions_about
from pytest_ckpt_compat._migrate.steps import CHOSEN, DROP, MOVE, NAMED, TRANSPOSED, Decision, Plan, Step
from pytest_ckpt_compat._migrate.templates import numbered
from pytest_ckpt_compat._renames.units.units import ROLES

_USAGE = 'write --choose "old key=new key", "old module=new module", or "old key=" to drop it'


def chosen(plan: Plan, choices: Iterable[str], old: Structure, new: Structure) -> Plan:
    """The plan with the user's choices, each of them as good as certain.

    Args:
        plan: what the difference gives.
        choices: ``a.b=c.d``, keys or modules, where ``*`` stands for one segment; or a row of the report
            with ``=`` for its arrow; ``a.b=`` drops.
        old: the checkpoint.
        new: the model.

    Raises:
        UsageError: a choice names nothing that can be meant, or two contradict each other.
    """
    steps: dict[str, Step] = {}
    for text in choices:
        for step in _meant(text, plan, old, new):
            for key in step.old:
                more = _more_exact(steps.get(key, step), step)
                if more is None:
                    raise UsageError(
                        f"--choose {text!r}", f"contradicts another choice for {key}", "keep one"
                    )
                steps[key] = more
    picked = list(dict.fromkeys(steps.values()))
    given = [key for step in picked for key in step.new]
    twice = (
        next((key for key in given if given.count(key) > 1), None) if len(given) > len(set(given)) else None
    )
    if twice is not None:
        raise UsageError(f"--choose ...={twice}", "was given for two tensors", "keep one of them")
    taken, made = set(steps), set(given)
    others = _other_copies(plan, taken)
    picked += [Step(DROP, (key,), evidence=CHOSEN) for key in others]
    taken |= others.keys()
    left = tuple(_left(plan, taken, made, old))
    kept = [each for each in plan.live if not _touches(each, taken, made)]
    picked = _cautioned(picked, kept, taken, old, new)
    waiting = (each.step for each in left if each.step is not None)  # the choices may settle these, too
    return settled(
        Plan(
            (*kept, *picked, *waiting),
            tuple(_narrowed(plan.doubtful, picked, taken, made)),
            tuple(each for each in left if each.step is None),
        ),
        old,
        new,
    )


def _cautioned(
    picked: Sequence[Step], kept: Sequence[Step], taken: set[str], old: Structure, new: Structure
) -> list[Step]:
    """The chosen steps; with a caution on each tensor that was named and parts from others of its layer."""
    homes: dict[str, dict[str, tuple[str, str]]] = {}
    moved = {*taken, *(key for step in kept for key in step.old)}
    moves = [(step.old[0], step.new[0]) for step in (*picked, *kept) if step.op == MOVE]
    moves += [(key, key) for key in old.tensors if key in new.tensors and key not in moved]
    for before, after in moves:
        if _is_of_layer(before):
            homes.setdefault(_module(before), {}).setdefault(_module(after), (before, after))
    found = []
    for step in picked:
        if step.evidence == NAMED and step.op == MOVE and not step.caution and _is_of_layer(step.old[0]):
            own, beside = _module(step.new[0]), homes[_module(step.old[0])]
            apart = next((pair for home, pair in beside.items() if home != own), None)
            said = f"{apart[0]} of the same layer becomes {apart[1]}" if apart else ""
            step = replace(step, caution=said)
        found.append(step)
    return found


def _is_of_layer(key: str) -> bool:
    """Whether a tensor has the name of one of a layer's: ``weight``, ``bias``, ``running_mean``."""
    return key.rpartition(".")[2] in ROLES and bool(_module(key))


def _module(key: str) -> str:
    return key.rpartition(".")[0]


def _more_exact(one: Step, other: Step) -> Step | None:
    """Of two choices for a key, the one that names it; None if they contradict each other."""
    if one == other or (one.old, one.new) != (other.old, other.new):
        return one if one == other else None
    named = [step for step in (one, other) if step.evidence == NAMED]
    return named[0] if len(named) == 1 else None


def offered(plan: Plan, old: Structure, new: Structure) -> tuple[str, ...]:
    """A choice for each thing that is open and has one, all of which can be made together.

    They are what the remarks name first. Nobody has said that they are so: they are to be picked from.
    """
    found: list[str] = []
    for hint in hints(plan, tuple(old.tensors)):
        with contextlib.suppress(UsageError):  # it is for what another one has taken
            chosen(plan, (*found, hint), old, new)
            found.append(hint)
    return tuple(found)


def _narrowed(
    doubtful: Iterable[Step], picked: Iterable[Step], taken: set[str], made: set[str]
) -> Iterator[Step]:
    """The steps that are still in doubt, without candidates that the choices rule out.

    Those are the keys that were given, and those of other blocks: of a block that a choice is about, its
    counterpart is known.
    """
    blocks: dict[str, set[str]] = {}
    for step in picked:
        for one, other in product(step.old, step.new):
            for before, after in zip(numbered(one), numbered(other), strict=False):
                blocks.setdefault(before, set()).add(after)
    known = {before: f"{after}." for before, (after, *others) in blocks.items() if not others}
    for step in doubtful:
        if not _touches(step, taken, made):
            within = [known[block] for key in step.old for block in numbered(key) if block in known]
            candidates = tuple(
                key for key in step.candidates if key not in made and all(map(key.startswith, within))
            )
            yield replace(step, candidates=candidates) if candidates != step.candidates else step


def _other_copies(plan: Plan, taken: set[str]) -> dict[str, None]:
    """The keys of the copies of a model beside the one that was chosen, which nothing needs then."""
    alike = ((*step.old, *step.rivals) for step in plan.doubtful if step.rivals)
    return {key: None for keys in alike if not taken.isdisjoint(keys) for key in keys if key not in taken}


def _touches(step: Step, taken: set[str], made: set[str]) -> bool:
    """Whether a step is about a key that the user has decided; what is left of it is then open."""
    return not (taken.isdisjoint(step.old) and made.isdisjoint(step.new))


def _left(plan: Plan, taken: set[str], made: set[str], old: Structure) -> Iterator[Decision]:
    """The decisions that are still open, and those about what choices took the place of."""
    for each in plan.decisions:
        if taken.isdisjoint(each.old) and made.isdisjoint(each.new):
            yield each
        elif each.answers:
            pairs = zip(each.old, each.new, strict=True)
            rest = {one: other for one, other in pairs if one not in taken and other not in made}
            yield from decisions_about(rest, each.text, old)
    for step in (*plan.live, *plan.doubtful):
        if _touches(step, taken, made):
            kept = tuple(key for key in step.old if key not in taken)
            lost = tuple(key for key in step.new if key not in made)
            if kept or lost:
                yield Decision(kept, lost, "your choice took the place of what was thought of it")


def _meant(text: str, plan: Plan, old: Structure, new: Structure) -> list[Step]:
    by_row = [accepted(each) for each in plan.doubtful if each.group.replace(" -> ", "=", 1) == text]
    if by_row:
        return by_row
    for place in [i for i, letter in enumerate(text) if letter == "="]:
        pairs = _starred(text[:place], text[place + 1 :], old)
        found = [step for left, right in pairs for step in _of(left, right, plan, old, new)]
        if found:
            return list(dict.fromkeys(found))
    raise UsageError(f"--choose {text!r}", "names no key or module of both sides", _USAGE)


def _starred(left: str, right: str, old: Structure) -> list[tuple[str, str]]:
    """The keys or modules that a choice with stars means; each star stands for one segment, on both sides."""
    if "*" not in left or left in old.tensors:
        return [(left, right)]
    pattern = re.compile(re.escape(left).replace(r"\*", r"([^.]+)") + r"(?=\.|\Z)")
    found: dict[tuple[str, str], None] = {}
    for key in old.tensors:
        match = pattern.match(key)
        if match:
            values = iter(match.groups())
            found[match[0], re.sub(r"\*", lambda _: next(values, "*"), right)] = None  # noqa: B023
    return list(found)


def _of(left: str, right: str, plan: Plan, old: Structure, new: Structure) -> list[Step]:
    """The steps that one choice stands for; none if it names nothing."""
    if left in old.tensors:
        if not right:
            return [Step(DROP, (left,), evidence=CHOSEN)]
        if right in new.tensors:
            return [replace(_exact(left, right, plan, old, new), evidence=NAMED)]
        target = right.removesuffix(TRANSPOSED)
        if target in new.tensors:
            return [_transposed(left, target, old, new)]
    below_old, below_new = f"{left}.", f"{right}."
    keys = [key for key in old.tensors if key.startswith(below_old)]
    if not keys:
        return []
    if not right:
        return [Step(DROP, (key,), evidence=CHOSEN) for key in keys]
    doubtful = [
        accepted(each)
        for each in plan.doubtful
        if all(key.startswith(below_old) for key in each.old)
        and all(k.startswith(below_new) for k in each.new)
    ]
    if doubtful:
        return doubtful
    pairs = [(key, below_new + key[len(below_old) :]) for key in keys]
    return [_exact(one, other, plan, old, new) for one, other in pairs if other in new.tensors]


def _transposed(left: str, right: str, old: Structure, new: Structure) -> Step:
    """The step by which a matrix becomes its transpose."""
    before, after = old.tensors[left], new.tensors[right]
    if len(before.shape) != 2 or before.shape[::-1] != after.shape:
        problem = f"has {before} on the one side and {after} on the other: no matrix and its transpose"
        raise UsageError(f"--choose {left}={right}{TRANSPOSED}", problem, "write that step yourself")
    return Step(TRANSPOSITION, (left,), (right,), evidence=NAMED)


def _exact(left: str, right: str, plan: Plan, old: Structure, new: Structure) -> Step:
    """The step by which one key becomes another: the one that is doubtful, or what the shapes give."""
    for each in plan.doubtful:
        if left in each.old and right in each.new:
            return accepted(each)
    op = operation(old.tensors[left], new.tensors[right])
    if op is None:
        raise UsageError(
            f"--choose {left}={right}",
            f"has {old.tensors[left]} on the one side and {new.tensors[right]} on the other",
            "write that step yourself",
        )
    caution, doubt = by_head_no_more(left, right), renamed_across(left, right, old.tensors[left])
    return Step(op, (left,), (right,), evidence=CHOSEN, caution=caution, doubt=doubt)
