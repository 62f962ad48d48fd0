"""Which changes are breaks of the code, which of them code repairs, and how a level grades them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from pytest_ckpt_compat._core.changes import TIED, Change, Kind, Severity
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.verdict import Verdict

#: Kinds of breaks that code before the load repairs. A prefix alone has a repair of its own.
_REPAIRED: frozenset[Kind] = frozenset({"renamed", "split", "fused", "reparametrized", "transposed"})


def is_break(change: Change) -> bool:
    """Whether a change is an error that the code causes."""
    return change.severity is Severity.ERROR and BY_KIND[change.kind].about == "load"


def may_be_migrated(verdict: Verdict) -> bool:
    """Whether a load fails for something that code repairs, and what the code does is known or likely."""
    repaired = [change for change in verdict.of(Severity.ERROR) if _is_repaired(change)]
    if not repaired or verdict.old is None or verdict.new is None:
        return bool(repaired)
    from pytest_ckpt_compat._migrate.plan import plan_of  # only a break that code may repair pays for it

    plan = plan_of(verdict.changes, verdict.old, verdict.new)
    moved = {key for step in (*plan.live, *plan.doubtful) for key in (*step.old, *step.new)}
    return any(not moved.isdisjoint((*change.old, *change.new)) for change in repaired)


def _is_repaired(change: Change) -> bool:
    """Whether a migration may repair a change: a tied tensor is given the one that the checkpoint has."""
    tied = change.kind == "missing" and change.detail.startswith(TIED)
    return tied or change.kind in _REPAIRED


def facts(changes: Iterable[Change]) -> set[tuple[str, str]]:
    """The rule, keys and specs of each change, for comparison."""
    from pytest_ckpt_compat._snapshots import accepted

    return {(change.rule, fact) for change in changes for fact in accepted.facts(change)}


def told(verdict: Verdict, change: Change) -> tuple[Change, ...]:
    """A change as the verdict has it, and with the keys that the file has where migrations renamed them."""
    before = {after: key for key, after in verdict.remapped.items()}
    if before.keys().isdisjoint(change.old):
        return (change,)
    return change, replace(change, old=tuple(before.get(key, key) for key in change.old))


def in_the_same_way(one: Verdict, other: Verdict, *severities: Severity) -> bool:
    """Whether all errors of a verdict are among the other's changes of some severities, migrated or not."""
    known = facts(form for each in other.of(*severities) for form in told(other, each))
    return all(any(facts([f]) <= known for f in told(one, each)) for each in one.of(Severity.ERROR))


def shared(one: Verdict, other: Verdict, *severities: Severity) -> str:
    """Says of a verdict that breaks in the same way as another by how many of the other's changes it does."""
    whole = sum(1 for each in other.of(*severities) if each.old or each.new)
    number = sum(1 for _ in one.of(Severity.ERROR))
    return "by the same changes" if number >= whole else "by some of the same changes and by no others"


def at_level(verdict: Verdict, level: Level) -> Verdict:
    """Turns breaks into warnings at a level that does not ask today's code to load the checkpoint."""
    if level.loads_checkpoint:
        return verdict
    return verdict.with_severity(is_break, Severity.WARNING, f"level {level.value}")


def fewest(first: Verdict, other: Verdict) -> Verdict:
    """The one of two loads of a structure that breaks fewer tensors; the first where both break as many."""
    return other if _broken(other) < _broken(first) else first


def _broken(verdict: Verdict) -> float:
    """How many keys fail; infinitely many where a failure names none, or the check could not be made."""
    failing = list(verdict.of(Severity.ERROR, Severity.INCOMPLETE))
    if any(not (each.old or each.new) for each in failing):
        return math.inf
    return sum(max(len(each.old), len(each.new)) for each in failing)
