"""Facts about two structures, and what judging them needs. Frozen data, no I/O, no text."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from pytest_ckpt_compat._core.structure import TensorSpec

Kind = Literal[
    "missing",
    "unexpected",
    "renamed",
    "split",
    "fused",
    "reparametrized",
    "prefixed",
    "unmerged",
    "resized",
    "head-resized",
    "retyped",
    "transposed",
    "retied",
    "extra-state",
    "load-raises",
    "partial-load",
    "nothing-loaded",
    "output-drift",
    "settings-changed",
    "unopenable",
    "migration-needed",
    "no-baseline",
    "stale-snapshot",
    "unreadable",
    "unbuildable",
    "optimizer-mismatch",
    "unused-acceptance",
    "expired-acceptance",
    "definition-changed",
    "internal",
]

#: Bytes of real tensors with which a verdict may be confirmed, by default.
MEMORY_BUDGET = 2_000_000_000

#: How the detail of a missing key begins that is tied to another one.
TIED = "tied to "

Confidence = Literal["certain", "likely", "ambiguous"]


class Severity(enum.Enum):
    """How serious a change is."""

    #: Of no interest to the project, by its settings.
    IGNORED = "ignored"
    #: Accepted by the user, with a reason.
    ACCEPTED = "accepted"
    #: The code at the merge base breaks in the same way.
    EXISTING = "existing"
    WARNING = "warning"
    #: The check could not be made, so nothing is known about compatibility.
    INCOMPLETE = "incomplete"
    #: The checkpoint does not load.
    ERROR = "error"


@dataclass(frozen=True)
class Change:
    """One fact about how the new side differs from the old side.

    Attributes:
        kind: what happened; one rule judges each kind.
        old: keys on the old side (the checkpoint or a snapshot).
        new: keys on the new side (the definition).
        old_specs: specs of ``old``, in the same order.
        new_specs: specs of ``new``, in the same order.
        confidence: how sure the explanation is; what both sides show directly is certain.
        evidence: why it is believed, one short clause each.
        candidates: for an ambiguous pair, the new keys that fit equally well.
        rivals: for an ambiguous pair, the old keys of other copies of the model that fit equally well.
        group: the pair of patterns that it belongs to (``backbone.* -> encoder.*``), or "".
        detail: a clause in words (``outputs 1000 -> 10``), or "".
        advice: what to do about it, where both sides show more than its kind does; "" for its rule's advice.
        rule: id of the rule that judged it (``CK101``), or "" before it is judged.
        severity: the judgement, or None before it is judged.
        reason: for an accepted or ignored change, the reason that was given; for one that existed before, the
            git reference that has it.
    """

    kind: Kind
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    old_specs: tuple[TensorSpec, ...] = ()
    new_specs: tuple[TensorSpec, ...] = ()
    confidence: Confidence = "certain"
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    group: str = ""
    detail: str = ""
    advice: str = ""
    rule: str = ""
    severity: Severity | None = None
    reason: str = ""

    def judged(self, rule: str, severity: Severity) -> Change:
        """The same with a judgement. ``replace`` is slow, and a model in another dtype has one a key."""
        found = object.__new__(Change)
        found.__dict__.update(self.__dict__, rule=rule, severity=severity)
        return found


#: Kinds whose old and new keys correspond one to one, where there are as many of both.
_MOVES: frozenset[Kind] = frozenset(
    {"renamed", "prefixed", "unmerged", "reparametrized", "transposed", "resized", "head-resized"}
)


def moves(change: Change) -> tuple[tuple[str, str], ...]:
    """The (old, new) keys of the tensors that a change knows under another key on the new side."""
    if change.kind not in _MOVES or len(change.old) != len(change.new):
        return ()
    return tuple((old, new) for old, new in zip(change.old, change.new, strict=True) if old != new)


@dataclass(frozen=True)
class Acceptance:
    """An accepted break: changes of this rule whose keys on either side all match a pattern do not fail.

    Attributes:
        rule: rule id (``CK202``) or its kind (``head-resized``).
        keys: the pattern, a glob over keys (``head.*``).
        reason: why it is accepted; reports show it.
    """

    rule: str
    keys: str
    reason: str


@dataclass(frozen=True)
class RuleSeverity:
    """The severity that a project gives to a rule.

    Attributes:
        rule: rule id.
        severity: error, warning or ignored.
        reason: why; "" where none is given.
    """

    rule: str
    severity: Severity
    reason: str = ""


@dataclass(frozen=True)
class Policy:
    """What a load and its judgement depend on besides the two sides.

    Attributes:
        strict: whether the load under test is strict, as ``load_state_dict`` means it.
        accepted: breaks that the registration accepts.
        memory_budget: bytes of real tensors with which a verdict may be confirmed.
        severities: those that the project gives to rules.
    """

    strict: bool = True
    accepted: tuple[Acceptance, ...] = ()
    memory_budget: int = MEMORY_BUDGET
    severities: tuple[RuleSeverity, ...] = ()
