"""What the product says of one case, compared with the truth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest_ckpt_compat as ckpt
from benchmarks.rename_corpus.case import Case, Truth
from pytest_ckpt_compat import Change, Structure

#: Kinds of changes that claim that one tensor became another.
_CLAIMS = frozenset(
    ("renamed", "split", "fused", "reparametrized", "prefixed", "resized", "head-resized", "transposed")
)


@dataclass(frozen=True)
class Claim:
    """One old key became one new key, or several became one, or one several, as the product has it."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    confidence: str
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """Counts of one case, or the sums of many.

    A pair is an old and a new key that differ. Answers that are ambiguous are neither right nor wrong:
    what they answer is lost.

    Attributes:
        right, wrong: pairs claimed for certain or as likely, by that word.
        lost: true pairs that no such claim has.
        guessed: ambiguous pairs that are right.
        ambiguous: ambiguous pairs; ``among``: those whose truth is one of the candidates.
        joint: splits and fuses there are; ``joint_right``: those found exactly.
        joint_wrong: splits and fuses claimed wrongly, by confidence.
        false: claims about what is gone, or made of a pair of different models, by confidence.
        blind: pairs called certain of which nothing can be known.
        unreal: keys in the report that its side does not have.
        crashes: explanations that failed.
        solved, cases: cases wholly right, and all.
        seconds: the slowest case.
        f1s: F1 of each case that has renames.
    """

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    guessed: int = 0
    ambiguous: int = 0
    among: int = 0
    joint: int = 0
    joint_right: int = 0
    joint_wrong: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    blind: int = 0
    unreal: int = 0
    crashes: int = 0
    solved: int = 0
    cases: int = 0
    seconds: float = 0.0
    f1s: tuple[float, ...] = ()

    @property
    def true(self) -> int:
        """How many true pairs there are."""
        return self.right.total() + self.lost

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of all pairs; 1 where there is nothing to find."""
        return f1(self.right.total(), self.wrong.total(), self.lost)

    @property
    def f1_with_guesses(self) -> float:
        """The same if ambiguous pairs count as answers."""
        wrong = self.wrong.total() + self.ambiguous - self.guessed
        return f1(self.right.total() + self.guessed, wrong, self.lost - self.guessed)


def f1(right: int, wrong: int, lost: int) -> float:
    """2PR / (P + R); 1 where there is nothing to find and nothing was claimed."""
    total = 2 * right + wrong + lost
    return 2 * right / total if total else 1.0


def added(scores: Iterable[Score]) -> Score:
    """The sums of many scores; of the times, the longest."""
    scores = list(scores)
    summed = {
        name: sum((getattr(score, name) for score in scores), start=type(getattr(Score(), name))())
        for name in Score.__dataclass_fields__
        if name != "seconds"
    }
    return Score(**summed, seconds=max((score.seconds for score in scores), default=0.0))


def score(case: Case, sorted_by_name: bool) -> Score:
    """Asks the product, and counts.

    Args:
        case: the two sides and the truth.
        sorted_by_name: whether the old side stands in the order of its names instead of its own.
    """
    old = dict(sorted(case.old.items(), key=lambda item: item[0])) if sorted_by_name else case.old
    started = time.perf_counter()
    verdict = ckpt.diff(Structure(old), Structure(case.new))
    seconds = time.perf_counter() - started
    crashes = sum("failed" in note for note in verdict.notes)
    return compared(case, verdict.changes, seconds, crashes)


def compared(case: Case, changes: Iterable[Change], seconds: float = 0.0, crashes: int = 0) -> Score:
    """Counts what is right in the changes, and what is not."""
    truth, changes = case.truth, list(changes)
    claims, joints = _pairs(changes, truth), list(_joints(changes, truth))
    counts = _Counts(right=Counter(), wrong=Counter(), false=Counter())
    for claim in claims.values():
        counts.count(claim, case)
    joint_right = [claim for claim in joints if _is_true(claim, truth)]
    joint_wrong = Counter(
        claim.confidence for claim in joints if not _is_true(claim, truth) and _known(claim, truth)
    )
    if case.kind == "negative":
        counts.false.update(joint_wrong)
    found = sum(claim.confidence != "ambiguous" for claim in joint_right)
    blind = counts.blind + sum(c.confidence == "certain" and _is_blind(c, truth) for c in joints)
    total = sum(old not in truth.blind_old for old in _renames(case))
    lost = total - counts.right.total()
    joint = len(truth.splits) + len(truth.fuses)
    bad = lost + counts.wrong.total() + joint - found + joint_wrong["certain"] + joint_wrong["likely"] + blind
    return Score(
        counts.right,
        counts.wrong,
        lost,
        counts.guessed,
        counts.ambiguous,
        counts.among,
        joint,
        found,
        joint_wrong,
        counts.false,
        blind,
        _unreal(case, changes),
        crashes,
        int(bad == 0),
        1,
        seconds,
        (f1(counts.right.total(), counts.wrong.total(), lost),) if total else (),
    )


@dataclass
class _Counts:
    """The counts of the pairs of one case, while they are counted."""

    right: Counter[str]
    wrong: Counter[str]
    false: Counter[str]
    guessed: int = 0
    ambiguous: int = 0
    among: int = 0
    blind: int = 0

    def count(self, claim: Claim, case: Case) -> None:
        """Counts one pair."""
        truth, (old,), (new,) = case.truth, claim.old, claim.new
        if (old, new) in case.ambiguous or old in truth.untold or truth.resized.get(old) == new:
            return
        if _is_blind(claim, truth):
            self.blind += claim.confidence == "certain"
            return
        is_right = truth.renames.get(old) == new
        if not is_right and (old in truth.removed or case.kind == "negative"):
            self.false[claim.confidence] += 1
        if claim.confidence == "ambiguous":
            self.ambiguous += 1
            self.guessed += is_right
            self.among += is_right or truth.renames.get(old) in claim.candidates
        else:
            (self.right if is_right else self.wrong)[claim.confidence] += 1


def _pairs(changes: list[Change], truth: Truth) -> dict[str, Claim]:
    """The claims of one old and one new key that differ, by old key.

    A prefix means all of its pairs; single changes override them. Of a weight that is now stored in other
    terms, the tensor with its numbers counts.
    """
    found: dict[str, Claim] = {}
    for change in sorted(_claims(changes), key=lambda change: change.kind != "prefixed"):
        pairs: Iterable[tuple[str, str]] = ()
        if len(change.old) == len(change.new):
            pairs = zip(change.old, change.new, strict=True)
        elif change.kind == "reparametrized":
            pairs = [(old, truth.renames[old]) for old in change.old if truth.renames.get(old) in change.new]
        for old, new in pairs:
            if old != new or old in found:
                found[old] = Claim((old,), (new,), change.confidence, change.candidates)
    return {old: claim for old, claim in found.items() if claim.new != (old,)}


def _joints(changes: list[Change], truth: Truth) -> Iterator[Claim]:
    """The claims of several keys on one side."""
    for change in _claims(changes):
        if len(change.old) == len(change.new):
            continue
        stored = change.kind == "reparametrized"
        if stored and any(truth.renames.get(old) in change.new for old in change.old):
            continue
        yield Claim(change.old, change.new, change.confidence, change.candidates)


def _claims(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.kind in _CLAIMS and change.old and change.new]


def _is_true(claim: Claim, truth: Truth) -> bool:
    if len(claim.old) == 1:
        return truth.splits.get(claim.old[0]) == claim.new
    return len(claim.new) == 1 and (claim.old, claim.new[0]) in truth.fuses


def _is_blind(claim: Claim, truth: Truth) -> bool:
    return not truth.blind_old.isdisjoint(claim.old) or not truth.blind_new.isdisjoint(claim.new)


def _known(claim: Claim, truth: Truth) -> bool:
    return truth.untold.isdisjoint(claim.old) and not _is_blind(claim, truth)


def _renames(case: Case) -> list[str]:
    return [old for old, new in case.truth.renames.items() if old != new and (old, new) not in case.ambiguous]


def _unreal(case: Case, changes: list[Change]) -> int:
    """How many keys of the changes their side does not have."""
    return sum(
        sum(key not in case.old for key in change.old)
        + sum(key not in case.new for key in (*change.new, *change.candidates))
        for change in changes
    )
