"""Which changes are breaks of the code, which of them code repairs, and how a level grades them."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ckpt_compat._core.changes import TIED, Change, Kind, Severity
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._snapshots import accepted

#: Kinds of breaks that code before the load repairs. A prefix alone has a repair of its own.
_REPAIRED: frozenset[Kind] = frozenset({"renamed", "split", "fused", "reparametrized", "transposed"})


def is_break(change: Change) -> bool:
    """Whether a change is an error that the code causes."""
    return change.severity is Severity.ERROR and BY_KIND[change.kind].about == "load"


def may_be_migrated(verdict: Verdict) -> bool:
    """Whether a load fails for something that a migration repairs."""
    return any(map(_is_repaired, verdict.of(Severity.ERROR)))


def _is_repaired(change: Change) -> bool:
    """Whether a migration may repair a change: a tied tensor is given the one that the checkpoint has."""
    tied = change.kind == "missing" and change.detail.startswith(TIED)
    return tied or change.kind in _REPAIRED


def facts(changes: Iterable[Change]) -> set[tuple[str, str]]:
    """The rule, keys and specs of each change, for comparison."""
    return {(change.rule, fact) for change in changes for fact in accepted.facts(change)}


def at_level(verdict: Verdict, level: Level) -> Verdict:
    """Turns breaks into warnings at a level that does not ask today's code to load the checkpoint."""
    if level.loads_checkpoint:
        return verdict
    return verdict.with_severity(is_break, Severity.WARNING, f"level {level.value}")
