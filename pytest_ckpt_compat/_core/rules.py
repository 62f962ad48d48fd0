"""All rules, and the judgement of changes by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from pytest_ckpt_compat._core import rules_checks, rules_load, rules_meaning, rules_moved, rules_silent
from pytest_ckpt_compat._core.changes import Change, Kind, Policy, Severity
from pytest_ckpt_compat._core.rule import Rule

#: In the order in which a report lists them.
RULES: tuple[Rule, ...] = (
    *rules_checks.RULES,
    *rules_moved.RULES,
    *rules_load.RULES,
    *rules_silent.RULES,
    *rules_meaning.RULES,
)

BY_KIND: Mapping[Kind, Rule] = {rule.kind: rule for rule in RULES}
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}

_ORDER: Mapping[Kind, int] = {rule.kind: position for position, rule in enumerate(RULES)}


def judge(changes: Iterable[Change], policy: Policy) -> tuple[Change, ...]:
    """Gives every change its rule and severity, and sorts them into report order."""
    judged = (_judge(change, policy) for change in changes)
    return tuple(sorted(judged, key=lambda change: _ORDER[change.kind]))


def _judge(change: Change, policy: Policy) -> Change:
    rule = BY_KIND[change.kind]
    severity = rule.severity if policy.strict or rule.lenient is None else rule.lenient
    if change.kind == "retyped" and change.advice:  # what was trained is lost, and nothing raises
        severity = Severity.ERROR
    return _accepted(replace(change, rule=rule.id, severity=severity), policy)


def accept(judged: Iterable[Change], policy: Policy) -> tuple[Change, ...]:
    """Accepts what a policy accepts among changes that were judged without it; sorts them anew."""
    found = (_accepted(change, policy) for change in judged)
    return tuple(sorted(found, key=lambda change: _ORDER[change.kind]))


def _accepted(change: Change, policy: Policy) -> Change:
    rule = BY_KIND[change.kind]
    for acceptance in policy.accepted:
        if acceptance.rule in (rule.id, rule.kind) and _covers(acceptance.keys, change, rule):
            return replace(change, severity=Severity.ACCEPTED, reason=acceptance.reason)
    return change


def _covers(pattern: str, change: Change, rule: Rule) -> bool:
    """Whether a glob matches every key of one side; ``*`` alone covers a change that may have none."""
    if not change.old and not change.new:
        return pattern == "*" and rule.keyless
    sides = (keys for keys in (change.old, change.new) if keys)
    return any(all(fnmatchcase(key, pattern) for key in keys) for keys in sides)
