"""A verdict with the renames that outputs have proven, in place of what was in doubt about their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_ckpt_compat._check.explain import grouped
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.verdict import Verdict

EVIDENCE = "proven by outputs"
_IN_DOUBT = ("renamed", "missing", "unexpected")


def with_proven(verdict: Verdict, proven: Mapping[str, str], policy: Policy) -> Verdict:
    """The verdict with proven renames, as certain ones.

    Args:
        verdict: what a load found.
        proven: old key -> new key.
        policy: strictness and accepted breaks.
    """
    old, new = verdict.old, verdict.new
    if not proven or old is None or new is None:
        return verdict
    known = {a: b for a, b in proven.items() if a in old.tensors and b in new.tensors}
    ends = set(known.values())
    doubts = [each for each in verdict.changes if each.kind in _IN_DOUBT and _is_about(each, known, ends)]
    covered = {key for each in doubts for key in each.old} & known.keys()
    found = [
        Change(
            "renamed", (a,), (known[a],), (old.tensors[a],), (new.tensors[known[a]],), evidence=(EVIDENCE,)
        )
        for a in old.tensors
        if a in covered
    ]
    severities = {each.severity for each in doubts}
    if not found or Severity.ACCEPTED in severities or Severity.EXISTING in severities:
        return verdict
    judged = judge(grouped(found, old, new), policy)
    if Severity.ERROR not in severities:  # a load that raises nothing
        judged = tuple(replace(each, severity=Severity.WARNING) for each in judged)
    left = [each for each in verdict.changes if each not in doubts]
    position = next(number for number, each in enumerate(verdict.changes) if each in doubts)
    before = sum(each not in doubts for each in verdict.changes[:position])
    return replace(verdict, changes=(*left[:before], *judged, *left[before:]))


def _is_about(change: Change, known: Mapping[str, str], ends: set[str]) -> bool:
    keys = (*change.old, *change.new)
    return bool(keys) and known.keys() >= {*change.old} and ends >= {*change.new}
