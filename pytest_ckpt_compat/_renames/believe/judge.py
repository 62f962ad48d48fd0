"""Decides which matches are believed, and how confidently.

The alternative to a match is always that the old layer was removed and the new one added. The probability
of the match against it comes from a logistic model over six features, fitted to refactors, replacements
and different models with known truth. Some things forbid certainty whatever it says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from pytest_ckpt_compat._core.changes import Confidence
from pytest_ckpt_compat._renames.believe import table
from pytest_ckpt_compat._renames.believe.blocks import SETTLED
from pytest_ckpt_compat._renames.believe.features import KINSHIP, Features, features
from pytest_ckpt_compat._renames.believe.turned import turned_or_exchanged
from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.paths import numbers, without_numbers
from pytest_ckpt_compat._renames.units.units import MATRIX, Unit

#: A match is told from this probability on: then it is rather true than not.
LIKELY = 0.5

#: From this probability on, it is told as one possibility.
POSSIBLE = 0.3

#: Least matched share of the changed layers, on both sides, for any of them to be certain: with more left
#: over, a part may have been replaced by another of the same design.
EXPLAINED = 0.96

#: Cost of an alternative below which it is as good as the match, in units of the objective.
TIED = 0.4

#: Where nothing but shape and place speaks for a match, a length and the sizes of a matrix agree by accident;
#: the former says nothing, the latter is a possibility. A kernel's shape hardly ever does.
KERNEL = 3

#: Least number of new names of other layers from which on one without a common word is no accident, if no
#: layer is left over. Their own names count, each once, and not those of the modules around.
SEVERAL = 3

#: Most alternatives that are named.
_MOST_RIVALS = 6


@dataclass(frozen=True)
class Judgement:
    """The confidence of a match, and the indexes of the new units that would fit as well."""

    confidence: Confidence
    rivals: tuple[int, ...] = ()


def judge(old: Sequence[Unit], new: Sequence[Unit], found: Alignment) -> dict[tuple[int, int], Judgement]:
    """Judges each chosen pair of units; those that are not believed are left out."""
    rows, cols = found.pairs.rows[found.chosen].tolist(), found.pairs.cols[found.chosen].tolist()
    changed = features(old, new, found)
    kept = [pair for pair in zip(rows, cols, strict=True) if pair not in changed]
    judged = {pair: Judgement("certain") for pair in kept}
    stayed = {b for _, b in kept}
    for pair, other in turned_or_exchanged(old, new, kept).items():
        judged[pair] = Judgement("ambiguous", (pair[1], other))
    renamed = {
        (_own_name(old[a]), _own_name(new[b])) for (a, b), evidence in changed.items() if _is_kin(evidence)
    }
    several = sum(one != other for one, other in renamed) >= SEVERAL
    for pair, evidence in changed.items():
        expected = several and evidence.complete >= EXPLAINED
        judged |= _judged(pair, evidence, new, found, stayed, expected=expected)
    return judged


def _is_lone_norm(evidence: Features) -> bool:
    """Whether it is a norm, and one side has nothing left over that changed.

    A model's head is exchanged for another one, its norm hardly.
    """
    return evidence.is_norm and evidence.whole >= EXPLAINED


def _is_kin(evidence: Features) -> bool:
    """Whether more than shape and place speaks for a match."""
    return evidence.between or max(evidence.name, evidence.modules) >= KINSHIP


def _own_name(unit: Unit) -> str:
    """The last name in a path that is no number, without those in it."""
    return next((name for name in reversed(without_numbers(unit.path).split(".")) if name != "#"), "")


def _judged(
    pair: tuple[int, int],
    evidence: Features,
    new: Sequence[Unit],
    found: Alignment,
    stayed: Set[int],
    *,
    expected: bool,
) -> dict[tuple[int, int], Judgement]:
    probability = probability_of(evidence)
    unlike = not _is_kin(evidence) and evidence.dimensions < KERNEL
    stranger = unlike and not (expected or evidence.vocabulary or _is_lone_norm(evidence))
    if probability < POSSIBLE or (stranger and evidence.dimensions < MATRIX):
        return {}
    if (
        probability < LIKELY
        or stranger
        or evidence.tossed
        or evidence.amid
        or evidence.contradicted
        or evidence.opposed
        or evidence.cost < TIED
        or evidence.reused
        or evidence.blocks <= 0
    ):
        return {pair: Judgement("ambiguous", _rivals(new, found, *pair, evidence.reused, stayed))}
    doubtful = unlike or probability < table.CERTAIN or not found.examined
    sure = not doubtful and not forbids_certainty(evidence)
    return {pair: Judgement("certain" if sure else "likely")}


def probability_of(evidence: Features) -> float:
    """Returns the probability that a match is right."""
    odds = table.INTERCEPT + sum(weight * getattr(evidence, name) for name, weight in table.WEIGHTS.items())
    return 1 / (1 + math.exp(-odds))


Obstacle = Literal[
    "part replaced",
    "siblings alike",
    "numbers",
    "roles",
    "name",
    "alternative",
    "name reused",
    "other class",
    "opposed",
    "words turned",
    "one of several",
    "torn",
    "strayed",
]


def forbids_certainty(evidence: Features) -> Obstacle | None:
    """Returns what keeps a match from being certain, whatever its probability."""
    obstacles: dict[Obstacle, bool] = {
        "part replaced": evidence.complete < EXPLAINED,
        "siblings alike": not evidence.distinct,
        "numbers": evidence.blocks < SETTLED,
        "roles": evidence.roles < 1 or evidence.other_form,
        "name": not evidence.vouched,
        "alternative": evidence.cost < TIED,
        "name reused": bool(evidence.reused),
        "other class": evidence.other_class,
        "opposed": evidence.opposed,
        "words turned": evidence.turned,
        "one of several": evidence.several,
        "torn": evidence.torn,
        "strayed": evidence.strayed,
    }
    return next((obstacle for obstacle, holds in obstacles.items() if holds), None)


def _rivals(
    new: Sequence[Unit], found: Alignment, a: int, b: int, reused: Sequence[int], stayed: Set[int]
) -> tuple[int, ...]:
    """Returns the new units that an old one may have become: the chosen one, then those in its block."""
    doubt = found.doubts.get(a)
    alike = [index for index, unit in enumerate(new) if unit.kind == new[b].kind and index not in stayed]
    alike.sort(key=lambda index: numbers(new[index].path) != numbers(new[b].path))
    others = dict.fromkeys((b, *([doubt.other] if doubt else []), *reused, *alike))
    return tuple(others)[:_MOST_RIVALS]
