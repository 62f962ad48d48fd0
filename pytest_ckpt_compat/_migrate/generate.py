"""Turns a plan into rules, and both into what is to be written."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._migrate.body import Doubtful
from pytest_ckpt_compat._migrate.hints import Hint, hints_of
from pytest_ckpt_compat._migrate.joints import joints_for
from pytest_ckpt_compat._migrate.moves import renames_for
from pytest_ckpt_compat._migrate.plan import NO_SOURCE
from pytest_ckpt_compat._migrate.rules import Rename, Rule, Rules, RulesError, applied
from pytest_ckpt_compat._migrate.steps import COPY, MOVE, Decision, Plan, Step

#: Other keys that an ambiguous step might mean, as many as are named.
_SHOWN = 3
#: How general rules are, from rules as general as they may be to one a key.
FINENESS = (0, 1, 2)


def rules_for(steps: Sequence[Step], keys: Sequence[str]) -> Rules:
    """The fewest rules that do what the steps do, and leave all other keys alone.

    The rules are applied to the keys; where they give anything else, finer ones take their place.

    Raises:
        RulesError: not even one rule for each key does.
    """
    problem = ""
    for fine in FINENESS:
        rules = _rules(steps, keys, fine)
        try:
            if _outcome(applied(rules, keys)) == _wanted(steps, keys):
                return rules
        except RulesError as error:
            problem = str(error)
    raise RulesError(problem or "no rules give these steps")


def _rules(steps: Sequence[Step], keys: Sequence[str], fine: int) -> Rules:
    joints = joints_for([step for step in steps if step.op != MOVE], keys, fine)
    taken = {key for step in steps if step.op not in (MOVE, COPY) for key in step.old}
    moves = [step for step in steps if step.op == MOVE]
    return Rules(joints, renames_for(moves, [key for key in keys if key not in taken], fine))


def _wanted(steps: Sequence[Step], keys: Iterable[str]) -> set[object]:
    """What becomes of every key: the steps, and that all others stay."""
    taken = {key for step in steps if step.op != COPY for key in step.old}
    return _outcome([*steps, *(Step(MOVE, (key,), (key,)) for key in keys if key not in taken)])


def _outcome(steps: Iterable[Step]) -> set[object]:
    return {(step.op, step.old, step.new) for step in steps}


def doubtful_rules(plan: Plan, keys: Sequence[str]) -> tuple[Doubtful, ...]:
    """The rules of what is likely, with its evidence. They are for the reader: nothing applies them.

    Each holds without the others, for a reader may take one of them alone.
    """
    likely = [step for step in plan.doubtful if step.confidence == "likely"]
    settled = {key for step in plan.live for key in step.old}
    left = [key for key in keys if key not in settled]
    rules, hint_of = _apart(_rules(likely, left, 0), left), hints_of(plan)
    return tuple(Doubtful(rule, _evidence(rule), _hints(rule.steps, hint_of)) for rule in rules)


def _apart(rules: Rules, keys: Sequence[str]) -> Iterator[Rule]:
    """The rules, with narrower ones in place of each that would take other keys if it stood alone."""
    for rule in rules.all:
        ways = ([rule], *(_rules(rule.steps, keys, fine).all for fine in FINENESS))
        narrow = (each for each in ways if all(_takes_its_own(one, keys) for one in each))
        yield from next(narrow, ways[-1]) if rule.steps else ()


def _takes_its_own(rule: Rule, keys: Iterable[str]) -> bool:
    """Whether a rule finds the keys of its steps, and no others."""
    find = re.compile(rule.pattern).search if isinstance(rule, Rename) else re.compile(rule.pattern).fullmatch
    return {key for key in keys if find(key)} == {step.old[0] for step in rule.steps}


def _evidence(rule: Rule) -> tuple[str, ...]:
    """The evidence of most of a rule's steps, and what is in doubt of them."""
    return Counter(_told(step) for step in rule.steps).most_common(1)[0][0]


def _told(step: Step) -> tuple[str, ...]:
    """The evidence for a step, with what is in doubt in place of what says less of that."""
    doubts = [each for each in (step.caution, step.doubt) if each]
    return (*doubts, *(each for each in step.evidence if not any(more.startswith(each) for more in doubts)))


def _hints(steps: Iterable[Step], hint_of: Mapping[Step, Hint]) -> tuple[str, ...]:
    """What ``--choose`` is given to accept steps: keys, or modules, with ``*`` for each number.

    One module stands for all that is in it, where a choice of it means nothing else.
    """
    single = {step: hint_of[step] for step in steps}
    inside: dict[Hint, set[Hint]] = {}
    for hint in single.values():
        inside.setdefault(hint.module(), set()).add(hint)
    also = {hint.module() for step, hint in hint_of.items() if step not in single}
    return tuple(
        dict.fromkeys(
            str(above if len(inside[above]) > 1 and not any(each.is_below(above) for each in also) else hint)
            for hint in single.values()
            for above in (hint.module(),)
        )
    )


def remarks(plan: Plan, keys: Iterable[str] = ()) -> tuple[str, ...]:
    """What is open, a line each: ambiguous steps, and decisions. Keys of one pattern share a line.

    Args:
        plan: the plan.
        keys: all old keys.
    """
    return (*_ambiguous(plan), *_decisions(plan.decisions, tuple(keys)))


def hints(plan: Plan, keys: Sequence[str]) -> tuple[str, ...]:
    """What ``--choose`` may be given for all that is open, as the remarks and comments name it."""
    hint_of = hints_of(plan)
    ambiguous = _hints([step for step in hint_of if step.confidence == "ambiguous"], hint_of)
    likely = (hint for each in doubtful_rules(plan, keys) for hint in each.hints)
    decided = (_group_hint(members, keys) for members in _grouped(plan.decisions).values())
    return tuple(dict.fromkeys(filter(None, (*ambiguous, *likely, *decided))))


