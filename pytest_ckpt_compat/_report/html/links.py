"""A verdict's two lists of keys, and what links a key of one to keys of the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict

#: The word for tensors that a registered migration moves, which is no break.
MIGRATED = "migrated"
#: Words for a key that has no counterpart, even where the other side has one of its name.
_ALONE = frozenset({"missing", "unexpected"})


@dataclass(frozen=True)
class Mark:
    """What a change says, without the keys that it is about.

    Attributes:
        rule: the rule that judged it, or "" for what a migration does.
        word: what happened (``renamed``, ``head resized``).
        sign: the rule's, or ``=`` for what is accepted, ignored or broke before.
        severity: the judgement.
        confidence: how sure the explanation is.
        evidence: why it is believed.
        candidates: the new keys that fit equally well.
        detail: in words, or "".
        group: the pair of patterns that it belongs to, or "".
        reason: why it is accepted or ignored, or where it broke before.
    """

    rule: str
    word: str
    sign: str
    severity: str
    confidence: str = "certain"
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    detail: str = ""
    group: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Fact:
    """What one change says of some keys.

    Attributes:
        mark: what it says.
        old: keys of the checkpoint.
        new: keys of the definition.
    """

    mark: Mark
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """The old and new keys that belong together: one to one, or each to each."""
        if len(self.old) == len(self.new):
            return zip(self.old, self.new, strict=True)
        return product(self.old, self.new)


@dataclass(frozen=True)
class Linked:
    """Two lists of keys, and the facts between them.

    Attributes:
        old: key of the checkpoint -> its spec, as text.
        new: key of the definition -> its spec, as text.
        facts: what is to be said of keys.
        same: keys that both sides have, and of which nothing is to be said but that.
    """

    old: Mapping[str, str]
    new: Mapping[str, str]
    facts: tuple[Fact, ...]
    same: frozenset[str]


def linked(verdict: Verdict) -> Linked | None:
    """The keys of both sides of a verdict and the facts between them; None where a side is not known.

    Where migrations come before the load, the old side is the checkpoint as its file has it.
    """
    if verdict.old is None or verdict.new is None:
        return None
    file = verdict.before or verdict.old
    origins = _origins(verdict, file)
    facts = tuple(_facts(verdict.changes, file, verdict.new, origins))
    paired = [fact for fact in facts if (fact.old and fact.new) or fact.mark.word in _ALONE]
    told_old = {key for fact in paired for key in fact.old}
    told_new = {key for fact in paired for key in fact.new}
    names = ", ".join(verdict.migrated.names) if verdict.migrated else ""
    by = f"by {names}" if names else "by the definition's own code, before the load"
    moved = Mark("", MIGRATED, "~", "ok", detail=by)
    more = [
        Fact(moved, keys, (key,))
        for key, keys in origins.items()
        if keys and keys != (key,) and key in verdict.new.tensors and key not in told_new
    ]
    taken = {key for fact in more for key in fact.old} | told_old
    left = {key for fact in more for key in fact.new} | told_new
    same = frozenset(key for key in file.tensors if key in verdict.new.tensors and key not in taken | left)
    return Linked(_specs(file), _specs(verdict.new), (*facts, *more), same)


def _origins(verdict: Verdict, file: Structure) -> dict[str, tuple[str, ...]]:
    """Key that the load got -> the file's keys that it is made of, for those that migrations changed."""
    found: dict[str, tuple[str, ...]] = {new: (old,) for old, new in verdict.remapped.items()}
    if verdict.migrated is not None:
        found |= {key: origin.keys for key, origin in verdict.migrated.origins.items()}
    return {key: tuple(each for each in keys if each in file.tensors) for key, keys in found.items()}


def _facts(
    changes: Iterable[Change], file: Structure, new: Structure, origins: Mapping[str, tuple[str, ...]]
) -> Iterator[Fact]:
    for change in changes:
        mark = _mark(change)
        if len(change.old) == len(change.new) > 1:  # one to one: what became of each is told by itself
            sides: Iterable[tuple[tuple[str, ...], tuple[str, ...]]] = (
                ((a,), (b,)) for a, b in zip(change.old, change.new, strict=True)
            )
        else:
            sides = [(change.old, change.new)]
        for before, after in sides:
            traced = (each for key in before for each in origins.get(key, (key,)))
            old = tuple(dict.fromkeys(key for key in traced if key in file.tensors))
            now = tuple(key for key in after if key in new.tensors)
            if old or now:
                yield Fact(mark, old, now)


def _mark(change: Change) -> Mark:
    rule = BY_KIND[change.kind]
    severity = change.severity or rule.severity
    return Mark(
        change.rule or rule.id,
        change.kind.replace("-", " "),
        "=" if severity in (Severity.ACCEPTED, Severity.EXISTING, Severity.IGNORED) else rule.sign,
        severity.value,
        change.confidence,
        change.evidence,
        tuple(key for key in change.candidates if key not in change.new),
        change.detail,
        change.group,
        change.reason,
    )


def _specs(structure: Structure) -> dict[str, str]:
    return {key: str(spec) for key, spec in structure.tensors.items()}
