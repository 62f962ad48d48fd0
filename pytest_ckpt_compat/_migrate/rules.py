"""The rules of a migration as frozen data, and what they make of a list of keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._core.migrated import RuleUse
from pytest_ckpt_compat._migrate.steps import COPY, MOVE, Op, Step
from pytest_ckpt_compat._migrate.templates import Template, expanded


class RulesError(Exception):
    """Rules that cannot be applied to a list of keys, or that contradict each other there; one line."""


@dataclass(frozen=True)
class Rename:
    """Replaces the first match of a pattern in a key.

    Attributes:
        pattern: a regular expression.
        new: what replaces the match.
        steps: those that it was made for.
    """

    pattern: str
    new: Template
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Joint:
    """An operation on the tensors of keys.

    Attributes:
        op: the operation.
        pattern: a regular expression that the whole of the first old key matches.
        others: the other old keys, made of what the groups found.
        new: the new keys, made likewise.
        steps: those that it was made for.
    """

    op: Op
    pattern: str
    others: tuple[Template, ...] = ()
    new: tuple[Template, ...] = ()
    steps: tuple[Step, ...] = ()


Rule = Joint | Rename


@dataclass(frozen=True)
class Rules:
    """The rules of a migration.

    Operations come first and take their tensors away. Of what is left, each key is renamed once, by the first
    rename whose pattern is found in it: always from the old key, so that names may be exchanged.

    Attributes:
        joints: the operations, in order.
        renames: the renames, in order.
    """

    joints: tuple[Joint, ...] = ()
    renames: tuple[Rename, ...] = ()

    @property
    def all(self) -> tuple[Rule, ...]:
        """The operations, then the renames."""
        return (*self.joints, *self.renames)


def renamed(key: str, renames: Iterable[Rename]) -> str:
    """The new key of an old one. Raises ValueError for a number that cannot be shifted."""
    for rename in renames:
        found = re.search(rename.pattern, key)
        if found:
            return key[: found.start()] + expanded(rename.new, found.groups()) + key[found.end() :]
    return key


def applied(rules: Rules, keys: Sequence[str]) -> tuple[Step, ...]:
    """What the rules make of these keys, every key of the result in exactly one step.

    Raises:
        RulesError: an operation lacks a key, a number cannot be shifted, or two tensors go to one key.
    """
    left = dict.fromkeys(keys)
    steps: list[Step] = []
    for joint in rules.joints:
        for step in list(_joined(joint, list(left))):
            if step.op != COPY:
                for key in step.old:
                    if key not in left:
                        raise RulesError(f"{joint.pattern} takes {key}, which is not there")
                    del left[key]
            steps.append(step)
    steps += [Step(MOVE, (key,), (_new_key(key, rules.renames),)) for key in left]
    twice = [key for key, number in Counter(key for step in steps for key in step.new).items() if number > 1]
    if twice:
        sources = [step.old[0] for step in steps if twice[0] in step.new]
        raise RulesError(f"{' and '.join(sources)} would both become {twice[0]}")
    return tuple(steps)


def _new_key(key: str, renames: Iterable[Rename]) -> str:
    try:
        return renamed(key, renames)
    except (ValueError, IndexError) as error:
        raise RulesError(f"{key} cannot be renamed ({error})") from error


def _joined(joint: Joint, keys: Iterable[str]) -> Iterator[Step]:
    for key in keys:
        found = re.fullmatch(joint.pattern, key)
        if not found:
            continue
        try:
            others = [expanded(each, found.groups()) for each in joint.others]
            new = [expanded(each, found.groups()) for each in joint.new]
        except (ValueError, IndexError) as error:
            raise RulesError(f"{joint.pattern} on {key}: {error}") from error
        yield Step(joint.op, (key, *others), tuple(new))


def module_names(rules: Rules) -> Callable[[str], str]:
    """A function that gives a module its new path, for the versions that a state_dict keeps of modules."""
    return lambda name: renamed(f"{name}.", rules.renames).removesuffix(".") if name else name


def usage(rules: Rules, keys: Sequence[str]) -> tuple[tuple[RuleUse, ...], dict[str, str]]:
    """What each rule finds among keys that the rules can be applied to, and which pattern takes which key.

    Raises:
        RulesError: as ``applied``.
    """
    left = dict.fromkeys(keys)
    takes: dict[str, str] = {}
    used: set[int] = set()
    for number, joint in enumerate(rules.joints):
        for step in list(_joined(joint, list(left))):
            used.add(number)
            if step.op != COPY:
                takes.update(dict.fromkeys(step.old, joint.pattern))
                for key in step.old:
                    left.pop(key, None)
    for key in left:
        hit = next((n for n, each in enumerate(rules.renames) if re.search(each.pattern, key)), None)
        if hit is not None:
            used.add(len(rules.joints) + hit)
            takes[key] = rules.renames[hit].pattern
    found = (_use(rule, number in used, keys, takes) for number, rule in enumerate(rules.all))
    return tuple(found), takes


def second_matches(rules: Rules, takes: Mapping[str, str]) -> dict[str, str]:
    """Key -> the first pattern of a rename that matches it after the rename that takes it.

    Args:
        rules: those that were applied.
        takes: as ``usage`` gives it.
    """
    patterns = [each.pattern for each in rules.renames]
    numbers = {pattern: number for number, pattern in reversed([*enumerate(patterns)])}
    found: dict[str, str] = {}
    for key, taker in takes.items():
        after = patterns[numbers[taker] + 1 :] if taker in numbers else []
        other = next((each for each in after if re.search(each, key)), None)
        if other is not None:
            found[key] = other
    return found


def _use(rule: Rule, used: bool, keys: Iterable[str], takes: Mapping[str, str]) -> RuleUse:
    if used:
        return RuleUse(rule.pattern, used)
    match = re.search if isinstance(rule, Rename) else re.fullmatch
    before = (takes[key] for key in keys if key in takes and match(rule.pattern, key))
    return RuleUse(rule.pattern, used, next(before, ""))
