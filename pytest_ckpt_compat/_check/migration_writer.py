"""What every style of a migration's code is written and proven by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytest_ckpt_compat._check.check import check_structure, diff
from pytest_ckpt_compat._check.refused import overwritten, refusals
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.display import and_so_for
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._migrate import generate, styles
from pytest_ckpt_compat._migrate.body import Written
from pytest_ckpt_compat._migrate.generate import some
from pytest_ckpt_compat._migrate.plan import NO_SOURCE
from pytest_ckpt_compat._migrate.rules import Rule, Rules
from pytest_ckpt_compat._migrate.steps import DROP, Plan, Step


@dataclass(frozen=True)
class Sides:
    """What a migration leads from and to.

    Attributes:
        old: the checkpoint.
        new: the structure of the model, or the other checkpoint.
        definition: the model, or None where another checkpoint stands for it.
        verdict: how the two differ.
        policy: how the result is loaded.
        resumes: whether training is to resume from it; its optimizers' states are not looked at.
        stripped: the prefix that the project takes off the checkpoint's keys before, or "".
    """

    old: Structure
    new: Structure
    definition: Definition | None
    verdict: Verdict
    policy: Policy = field(default_factory=Policy)
    resumes: bool = False
    stripped: str = ""


@dataclass(frozen=True)
class Proof:
    """What running the code has shown.

    Attributes:
        wrong: key -> why its tensor is not the one of the plan.
        refused: key -> why the load refuses it.
        problems: what stands against the whole, a line each.
        overwritten: key -> what the load loses with it, as two tensors go into one.
    """

    wrong: Mapping[str, str]
    refused: Mapping[str, str]
    problems: tuple[str, ...] = ()
    overwritten: Mapping[str, str] = field(default_factory=dict)


class Writer:
    """Writes and proves one style. The function's: others differ in what they change.

    Args:
        sides: what the migration leads from and to.
        plan: what it does.
    """

    style = "function"
    #: Whether the code is called for checkpoints of today, too, which it then has to leave alone.
    meets_new_ones = False

    def __init__(self, sides: Sides, plan: Plan) -> None:
        self.sides, self.plan = sides, plan
        self.rules = self._rules()

    def _rules(self) -> Rules:
        return generate.rules_for(self.plan.live, list(self.sides.old.tensors))

    def absolute(self, key: str) -> list[str]:
        """The keys of the model that one of the rules' keys stands for."""
        return [key]

    def written(self, unproven: Mapping[Rule, str]) -> Written:
        """What is written."""
        keys = list(self.sides.old.tensors)
        return Written(
            self.rules,
            generate.doubtful_rules(self.plan, keys),
            self.remarks(),
            unproven,
            self.title(),
            self.sides.old.versions is not None,
            self.marker(self.rules, self.plan.live, self.sides.new.tensors),
        )

    def remarks(self) -> tuple[str, ...]:
        """The lines on what a person has to look at."""
        return (*generate.remarks(self.plan, self.sides.old.tensors), *self._to_start_anew())

    def _to_start_anew(self) -> Iterator[str]:
        """A line on the tensors of the model that are dropped, and one on those that are absent."""
        dropped = self.left_out
        if dropped:
            own = f"to start the model's own anew, add {self.anew(dropped[0])}{and_so_for(len(dropped) - 1)}"
            yield f"{some(dropped)}: left out; {own}"
        absent = [key for each in self.plan.decisions if each.text == NO_SOURCE for key in each.new]
        if absent and self.sides.policy.strict and (self.plan.live or self.plan.doubtful):
            yield f"{absent[0]}: to start it anew, add {self.anew(absent[0])}{and_so_for(len(absent) - 1)}"

    @property
    def left_out(self) -> tuple[str, ...]:
        """The tensors of the model that are dropped, though the load wants them."""
        made = {key for step in self.plan.live for key in step.new}
        steps = self.plan.live if self.sides.policy.strict else ()  # a lenient load leaves it as it is
        dropped = (key for step in steps if step.op == DROP for key in step.old)
        return tuple(key for key in dropped if key in self.sides.new.tensors and key not in made)

    def title(self) -> str:
        """The two sides as reports name them."""
        old, new = self.sides.verdict.old_label, self.sides.verdict.new_label
        without = f' without "{self.sides.stripped}"' if self.sides.stripped else ""
        return f"{old}{without} -> {new}" if old and new else ""

    def marker(self, rules: Rules, steps: Iterable[Step], new: Mapping[str, object]) -> str:
        """A key that tells old checkpoints from new ones, where the code has to know."""
        if not self.meets_new_ones or generate.leaves_alone(rules, list(new)):
            return ""
        return generate.marker(steps, new)

    def source(self, written: Written) -> str:
        """The code."""
        return styles.PYTHON_STYLES[self.style](written)

    def function(self, source: str) -> proof.Migration:
        """What the code does to a state_dict, called as its library calls it."""
        return proof.compiled(source, "migrate")  # type: ignore[no-any-return]

    def prove(self, source: str) -> Proof:
        """Runs the code."""
        function = self.function(source)
        unproven, problems = compared(proof.traced(function, self.plan.live, self.sides.old))
        if self.meets_new_ones and not _leaves_alone(function, self.sides.new):
            problems = (*problems, "it changes checkpoints of today, too: call it for older ones alone")
        return self.shown(unproven, problems, self.loaded(function))

    def loaded(self, function: proof.Migration) -> Verdict:
        """Loads what the code makes of the checkpoint."""
        if self.sides.definition is None:
            return diff(proof.structure_after(function, self.sides.old), self.sides.new)
        definition = proof.with_migration(self.sides.definition, function)
        return check_structure(self.sides.old, definition, self.sides.policy)

    def shown(self, wrong: Mapping[str, str], problems: Iterable[str], verdict: Verdict) -> Proof:
        """What running the code and that load have shown; of what was left out, the code tells what helps."""
        refused, others = refusals(verdict, self.anew, self.left_out)
        return Proof(wrong, refused, (*problems, *others), overwritten(verdict))

    def anew(self, key: str) -> str:
        """What starts a tensor of the model anew, in the code of this style."""
        line = f"new[{key!r}] = model.state_dict()[{key!r}]"
        return f"{line} above the return, with migrate(state_dict, model) as its signature"


def compared(traced: proof.Traced) -> tuple[dict[str, str], tuple[str, ...]]:
    """What does not come from where the plan says, by key; and what the code raised."""
    if traced.error:
        return dict.fromkeys(traced.wanted, "the code raises"), (f"the code raises {traced.error}",)
    return dict.fromkeys(traced.wrong, "its numbers are not those of the plan"), ()


def _leaves_alone(function: proof.Migration, new: Structure) -> bool:
    traced = proof.traced(function, (), new)
    return not traced.error and not traced.wrong
