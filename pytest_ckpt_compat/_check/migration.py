"""Makes the code of a migration and proves it, before anybody sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pytest_ckpt_compat._check.check import check_structure, diff
from pytest_ckpt_compat._check.migration_styles import WRITERS
from pytest_ckpt_compat._check.migration_writer import Sides, Writer
from pytest_ckpt_compat._check.recorded import Recorded, nothing
from pytest_ckpt_compat._core.adapters import config_of
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.display import and_so_for, count, visible
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.patterns import fold
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._migrate import body, python
from pytest_ckpt_compat._migrate.choose import chosen
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.rules import Rule, Rules
from pytest_ckpt_compat._migrate.steps import CHOSEN, DROP, Plan

#: Most patterns of keys that a line names.
_SHOWN = 9


@dataclass(frozen=True)
class Migration:
    """The code of a migration, and what is proven of it.

    Attributes:
        code: the code, or "" if there is nothing to migrate.
        plan: what it does, and what it leaves to the user.
        unproven: new key -> why it is not proven that its tensor arrives there, as the model reads it.
        problems: what stands against the load as a whole, a line each.
        proven: how many steps are proven.
        rules: what the code carries out.
        refused: keys that the definition's load refuses, besides what is left to the user.
        cautions: new key -> what the step that makes it rests on and nothing proves.
    """

    code: str
    plan: Plan
    unproven: Mapping[str, str]
    problems: tuple[str, ...] = ()
    proven: int = 0
    rules: Rules = field(default_factory=Rules)
    refused: frozenset[str] = frozenset()
    cautions: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all of it is proven, and nothing is left to the user."""
        return self.plan.complete and not self.unproven and not self.problems

    @property
    def load(self) -> str:
        """What the definition's load makes of the result, in a few words."""
        if self.refused:
            return f"but the load refuses {count(len(self.refused), 'key')}"
        return "loaded by the definition"


def compared(
    old: Structure,
    new: Structure | Definition,
    strip_prefix: str | None = None,
    recorded: Recorded = nothing,
    policy: Policy | None = None,
    checked: Verdict | None = None,
) -> Sides:
    """Loads a checkpoint into a definition, or compares it with another.

    What the project does to a state_dict before the load stays: the migration comes after it.

    Args:
        old: the checkpoint.
        new: the definition, or the other checkpoint.
        strip_prefix: as ``check`` takes it.
        recorded: gives definitions of which one may have saved the checkpoint.
        policy: how the project loads the checkpoint, for the proof; strictly, if not given.
        checked: what a strict check of these found, if there was one.

    Raises:
        UsageError: the definition has a loader of its own or several parts, or the checkpoint is an adapter.
        CkptCompatError: as ``check``.
    """
    if isinstance(new, Structure):
        return Sides(old, new, None, diff(old, new))
    if new.loader is not None:
        problem = "loads the checkpoint itself, so nothing can be put before it"
        raise UsageError(f"load {new.loader.name}", problem, "give the model, and put the code in the loader")
    if new.parts:
        part, definition = next(iter(new.parts.items()))
        problem = "has several parts, and code for a state_dict concerns one"
        command = f"ckpt-compat migrate OLD {definition.name.replace('.', ':', 1)} --key {part}"
        raise UsageError(new.name, problem, f"migrate each part, as in {command}")
    if config_of(old) is not None:
        problem = "is an adapter, whose keys peft makes of the model's"
        raise UsageError(old.source.path, problem, "train it again, or rename the model's layers back")
    verdict = checked or check_structure(old, new, Policy(), strip_prefix, recorded)
    return Sides(verdict.old or old, verdict.new or Structure({}), new, verdict, policy or Policy())


def planned(sides: Sides, choices: Iterable[str] = ()) -> Plan:
    """The migration that the difference gives, with the user's choices.

    Raises:
        UsageError: a choice cannot be meant.
    """
    plan = plan_of(sides.verdict.changes, sides.old, sides.new)
    choices = tuple(choices)
    return chosen(plan, choices, sides.old, sides.new) if choices else plan