def open_lines(plan: Plan) -> Iterator[str]:
    """What stands in the way of applying a plan as a whole, a line each."""
    hint_of = hints_of(plan)
    likely = {str(hint_of[step]): step for step in reversed(plan.doubtful) if step.confidence == "likely"}
    for hint, step in reversed(likely.items()):
        became = f"{step.old[0]} -> {', '.join(step.new)}"
        yield f"{became} is likely, not certain: --choose {shlex.quote(hint)} accepts it"
    yield from remarks(plan)


def _ambiguous(plan: Plan) -> Iterator[str]:
    groups: dict[str, list[Step]] = {}
    hint_of = hints_of(plan)
    for step in plan.doubtful:
        if step.confidence == "ambiguous":
            groups.setdefault(step.group or f"{step.old[0]} -> {', '.join(step.new)}", []).append(step)
    for group, steps in groups.items():
        first = steps[0]
        others = [key for key in first.candidates if key not in first.new]
        rest = f", {first.old[0]} may also be {some(others)}" if others else ""
        if first.rivals:
            rest = f", {some(first.rivals)} may also be {', '.join(first.new)}"
        doubts = dict.fromkeys(each for step in steps for each in (step.caution, step.doubt) if each)
        said = "".join(f"; {each}" for each in doubts)
        single = _hints(steps, hint_of)
        row = [group.replace(" -> ", "=", 1)]  # of many modules, the row is shorter, and a choice, too
        hint = " ".join(f"--choose '{each}'" for each in (single if len(single) <= _SHOWN else row))
        yield f"{group} ({count(len(steps), 'tensor')}) is possible, not sure{rest}{said}: {hint} if it is so"


def some(texts: Sequence[str], between: str = ", ") -> str:
    """A few of many keys or texts."""
    return between.join([*texts[:_SHOWN], *(["..."] if len(texts) > _SHOWN else [])])


def _decisions(decisions: Iterable[Decision], keys: Sequence[str]) -> Iterator[str]:
    for (group, text), members in _grouped(decisions).items():
        number = _number(members)
        about = [key for each in members for key in each.old or each.new]
        group = (group and members[0].group) or some(about)
        named = f"{group} ({count(number, 'tensor')})" if number > 1 else group
        details = list(dict.fromkeys(each.detail for each in members if each.detail))
        text = f"{some(details, '; ')}: {text}" if details else text
        hint = _group_hint(members, keys)
        it = "it" if number == 1 else "them"
        then = ", and the code says what starts the model's anew" if any(each.new for each in members) else ""
        rest = f" (--choose {shlex.quote(hint)} drops {it}{then})" if hint else ""
        if members[0].answers:
            transposed, stays = map(shlex.quote, members[0].answers)
            rest = f" (--choose {transposed} transposes {it}, --choose {stays} does not)"
        elif not hint and members[0].hint:
            first = shlex.quote(members[0].hint)
            rest = f" (--choose {first} drops the first; a * may stand for a part of the name)"
        yield f"{named}: {text}{rest}" if named else f"{text}{rest}"


def _grouped(decisions: Iterable[Decision]) -> dict[tuple[str, str], list[Decision]]:
    """(pattern, layer or keys; text) -> the decisions that share a line."""
    groups: dict[tuple[str, str], list[Decision]] = {}
    decisions = list(decisions)
    alike = [each for each in decisions if _merges(each)]
    said = Counter(each.text for each in alike)
    for each in decisions:
        own = each.old or each.new
        named = own[0].rpartition(".")[0] if each.detail and own else ", ".join(own)
        many = _merges(each) and said[each.text] >= (_SHOWN if each.hint else 2)  # two have a hint each
        groups.setdefault(("" if many else each.group or named, each.text), []).append(each)
    return groups


def _merges(decision: Decision) -> bool:
    """Whether a decision may share a line with others of its text, whatever group of changes it is in."""
    if decision.text == NO_SOURCE:
        return True
    return not (decision.group or decision.detail or "--choose" in decision.text)


def _number(members: Sequence[Decision]) -> int:
    return sum(len(each.old or each.new) for each in members)


def _group_hint(members: Sequence[Decision], keys: Sequence[str]) -> str:
    """What ``--choose`` is given for decisions that share a line; "" if nothing says it in one."""
    if members[0].answers:
        return members[0].answers[0]
    return members[0].hint if _number(members) == 1 else _drop_hint(members, keys)


def marker(steps: Iterable[Step], new: Mapping[str, object]) -> str:
    """A key that checkpoints from before have and today's have not; "" if there is none."""
    taken = (key for step in steps if step.op != COPY for key in step.old)
    return next((key for key in taken if key not in new), "")


def _drop_hint(members: Sequence[Decision], keys: Sequence[str]) -> str:
    """What drops several keys at once: the module that holds them and no others; "" if there is none."""
    if not all(each.hint for each in members):
        return ""
    dropped = {key for each in members for key in each.old}
    prefix = ".".join(_beginning([key.split(".") for key in dropped]))
    whole = prefix and {key for key in keys if key.startswith(f"{prefix}.")} == dropped
    return f"{prefix}=" if whole else ""


def _beginning(paths: Sequence[Sequence[str]]) -> list[str]:
    """The segments that all paths begin with."""
    columns = zip(*paths, strict=False)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


def leaves_alone(rules: Rules, keys: Sequence[str]) -> bool:
    """Whether rules change nothing about a checkpoint of these keys."""
    try:
        return _outcome(applied(rules, keys)) == _wanted((), keys)
    except RulesError:
        return False
