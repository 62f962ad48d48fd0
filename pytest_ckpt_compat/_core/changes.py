"""Facts about two structures, and the judgement of them, as frozen data."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_ckpt_compat._core.structure import Structure, TensorSpec

Kind = Literal[
    "missing",
    "unexpected",
    "renamed",
    "split",
    "fused",
    "reparametrized",
    "prefixed",
    "resized",
    "head-resized",
    "retyped",
    "transposed",
    "retied",
    "extra-state",
    "load-raises",
    "partial-load",
    "no-baseline",
    "stale-snapshot",
    "unreadable",
    "unbuildable",
    "optimizer-mismatch",
    "unused-acceptance",
    "expired-acceptance",
    "definition-changed",
]

Confidence = Literal["certain", "likely", "ambiguous"]


class Severity(enum.Enum):
    """How serious a change is."""

    #: Accepted by the user, with a reason.
    ACCEPTED = "accepted"
    #: The code at the merge base breaks in the same way.
    EXISTING = "existing"
    WARNING = "warning"
    #: The check could not be made: nothing is known about compatibility.
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
        group: the pair of patterns that it belongs to (``backbone.* -> encoder.*``), or "".
        detail: a clause in words (``outputs 1000 -> 10``), or "".
        rule: id of the rule that judged it (``CK101``), or "" before it is judged.
        severity: the judgement, or None before it is judged.
        reason: for an accepted change, the reason that was given; for one that existed before, the
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
    group: str = ""
    detail: str = ""
    rule: str = ""
    severity: Severity | None = None
    reason: str = ""


@dataclass(frozen=True)
class Acceptance:
    """An accepted break: changes of this rule whose keys all match a pattern do not fail.

    Attributes:
        rule: rule id (``CK202``) or its kind (``head-resized``).
        keys: the pattern, a glob over keys (``head.*``).
        reason: why it is accepted; reports show it.
    """

    rule: str
    keys: str
    reason: str


@dataclass(frozen=True)
class Policy:
    """What the judgement depends on besides the changes.

    Attributes:
        strict: whether the load under test is strict, as ``load_state_dict`` means it.
        accepted: breaks that the registration accepts.
    """

    strict: bool = True
    accepted: tuple[Acceptance, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Judged changes between an old and a new side, and what they add up to.

    Attributes:
        changes: the judged changes, in report order.
        name: id of the registered checkpoint, or "" for a plain comparison.
        old: the old side (the checkpoint or its snapshot), where it could be had.
        new: the new side (the definition), where it could be had.
        old_label: how the report names the old side (a path).
        new_label: how the report names the new side (``models.Classifier (models/net.py:88)``).
        where: the file and line of the definition (``models/net.py:88``), or "".
        notes: remarks on how the check was made, a line each.
        repairs: (label, command) lines that a report prints for the user to paste.
    """

    changes: tuple[Change, ...] = ()
    name: str = ""
    old: Structure | None = field(default=None, repr=False)
    new: Structure | None = field(default=None, repr=False)
    old_label: str = ""
    new_label: str = ""
    where: str = ""
    notes: tuple[str, ...] = ()
    repairs: tuple[tuple[str, str], ...] = ()

    def of(self, *severities: Severity) -> Iterator[Change]:
        """The changes of these severities."""
        return (change for change in self.changes if change.severity in severities)

    def regraded(self, chosen: Callable[[Change], bool], severity: Severity, reason: str = "") -> Verdict:
        """The verdict with another severity, and a reason if one is given, for the chosen changes."""
        changes = (
            replace(each, severity=severity, reason=reason or each.reason) if chosen(each) else each
            for each in self.changes
        )
        return replace(self, changes=tuple(changes))

    @property
    def compatible(self) -> bool:
        """Whether the check was made and found nothing that stops the load."""
        return not any(self.of(Severity.ERROR, Severity.INCOMPLETE))

    @property
    def exit_code(self) -> int:
        """0 compatible, 1 incompatible, 2 could not check, as diff(1) has it."""
        if any(self.of(Severity.ERROR)):
            return 1
        return 2 if any(self.of(Severity.INCOMPLETE)) else 0

    def __str__(self) -> str:
        """The text report; its first line stands alone."""
        # The one import against the direction of the module map: a verdict's text is its report.
        from pytest_ckpt_compat._report.text import render

        return render(self)
