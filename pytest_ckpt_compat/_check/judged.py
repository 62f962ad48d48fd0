"""Judges changes as strictly as the load was: an explanation never changes whether it raises."""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._definition.observation import Outcome


def as_strictly(changes: tuple[Change, ...], outcome: Outcome, policy: Policy) -> tuple[Change, ...]:
    """Judges as strictly as torch loaded: an explanation never changes whether the load raises."""
    judged = judge(changes, replace(policy, strict=policy.strict and outcome.strict))
    errors = any(change.severity is Severity.ERROR for change in judged)
    if outcome.raised and not errors:
        return judge(changes, replace(policy, strict=True))
    if errors and not outcome.raised:
        return tuple(
            replace(change, severity=Severity.WARNING)
            if change.severity is Severity.ERROR and change.kind != "nothing-loaded"
            else change
            for change in judged
        )
    return judged
