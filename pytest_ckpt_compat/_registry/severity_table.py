"""The table of severities in the project's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.changes import RuleSeverity, Severity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import looked_up
from pytest_ckpt_compat._core.severities import WORDS, words_for

_KEYS = ("severity", "reason")
_EXAMPLE = 'write CK203 = "ignore", or CK203 = { severity = "ignore", reason = "..." }'


def severities(table: str, values: Mapping[str, Any]) -> tuple[RuleSeverity, ...]:
    """The severities that a project gives to rules.

    Args:
        table: file and name of the table, for messages.
        values: id or name of a rule -> severity, or a table of ``severity`` and ``reason``.

    Raises:
        UsageError: a rule or a severity is unknown, a rule cannot have that severity, or it is given twice.
    """
    found: dict[str, RuleSeverity] = {}
    for name, value in values.items():
        subject = f"{table}, key {name}"
        rule = looked_up(name, subject)
        if rule.id in found:
            raise UsageError(subject, f"is {rule.id}, which is given twice", "keep one of the two")
        word, reason = _given(subject, value)
        found[rule.id] = RuleSeverity(rule.id, _severity(subject, rule, word), reason)
    return tuple(found.values())


def _given(subject: str, value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return value, ""
    if not isinstance(value, Mapping):
        raise UsageError(subject, f"is {value!r}", _EXAMPLE)
    unknown = next((name for name in value if name not in _KEYS), None)
    if unknown is not None:
        raise UsageError(subject, f"has a key {unknown!r}", f"its keys are {' and '.join(_KEYS)}")
    word, reason = value.get("severity"), value.get("reason", "")
    if not isinstance(word, str):
        raise UsageError(f"{subject}.severity", f"is {word!r}" if word else "is missing", _EXAMPLE)
    if not isinstance(reason, str) or ("reason" in value and not reason.strip(" .")):
        raise UsageError(f"{subject}.reason", "says nothing", "say why, or leave it out")
    return word, reason.strip()


def _severity(subject: str, rule: Rule, word: str) -> Severity:
    if word not in WORDS:
        raise UsageError(subject, f"is {word!r}", f"it must be {', '.join([*WORDS][:-1])} or {[*WORDS][-1]}")
    allowed = words_for(rule)
    if word not in allowed:
        raise UsageError(subject, f"is {word!r}", _why_not(rule))
    return WORDS[word]


def _why_not(rule: Rule) -> str:
    if rule.severity is Severity.INCOMPLETE:
        why = "it tells that something could not be checked, which never reads as compatible"
    elif rule.about == "load":
        why = "it tells that a checkpoint does not load"
    else:
        why = "it tells that a checkpoint would load with wrong values, or not at all"
    return f"{why}; {_instead(rule)}"


def _instead(rule: Rule) -> str:
    if rule.severity is Severity.INCOMPLETE:
        return f"see ckpt-compat explain {rule.id}"
    return f'accept a single break: ckpt-compat accept ID --rule {rule.id} --reason "..."'
