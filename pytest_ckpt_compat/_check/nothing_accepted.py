"""What is said where a rule and a glob over keys choose nothing to accept, and what is like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.globs import matches
from pytest_ckpt_compat._core.verdict import Verdict

#: Changes that the message names at most.
_NAMED = 3


def nothing_chosen(
    verdict: Verdict, failing: Mapping[str, Sequence[Change]], rule: str, key: str
) -> UsageError:
    """The error for a choice that is of nothing.

    Args:
        verdict: what was to be accepted of.
        failing: what fails in it and can be accepted, by rule.
        rule: the rule that was chosen.
        key: the glob over keys that was chosen.
    """
    subject = f"accept {verdict.name}"
    if rule not in failing:
        return UsageError(subject, f"has no failing {rule} whose keys match {key}", _failing(failing))
    keys = [each for change in failing[rule] for each in (*change.old, *change.new)]
    sides = (side.tensors for side in (verdict.old, verdict.new) if side is not None)
    there = dict.fromkeys((*keys, *(each for side in sides for each in side)))
    advice = f"{rule} fails for {_shown(keys) or 'no key'}"
    if any(matches(each, key) for each in there):
        return UsageError(subject, f"{rule} fails for no key that matches {key}", _failing(failing))
    near = _nearest(key, keys)
    meant = f"did you mean {near}? " if near else ""
    return UsageError(subject, f"has no key that matches {key}", meant + advice)


def _nearest(key: str, keys: Sequence[str]) -> str:
    """The key, or the glob for all that is in a module, that is most like a glob; "" for none."""
    modules = (f"{each.rpartition('.')[0]}.*" for each in keys if "." in each)
    return next(iter(get_close_matches(key, dict.fromkeys((*modules, *keys)), 1)), "")


def _failing(failing: Mapping[str, Sequence[Change]]) -> str:
    found = [
        f"{rule} {(*each.old, *each.new, '*')[0]}" for rule, changes in failing.items() for each in changes
    ]
    return f"what fails and can be accepted: {_shown(found) or 'nothing'}"


def _shown(texts: Sequence[str]) -> str:
    found = list(dict.fromkeys(texts))
    return ", ".join([*found[:_NAMED], *(["..."] if len(found) > _NAMED else [])])
