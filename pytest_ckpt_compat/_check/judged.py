"""Judges changes as strictly as the load was: an explanation never changes whether it raises."""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, Kind, Policy, Severity
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._definition.observation import Outcome

#: Kinds of breaks that no load raises for.
_WITHOUT_AN_ERROR: frozenset[Kind] = frozenset({"nothing-loaded", "retyped"})


def as_strictly(changes: tuple[Change, ...], outcome: Outcome, policy: Policy) -> tuple[Change, ...]:
    """Judges as strictly as torch loaded: an explanation never changes whether the load raises."""
    judged = judge(changes, replace(policy, strict=policy.strict and outcome.strict))
    errors = {change.kind for change in judged if change.severity is Severity.ERROR}
    if outcome.raised and errors <= _WITHOUT_AN_ERROR:
        return judge(changes, replace(policy, strict=True))
    if errors and not outcome.raised:
        return tuple(
            replace(change, severity=Severity.WARNING)
            if change.severity is Severity.ERROR and change.kind not in _WITHOUT_AN_ERROR
            else change
            for change in judged
        )
    return judged
