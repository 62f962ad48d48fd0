"""The severities that a project gives to rules: which it may give, and what a verdict is by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, RuleSeverity, Severity
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._core.verdict import Verdict

#: The words for severities in the project's file.
WORDS: Mapping[str, Severity] = {
    "error": Severity.ERROR,
    "warning": Severity.WARNING,
    "ignore": Severity.IGNORED,
}
_ANY = tuple(WORDS)


def words_for(rule: Rule) -> tuple[str, ...]:
    """The severities that a project may give to a rule; () for none.

    What is unknown stays unknown, and what torch refuses, or loads with wrong values, stays an error.
    """
    if rule.severity is Severity.INCOMPLETE:
        return ()
    if rule.firm or (rule.about == "load" and rule.severity is Severity.ERROR):
        return ("error",)
    return _ANY


def graded(verdict: Verdict, settings: Iterable[RuleSeverity]) -> Verdict:
    """The verdict with the project's severities, and a line on each that changed it.

    What is accepted, was there before, or is allowed by a level stays as it is; so does an error of a rule
    that otherwise warns: torch refuses it, or loses what was trained. Grading twice is grading once.
    """
    by_rule = {each.rule: each for each in settings}
    if not by_rule:
        return verdict
    told: dict[str, list[Change]] = {}
    changes = []
    for change in verdict.changes:
        setting = by_rule.get(change.rule)
        if setting is not None and _may_change(change, setting):
            told.setdefault(change.rule, []).append(change)
            reason = setting.reason if setting.severity is Severity.IGNORED else ""
            change = replace(change, severity=setting.severity, reason=reason)
        changes.append(change)
    lines = tuple(_line(by_rule[rule], len(found)) for rule, found in told.items())
    return replace(verdict, changes=tuple(changes), by_settings=(*verdict.by_settings, *lines))


def raised(settings: Iterable[RuleSeverity]) -> set[str]:
    """The rules that are errors by the project's settings."""
    return {each.rule for each in settings if each.severity is Severity.ERROR}


def differences(here: Iterable[RuleSeverity], there: Iterable[RuleSeverity], label: str) -> Iterator[str]:
    """A line on each rule that has another severity here than at a merge base.

    Args:
        here: the settings of the work tree.
        there: those of the merge base.
        label: how reports name the merge base.
    """
    now, before = ({each.rule: each for each in side} for side in (here, there))
    for rule in sorted({*now, *before}):
        today, earlier = _severity(rule, now.get(rule)), _severity(rule, before.get(rule))
        if today != earlier:
            why = _because(now.get(rule))
            yield f"this branch changes the severity of {rule}: {earlier} on {label}, {today} here{why}"


def _may_change(change: Change, setting: RuleSeverity) -> bool:
    if change.severity is setting.severity or change.severity not in (Severity.ERROR, Severity.WARNING):
        return False
    rule = BY_ID[change.rule]
    if change.severity is Severity.WARNING:
        return not change.reason
    return rule.about != "load"


def _line(setting: RuleSeverity, number: int) -> str:
    if setting.severity is Severity.IGNORED:
        why = f": {visible(setting.reason)}" if setting.reason else ""
        return f"{count(number, 'change')} ignored by the project's settings ({setting.rule}{why})"
    words = "an error" if setting.severity is Severity.ERROR else "a warning"
    return f"{setting.rule} is {words} by the project's settings{_because(setting)}"


def _because(setting: RuleSeverity | None) -> str:
    return f" ({visible(setting.reason)})" if setting is not None and setting.reason else ""


def _severity(rule: str, setting: RuleSeverity | None) -> str:
    return (setting.severity if setting is not None else BY_ID[rule].severity).value
