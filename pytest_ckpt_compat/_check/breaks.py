"""Which changes are breaks of the code, and how a level grades them."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._snapshots import accepted


def is_break(change: Change) -> bool:
    """Whether a change is an error that the code causes."""
    return change.severity is Severity.ERROR and BY_KIND[change.kind].about == "load"


def facts(changes: Iterable[Change]) -> set[tuple[str, str]]:
    """The rule, keys and specs of each change, for comparison."""
    return {(change.rule, fact) for change in changes for fact in accepted.facts(change)}


def at_level(verdict: Verdict, level: Level) -> Verdict:
    """Turns breaks into warnings at a level that does not ask today's code to load the checkpoint."""
    if level.loads_checkpoint:
        return verdict
    return verdict.with_severity(is_break, Severity.WARNING, f"level {level.value}")
