"""Scores of many cases as text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from benchmarks.rename_corpus.case import Case
from benchmarks.rename_quality.score import Score, added

Scored = Iterable[tuple[Case, Score]]

#: Heading of each column, and its width.
_COLUMNS = {
    "cases": 6,
    "right": 6,
    "pairs": 7,
    "micro F1": 9,
    "macro F1": 9,
    "guesses*": 9,
    "certain wrong": 14,
    "covers": 7,
    "likely wrong": 13,
    "ambiguous": 12,
    "split, fused": 13,
    "wrong": 6,
    "false c/l/a": 12,
    "blind": 6,
    "unreal": 7,
    "crash": 6,
    "slowest": 8,
}
_NAME = 30


def table(scores: Scored) -> Iterator[str]:
    """One line a group; a made-up case stands in the group of each of its edits."""
    groups: defaultdict[str, list[Score]] = defaultdict(list)
    for case, one in scores:
        for group in groups_of(case):
            groups[group].append(one)
    yield " " * _NAME + "".join(f"{name:>{width}}" for name, width in _COLUMNS.items())
    for group in sorted(groups, key=_rank):
        yield f"{group:{_NAME}}" + "".join(
            f"{cell:>{width}}"
            for cell, width in zip(_cells(added(groups[group])), _COLUMNS.values(), strict=True)
        )
    yield "* micro F1 if ambiguous pairs counted as answers. ambiguous: how many / truth among candidates."
    yield "  false: claims of what is gone or on different models. blind: certain of what nobody can know."


def reliability(scores: Scored) -> Iterator[str]:
    """What is true of what is claimed, by the word for the confidence and by the kind of the case."""
    yield f"{'claimed':{_NAME}}{'pairs':>8}{'true':>8}{'share':>9}{'at most wrong, 95 %':>22}"
    kinds: defaultdict[tuple[str, str], Counter[bool]] = defaultdict(Counter)
    for case, one in scores:
        source = groups_of(case)[0]
        for word in ("certain", "likely"):
            blind = one.blind if word == "certain" else 0
            for group in (source, "all"):
                kinds[word, group][True] += one.right[word]
                kinds[word, group][False] += one.wrong[word] + blind
        for group in (source, "all"):
            kinds["ambiguous", group][True] += one.guessed
            kinds["ambiguous", group][False] += one.ambiguous - one.guessed
    for (word, group), count in sorted(kinds.items()):
        total = count.total()
        if total:
            bound = upper_bound(count[False], total)
            yield (
                f"{f'{word}, {group}':{_NAME}}{total:8}{count[True]:8}{count[True] / total:9.4f}{bound:22.5f}"
            )


def worst(scores: Scored, number: int) -> Iterator[str]:
    """The cases in which most is wrong or lost."""
    bad = [
        (one.wrong.total() + one.lost + one.joint - one.joint_right + one.blind, case, one)
        for case, one in scores
        if not one.solved
    ]
    for _, case, one in sorted(bad, key=lambda item: -item[0])[:number]:
        yield (
            f"{case.name[:60]:60} {case.family[:30]:30} pairs {one.true}, right {dict(one.right)}, "
            f"wrong {dict(one.wrong)}, lost {one.lost}, ambiguous {one.ambiguous}, "
            f"joint {one.joint_right}/{one.joint}, blind {one.blind}  {'; '.join(case.edits)}"
        )


def groups_of(case: Case) -> list[str]:
    """The groups of a case; the first is its source."""
    if case.family == "tables":
        return ["tables"]
    if not case.edits:
        return [
            {"refactor": "real", "mixed": "real, part replaced", "negative": "real, different models"}[
                case.kind
            ]
        ]
    source = "generated, different models" if case.kind == "negative" else "generated"
    return [
        source,
        *sorted({f"  {edit.split()[0]}" for edit in case.edits if not edit.startswith("order")}),
        *(f"  in order: {edit.split()[1]}" for edit in case.edits if edit.startswith("order")),
    ]


def upper_bound(wrong: int, total: int) -> float:
    """The largest share of errors that would give so few with a probability of 5 % (Clopper and Pearson)."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, wrong + 1, total - wrong)) if wrong < total else 1.0


def _rank(group: str) -> tuple[int, str]:
    firsts = ("real", "real, part replaced", "real, different models", "tables", "generated",
              "generated, different models")  # fmt: skip
    return (firsts.index(group) if group in firsts else len(firsts), group)


def _cells(score: Score) -> Iterator[str]:
    """The texts of one line."""
    certain = score.right["certain"] + score.wrong["certain"]
    likely = score.right["likely"] + score.wrong["likely"]
    yield str(score.cases)
    yield str(score.solved)
    yield str(score.true)
    yield f"{score.f1:.4f}"
    yield f"{sum(score.f1s) / len(score.f1s):.4f}" if score.f1s else "-"
    yield f"{score.f1_with_guesses:.4f}"
    yield f"{score.wrong['certain']}/{certain}"
    yield f"{score.right['certain'] / score.true:.1%}" if score.true else "-"
    yield f"{score.wrong['likely']}/{likely}"
    yield f"{score.ambiguous}/{score.among}"
    yield f"{score.joint_right}/{score.joint}"
    yield str(score.joint_wrong.total())
    yield "/".join(str(score.false[word]) for word in ("certain", "likely", "ambiguous"))
    yield str(score.blind)
    yield str(score.unreal)
    yield str(score.crashes)
    yield f"{score.seconds:.2f} s"
