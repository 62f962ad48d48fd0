"""All rules, and the judgement of changes by them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_ckpt_compat._core import (
    rules_checks,
    rules_load,
    rules_meaning,
    rules_moved,
    rules_quiet,
    rules_reshaped,
    rules_snapshots,
)
from pytest_ckpt_compat._core.changes import Change, Kind, Policy, Severity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.globs import matches
from pytest_ckpt_compat._core.rule import Rule

#: In the order in which a report lists them.
RULES: tuple[Rule, ...] = (
    *rules_checks.RULES,
    *rules_snapshots.RULES,
    *rules_moved.RULES,
    *rules_reshaped.RULES,
    *rules_load.RULES,
    *rules_quiet.RULES,
    *rules_meaning.RULES,
)

BY_KIND: Mapping[Kind, Rule] = {rule.kind: rule for rule in RULES}
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}

_ORDER: Mapping[Kind, int] = {rule.kind: position for position, rule in enumerate(RULES)}


def advice_of(change: Change) -> str:
    """What to do about a change that was judged, in one line; "" where its own words say it."""
    rule = BY_ID[change.rule]
    return change.advice or (change.confidence == "ambiguous" and rule.choice) or rule.advice


def named(word: str) -> Rule | None:
    """The rule with this id or name, in letters of either case; None for none."""
    return BY_ID.get(word.upper()) or next((rule for rule in RULES if rule.kind == word.lower()), None)


def nearest(word: str) -> Rule | None:
    """The rule whose id or name is most like a word; None if none is."""
    if re.fullmatch(r"[A-Z]*\d+", word.upper()):
        return min(RULES, key=lambda rule: _distance(rule.id, word.upper()))
    kinds = difflib.get_close_matches(word.lower(), BY_KIND, 1, cutoff=0.7)
    return named(kinds[0]) if kinds else None


def looked_up(word: str, subject: str) -> Rule:
    """The rule that a user names by its id or name.

    Args:
        word: what was given.
        subject: what the message begins with.

    Raises:
        UsageError: there is none; it names the one that is most like it.
    """
    rule = named(word)
    if rule is None:
        near = nearest(word)
        meant = f"did you mean {near.id} ({near.kind})? " if near else ""
        raise UsageError(subject, "is not a rule", f"{meant}ckpt-compat explain lists the rules")
    return rule


def _distance(identifier: str, word: str) -> tuple[bool, float, int]:
    """How far a word is from an id: other digits, less in common, another number."""
    number = int(re.sub(r"\D", "", word)[:9])
    common = difflib.SequenceMatcher(None, identifier, word).ratio()
    return sorted(identifier) != sorted(word), -common, abs(int(identifier[2:]) - number)


def judge(changes: Iterable[Change], policy: Policy) -> tuple[Change, ...]:
    """Gives every change its rule and severity, and sorts them into report order."""
    judged = (_judge(change, policy) for change in changes)
    return tuple(sorted(judged, key=lambda change: _ORDER[change.kind]))


def _judge(change: Change, policy: Policy) -> Change:
    rule = BY_KIND[change.kind]
    severity = rule.severity if policy.strict or rule.lenient is None else rule.lenient
    if change.kind == "retyped" and change.advice:  # what was trained is lost, and nothing raises
        severity = Severity.ERROR
    return _accepted(change.judged(rule.id, severity), policy)


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
    return any(all(matches(key, pattern) for key in keys) for keys in sides)
