"""The rule table, and the judgement of changes by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from pytest_ckpt_compat._core.changes import Change, Kind, Policy, Severity


@dataclass(frozen=True)
class Rule:
    """How one kind of change is judged.

    Attributes:
        id: stable name, used in reports and acceptances.
        kind: the kind of change it judges.
        severity: under a strict load.
        meaning: one line, for documentation.
        advice: what a person can do about it.
        lenient: severity where the load under test is ``strict=False``, if it differs.
    """

    id: str
    kind: Kind
    severity: Severity
    meaning: str
    advice: str
    lenient: Severity | None = None


#: Rules whose changes may have no keys, and go by what they say.
KEYLESS = ("CK401", "CK403")

_ERROR, _WARNING, _INCOMPLETE = Severity.ERROR, Severity.WARNING, Severity.INCOMPLETE

#: In the order in which a report lists them.
RULES: tuple[Rule, ...] = (
    Rule(
        "CK905",
        "unreadable",
        _INCOMPLETE,
        "a checkpoint or snapshot is corrupt, hostile or of an unknown format",
        "see the message",
    ),
    Rule("CK906", "unbuildable", _INCOMPLETE, "the definition raised while it was built", "see the message"),
    Rule(
        "CK901",
        "no-baseline",
        _INCOMPLETE,
        "no snapshot has been recorded, or neither checkpoint nor snapshot is there",
        "record one with pytest --ckpt-update",
    ),
    Rule(
        "CK902",
        "stale-snapshot",
        _ERROR,
        "the checkpoint is no longer the file that was fingerprinted",
        "restore the file, or record the new one with ckpt-compat update and its id",
    ),
    Rule(
        "CK107",
        "prefixed",
        _ERROR,
        "every key carries a prefix that the other side has not",
        "see the message",
    ),
    Rule(
        "CK103",
        "renamed",
        _ERROR,
        "the same tensor under another key",
        "rename the keys while loading, or rename the attribute back",
        lenient=_WARNING,
    ),
    Rule("CK104", "split", _ERROR, "one tensor became several", "split it while loading", lenient=_WARNING),
    Rule(
        "CK105",
        "fused",
        _ERROR,
        "several tensors became one",
        "concatenate them while loading",
        lenient=_WARNING,
    ),
    Rule(
        "CK106",
        "reparametrized",
        _ERROR,
        "the same weight in another parametrization",
        "convert it while loading",
        lenient=_WARNING,
    ),
    Rule(
        "CK204",
        "transposed",
        _ERROR,
        "the same numbers, permuted or reshaped",
        "permute or reshape them while loading",
    ),
    Rule(
        "CK202",
        "head-resized",
        _ERROR,
        "an output head has another number of outputs",
        "see the message",
    ),
    Rule("CK201", "resized", _ERROR, "the same key with another shape", "restore the size"),
    Rule(
        "CK101",
        "missing",
        _ERROR,
        "the definition needs it, the checkpoint lacks it",
        "give it a default in a load_state_dict pre-hook, or take the layer out",
        lenient=_WARNING,
    ),
    Rule(
        "CK102",
        "unexpected",
        _ERROR,
        "the checkpoint has it, the definition dropped it",
        "drop it in a load_state_dict pre-hook, or put the layer back",
        lenient=_WARNING,
    ),
    Rule(
        "CK302",
        "extra-state",
        _ERROR,
        "get_extra_state appeared or vanished",
        "keep it, or drop the key in a load_state_dict pre-hook",
        lenient=_WARNING,
    ),
    Rule(
        "CK401",
        "load-raises",
        _ERROR,
        "the real load failed for a cause that no other rule names",
        "see the message",
    ),
    Rule(
        "CK402",
        "partial-load",
        _WARNING,
        "the load succeeds and leaves tensors as they were initialised",
        "see that it is meant: torch does not tell",
    ),
    Rule("CK203", "retyped", _WARNING, "the same key with another dtype", "torch casts it on loading"),
    Rule(
        "CK301",
        "retied",
        _WARNING,
        "tied weights came apart, or two became tied",
        "see that both still get the values they need",
    ),
    Rule(
        "CK403",
        "optimizer-mismatch",
        _ERROR,
        "the optimizer's state does not fit today's parameters (level `resume`)",
        "restore the parameters and their groups, or start the optimizer anew",
    ),
    Rule(
        "CK904",
        "expired-acceptance",
        _ERROR,
        "the date until which a break was accepted has passed",
        "see the message",
    ),
    Rule(
        "CK903",
        "unused-acceptance",
        _WARNING,
        "an accepted break that no longer occurs",
        "take the entry out of accepted.toml",
    ),
    Rule(
        "CK907",
        "definition-changed",
        _WARNING,
        "the definition differs from its own snapshot, yet loads what it saved",
        "record it with pytest --ckpt-update",
    ),
)

BY_KIND: Mapping[Kind, Rule] = {rule.kind: rule for rule in RULES}
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}

_ORDER: Mapping[Kind, int] = {rule.kind: place for place, rule in enumerate(RULES)}


def judge(changes: Iterable[Change], policy: Policy) -> tuple[Change, ...]:
    """Gives every change its rule and severity, and sorts them into report order."""
    judged = (_judge(change, policy) for change in changes)
    return tuple(sorted(judged, key=lambda change: _ORDER[change.kind]))


def _judge(change: Change, policy: Policy) -> Change:
    rule = BY_KIND[change.kind]
    severity = rule.severity if policy.strict or rule.lenient is None else rule.lenient
    for acceptance in policy.accepted:
        named = acceptance.rule in (rule.id, rule.kind)
        keys = {*change.old, *change.new}
        meant = bool(keys) or (acceptance.keys == "*" and rule.id in KEYLESS)
        if named and meant and all(fnmatchcase(key, acceptance.keys) for key in keys):
            return replace(change, rule=rule.id, severity=Severity.ACCEPTED, reason=acceptance.reason)
    return replace(change, rule=rule.id, severity=severity)