def migration(sides: Sides, plan: Plan, style: str = "function") -> Migration:
    """Writes the code of a plan, runs it, and marks what is not proven.

    Raises:
        RulesError: no rules give what is planned.
        CkptCompatError: the model cannot be built, or the checkpoint cannot stand in without its numbers.
    """
    if plan.complete and not plan.live:
        return Migration("", plan, {})
    writer = WRITERS[style](sides, plan)
    first = writer.written({})
    if not plan.live and not first.doubtful:  # code that changes nothing would only look like an answer
        return Migration(body.texts([*python.comment(first.title), *body.decisions(first)]), plan, {})
    shown = writer.prove(writer.source(first))
    left_open: set[str] = set()
    for step in plan.doubtful:
        left_open.update(step.old, step.new)
    for decision in plan.decisions:
        left_open.update(decision.old, decision.new)
    refused = {key: why for key, why in shown.refused.items() if key not in left_open}
    doubted = {key: step.doubt for step in plan.live if step.doubt for key in step.new}
    unproven = {**doubted, **refused, **shown.wrong}
    cautions = {key: step.caution for step in plan.live if step.caution for key in step.new[:1]}
    cautions |= shown.overwritten
    marks = _marks(writer, unproven)
    decisions = (*first.decisions, *_unplaced(unproven, {*writer.left_out}, plan))
    placed = {key for rule in writer.rules.all for key in _made(writer, rule)}
    doubts = by_reason({key: why for key, why in cautions.items() if key not in placed})
    marked = replace(
        first, unproven=marks, cautions=_marks(writer, cautions), doubts=doubts, decisions=decisions
    )
    code = writer.source(marked)
    proven = sum(not any(key in unproven for key in step.new) for step in plan.live)
    return Migration(code, plan, unproven, shown.problems, proven, writer.rules, frozenset(refused), cautions)


def _unplaced(unproven: Mapping[str, str], told: Collection[str], plan: Plan) -> Iterator[str]:
    """A line on what is not proven of keys that no step makes: no rule of the code can be marked for them."""
    made = {key for step in plan.live for key in step.new}
    keys = [key for key in unproven if key not in made and key not in told]
    yield from (f"{key}: {unproven[key]}{and_so_for(len(keys) - 1)}" for key in keys[:1])


def by_reason(said: Mapping[str, str]) -> tuple[str, ...]:
    """What is said of keys, a line for each thing that is said."""
    keys: dict[str, list[str]] = {}
    for key, why in said.items():
        keys.setdefault(why, []).append(key)
    return tuple(
        f"{visible(first)}: {why}{and_so_for(len(others))}" for why, (first, *others) in keys.items()
    )


def dropped(plan: Plan) -> tuple[str, ...]:
    """A line on what is left out without anybody's word: the old model may have computed with it."""
    steps = [step for step in plan.live if step.op == DROP and step.evidence != CHOSEN]
    keys = [key for step in steps for key in step.old]
    named = [visible(each.pattern) for each in fold(keys, keys)]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return (f"left out, as the model has no use for it: {', '.join(named[:_SHOWN])}{more}",) if named else ()


def _made(writer: Writer, rule: Rule) -> Iterator[str]:
    """The keys of the model that a rule makes."""
    return (key for step in rule.steps for each in step.new for key in writer.absolute(each))


def _marks(writer: Writer, unproven: Mapping[str, str]) -> dict[Rule, str]:
    """Rule -> what is said of one of its tensors, by key: why it is not proven to arrive, for example."""
    found: dict[Rule, str] = {}
    for rule in writer.rules.all:
        reasons = [f"{key}: {unproven[key]}" for key in _made(writer, rule) if key in unproven]
        if reasons:
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            found[rule] = f"{reasons[0]}{more}"
    return found
